"""The networks that sessions are on: namespaces prepared for users, and bridges of ours."""

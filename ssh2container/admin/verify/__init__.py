"""Verification: the escape corpus, run inside a real session under a user's own policy."""

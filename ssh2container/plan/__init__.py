"""What a session will do: a pure function turns request, account, policy and host into operations."""

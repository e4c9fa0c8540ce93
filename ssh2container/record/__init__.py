"""What is left of a session on purpose: the audit trail, recordings, the registry of live sessions."""

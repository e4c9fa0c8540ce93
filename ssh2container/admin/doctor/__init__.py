"""The doctor: what on this host keeps sessions from starting, and every way around the login shell."""

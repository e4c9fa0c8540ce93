"""Learning a seccomp profile from sessions that run."""

"""Live sessions: what the registry hints at, verified against the kernel; ending them; joining them."""

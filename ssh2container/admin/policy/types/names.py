"""What may be the name of something that is a file of its own."""

from __future__ import annotations

PROFILE_NAME = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,63}"
"""A regular expression for the names of profiles: of policies, and of system-call filters."""

"""sshd's side: render the drop-in, put it in place safely, read what sshd makes of its configuration."""

from __future__ import annotations

GROUP = "ssh2container"
"""The group that the drop-in matches."""
SENTINEL = "ssh2container-session"
"""The ForceCommand that makes the shell run the client's own request (SSH_ORIGINAL_COMMAND)."""
DROP_IN = "/etc/ssh/sshd_config.d/10-ssh2container.conf"
"""Where the drop-in lies: early, because sshd keeps the first value that it reads."""

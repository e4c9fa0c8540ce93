"""sshd's side: what it starts; the drop-in, rendered and placed; what sshd makes of its configuration."""

from __future__ import annotations

from ssh2container import paths

SHELL = paths.LOGIN_SHELL
"""What a contained user has in passwd."""
CONTROL = "/usr/bin/ssh2containerctl"
"""The administrator's command."""
VERSIONS = "/usr/lib/ssh2container"
"""The installed versions, a directory each, and the script that the launcher starts."""
GROUP = "ssh2container"
"""The group that the drop-in matches."""
SENTINEL = "ssh2container-session"
"""The ForceCommand that makes the shell run the client's own request (SSH_ORIGINAL_COMMAND)."""
MARK = "SSH2CONTAINER_SSHD"
"""The variable by which the drop-in tells a session that it holds (``ssh2container.plan.request``)."""
DROP_IN = "/etc/ssh/sshd_config.d/10-ssh2container.conf"
"""Where the drop-in lies: early, because sshd keeps the first value that it reads."""
SSHD_PROGRAMS = ("sshd", "sshd-session", "sshd-auth")
"""What listens, what serves one connection, and what authenticates its client, since OpenSSH 9.8 and 10.0."""

"""The sshd_config drop-in as text: a pure function of who may do what."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from ssh2container.admin.sshd import GROUP, SENTINEL
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADER = """\
# {path}
# Written by "ssh2containerctl sshd-config"; change the policies and run it again rather than this file.
# sshd keeps the first value that it reads, so this file has to come before others that set the same.
# What sshd makes of it for one user:  sshd -T -C user=NAME,host=h,addr=127.0.0.1

# sshd does not allow this keyword inside Match: it holds for everybody. It closes ~/.ssh/environment and
# "environment=" in authorized_keys, which would set LD_PRELOAD before the login shell's first line.
PermitUserEnvironment no
"""

_AGENT = """
# The policy of {who} has allow_agent_forwarding. DisableForwarding below would override it, and the first
# value wins, hence this block. Every other kind of forwarding is closed by name below.
Match Group {group} User {users}
    DisableForwarding no
    AllowAgentForwarding yes
"""

_MATCH = """
Match Group {group}
"""

_FORCE = """\
    # sshd then starts the login shell for subsystems too, internal-sftp included, which would otherwise run
    # inside sshd and read any file of the host. A site that needs "command=" in authorized_keys or signals
    # from clients leaves it out (--without-force-command) and has to use an external "Subsystem sftp".
    ForceCommand {sentinel}
"""

_REST = """\
    # Replaces the global list: a broad one lets the client set LD_PRELOAD for the login shell.
    AcceptEnv LANG LC_* GIT_PROTOCOL
    ExposeAuthInfo yes
    # DisableForwarding alone forgot X11 and agents until OpenSSH 10.0 and tunnels for longer.
    DisableForwarding yes
    AllowTcpForwarding no
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    GatewayPorts no
    # ~/.ssh/rc is run before the session, with whatever the user wrote into it.
    PermitUserRC no
    MaxSessions 10
"""

_SAFE_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.@+")


def drop_in(
    *,
    path: str,
    agent_users: Iterable[str] = (),
    force_command: bool = True,
    group: str = GROUP,
) -> str:
    """Return the drop-in's text.

    path: where it is going to lie, for its first line.
    agent_users: users whose policy allows agent forwarding.
    force_command: have sshd start every session through the sentinel.
    Raises :class:`SessionError` for a user name that a Match line cannot hold: in a pattern list
    ``*``, ``?``, ``!`` and ``,`` have a meaning of their own (ssh_config(5), PATTERNS).
    """
    users = sorted(set(agent_users))
    for name in users:
        if not name or not _SAFE_NAME.issuperset(name):
            raise SessionError(
                f"cannot name the user {name!r} in sshd_config",
                "a Match line takes letters, digits and _ - . @ + only",
                "remove allow_agent_forwarding from that user's policy",
                step="sshd-config",
            )
    text = _HEADER.format(path=path)
    if users:
        text += _AGENT.format(group=group, users=",".join(users), who=", ".join(users))
    text += _MATCH.format(group=group)
    if force_command:
        text += _FORCE.format(sentinel=SENTINEL)
    return seal(text + _REST)


_SEAL = "# digest: "


def seal(text: str) -> str:
    """Append a line by which :func:`is_sealed` tells whether somebody has changed the text."""
    return f"{text}{_SEAL}{_digest(text)}\n"


def is_sealed(text: str) -> bool:
    """Return whether ``text`` is as :func:`seal` left it."""
    body, mark, digest = text.rpartition(_SEAL)
    return bool(mark) and digest.strip() == _digest(body)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()

"""The client's agent: the one socket of the host that a session may be given.

``SSH_AUTH_SOCK`` may come from anybody: a client sends it where AcceptEnv is broad, and the user
manager's bus under that name would be a way out. So the socket has to be the user's own, and the
process that listens there has to be the sshd that started us (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import _socket
import _stat as stat
import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal


def check(path: bytes, uid: int) -> None:
    """Make sure that ``path`` is our sshd's agent socket. Raises Refusal."""
    shown = paths.fsdecode(path)
    try:
        found = os.lstat(path)
        if not stat.S_ISSOCK(found.st_mode):
            raise _refusal(shown, "it is not a socket")
        if found.st_uid != uid:
            raise _refusal(shown, f"it belongs to uid {found.st_uid}")
        listener = _listener(path)
    except OSError as error:
        raise _refusal(shown, error.strerror or "") from None
    if listener != os.getppid():
        raise _refusal(shown, f"process {listener} listens there, not the sshd of this session")


def _listener(path: bytes) -> int:
    """Return the process that made the socket listen. Raises OSError."""
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    probe = _socket.socket(_socket.AF_UNIX, kind)
    try:
        probe.connect(path)
        credentials = probe.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], "little")
    finally:
        probe.close()


def _refusal(path: str, why: str) -> Refusal:
    return Refusal(f"cannot pass on the agent {path}", why, step="agent")

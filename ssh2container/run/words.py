"""A word from root to whoever sits at the other end of a session: why it is ended.

``ssh2containerctl kill --message`` listens at a socket in root's own directory and asks the monitor, by
:data:`.monitor.WORD`, to fetch it. Who listens is known by its uid (SO_PEERCRED, unix(7)): others can make no
monitor say anything.

Imported when that signal has come.
"""

from __future__ import annotations

import _socket
import posix as os

from ssh2container import paths
from ssh2container.kernel import libc
from ssh2container.kernel.offering import offer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .terminal import Relay

PLACE = paths.RUNTIME + "/word-"
"""The session's id follows. The directory is root's."""
LONGEST = 1000
"""Characters; a line on a terminal, or some of them."""
_PATIENCE_S = 2.0
_LONGEST_LIST = 65536
"""Bytes; the payload is the first of pid 1's children, and those that it leaves to pid 1 follow."""


def convey(session: str, relay: Relay | None, init: int, errors: tuple[int, int] | None) -> None:
    """Fetch the word for ``session`` and show it; nothing where there is none.

    relay: the terminal, if the session has one. Without one the word goes to the client's standard error,
    which is the payload's alone: errors is its (device, inode), init the pid 1 whose children may hold it.
    """
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC
    end = _socket.socket(_socket.AF_UNIX, kind)
    end.settimeout(_PATIENCE_S)
    try:
        end.connect(PLACE + session)
        credentials = end.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        text = end.recv(4 * LONGEST).decode("utf-8", "replace") if credentials[4:8] == bytes(4) else ""
        if not text:
            return
        if relay is not None:
            relay.tell(text, final=True)
            return
        descriptor = _errors_of(init, errors)
        if descriptor >= 0:
            offer(descriptor, f"ssh2container: {text}\n".encode("utf-8", "backslashreplace"))
            os.close(descriptor)
    except OSError:
        pass  # whoever asked is gone, or it was not root
    finally:
        end.close()


def _errors_of(init: int, wanted: tuple[int, int] | None) -> int:
    """Return a copy of the client's standard error from one of the payload's processes, else -1.

    What else they have put in its place is let go of again, unused (pidfd_getfd(2)).
    """
    try:
        pids = children(init)
    except OSError:
        pids = []
    for child in pids:
        try:
            pidfd = os.pidfd_open(int(child))
        except OSError:
            continue
        try:
            descriptor = libc.syscall("pidfd_getfd", pidfd, 2, 0)
        except OSError:
            continue
        finally:
            os.close(pidfd)
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) == wanted:
            return descriptor
        os.close(descriptor)
    return -1


def children(pid: int) -> list[bytes]:
    """Return the pids of the children of ``pid``, which has one thread (proc_pid_task(5)). Raises OSError."""
    file = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, _LONGEST_LIST).split()
    finally:
        os.close(file)

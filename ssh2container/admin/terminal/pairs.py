"""Pairs of terminals that are in nobody's reach: a devpts of their own, mounted nowhere.

A process that has one side as a descriptor uses it as any terminal. There is no name under which another
one could open it, and through /proc/PID/fd nobody but root may: the device is root's alone.
"""

from __future__ import annotations

import fcntl
import os
import socket
import termios

from ssh2container.errors import SessionError
from ssh2container.kernel import mounts, namespaces
from ssh2container.plan.operations.whole import TIOCSPTLCK
from ssh2container.run import terminal

TIOCGPTPEER = 0x5441
_PLACE = "/dev"
_OPTIONS = "newinstance,ptmxmode=600,mode=600,uid=0,gid=0"


def open_pair(like: int) -> tuple[int, int]:
    """Return both sides, with the modes and the size of the terminal ``like``. Raises SessionError.

    Without the right to mount, the pair is one of the host's: still out of a container's reach.
    """
    master, slave = _apart() if os.geteuid() == 0 else os.openpty()
    make_like(slave, terminal.likeness(like))
    return master, slave


def make_like(slave: int, like: bytes) -> None:
    """Give a terminal modes and size (``run.terminal.likeness``). Raises OSError."""
    fcntl.ioctl(slave, terminal.TCSETS, like[: terminal.SIZE_OF_TERMIOS])
    fcntl.ioctl(slave, termios.TIOCSWINSZ, like[terminal.SIZE_OF_TERMIOS :])


def _apart() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child, pidfd = namespaces.clone(namespaces.CLONE_NEWNS)
        if child == 0:
            _make(theirs)
        os.close(pidfd)
        theirs.close()
        why, pair, _, _ = socket.recv_fds(ours, 4096, 2)
        os.waitpid(child, 0)
    if len(pair) != 2:  # noqa: PLR2004 - both sides
        raise SessionError("cannot open a terminal", why.decode("utf-8", "replace"), step="terminal")
    for side in pair:
        os.set_inheritable(side, False)
    return pair[0], pair[1]


def _make(end: socket.socket) -> None:
    """In a child with mounts of its own, which end with it."""
    try:
        mounts.mount("none", "/", mounts.MS_REC | mounts.MS_PRIVATE, "")
        mounts.mount("devpts", _PLACE, mounts.MS_NOSUID | mounts.MS_NOEXEC, _OPTIONS)
        master = os.open(f"{_PLACE}/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(master, TIOCSPTLCK, bytes(4))
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        socket.send_fds(end, [b"ok"], [master, slave])
    except OSError as error:
        end.send((error.strerror or "unknown").encode())
    finally:
        os._exit(0)

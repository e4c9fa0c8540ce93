"""The terminal of ``image edit``: a pair of its container's own devpts, as sessions have one."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from ssh2container.admin.terminal.pairs import TIOCGPTPEER, make_like
from ssh2container.plan.operations.whole import TIOCSPTLCK
from ssh2container.run import channel, packets

if TYPE_CHECKING:
    import _socket

_TIOCSCTTY = 0x540E


def open_inside(end: _socket.socket, like: bytes) -> int:
    """Open a pair, rooted in the container, send its master over ``end`` and return the other side.

    like: modes and size that it starts with (``run.terminal.likeness``). Raises OSError.
    """
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(master, TIOCSPTLCK, bytes(4))
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        make_like(slave, like)
        packets.send_descriptor(end, channel.TERMINAL, master)
    finally:
        os.close(master)
    return slave


def adopt(slave: int) -> None:
    """Take ``slave`` as the controlling terminal and as those of 0-2 that are a terminal. Raises OSError."""
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        if os.isatty(descriptor):
            os.dup2(slave, descriptor)

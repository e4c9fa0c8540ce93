"""The terminal of ``image edit``: a pair of its container's own devpts, as sessions have one."""

from __future__ import annotations

import fcntl
import os

from ssh2container.run import channel, packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_TCSETS, _TIOCSCTTY, _TIOCSWINSZ = 0x5402, 0x540E, 0x5414
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_SIZE_OF_TERMIOS = 60


def open_inside(end: _socket.socket, like: bytes) -> int:
    """Open a pair, rooted in the container, send its master over ``end`` and return the other side.

    like: modes and size that it starts with (``run.terminal.likeness``). Raises OSError.
    """
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(slave, _TCSETS, like[:_SIZE_OF_TERMIOS])
        fcntl.ioctl(slave, _TIOCSWINSZ, like[_SIZE_OF_TERMIOS:])
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

"""Sockets as bare descriptors (unix(7)): what pid 1 is started with.

Python's own module of sockets takes a login 0.1 ms to make; it is made while pid 1 is at work.
"""

from __future__ import annotations

import errno
import posix as os

from . import libc

AF_UNIX = 1
_PACKETS = 5 | 0o2000000
"""SOCK_SEQPACKET | SOCK_CLOEXEC."""
NONBLOCK = 0o4000
"""SOCK_NONBLOCK."""
_LONGEST_NAME = 107


def pair() -> tuple[int, int]:
    """Return both ends of a connection of whole packets. Raises OSError."""
    ends = bytearray(8)
    libc.syscall("socketpair", AF_UNIX, _PACKETS, 0, ends)
    return int.from_bytes(ends[:4], "little"), int.from_bytes(ends[4:], "little")


def listen(path: bytes, waiting: int) -> int:
    """Return a socket of packets that listens at ``path``, non-blocking. Raises OSError.

    waiting: how many may wait to be taken in.
    """
    if len(path) > _LONGEST_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    address = AF_UNIX.to_bytes(2, "little") + path + b"\0"
    listener = libc.syscall("socket", AF_UNIX, _PACKETS | NONBLOCK, 0)
    try:
        libc.syscall("bind", listener, address, len(address))
        libc.syscall("listen", listener, waiting)
    except OSError:
        os.close(listener)
        raise
    return listener

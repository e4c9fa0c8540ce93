"""Sockets as bare descriptors (unix(7)): what pid 1 is started with, and what others are asked by meanwhile.

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
_STREAM = 1 | 0o2000000 | NONBLOCK
"""SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK."""
_NO_SIGNAL = 0x4000
"""MSG_NOSIGNAL."""
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
    address = _address(path)
    listener = libc.syscall("socket", AF_UNIX, _PACKETS | NONBLOCK, 0)
    try:
        libc.syscall("bind", listener, address, len(address))
        libc.syscall("listen", listener, waiting)
    except OSError:
        os.close(listener)
        raise
    return listener


def stream() -> int:
    """Return a socket of a stream of bytes, non-blocking. Raises OSError."""
    return libc.syscall("socket", AF_UNIX, _STREAM, 0)


def connect(descriptor: int, path: bytes) -> None:
    """Connect a socket with who listens at ``path``. Raises OSError; BlockingIOError where too many wait."""
    address = _address(path)
    libc.syscall("connect", descriptor, address, len(address))


def send(descriptor: int, data: bytes) -> int:
    """Send ``data`` and return how much of it was taken. Raises OSError; BlockingIOError while none is."""
    return libc.syscall("sendto", descriptor, data, len(data), _NO_SIGNAL, None, 0)


def _address(path: bytes) -> bytes:
    if len(path) > _LONGEST_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    return AF_UNIX.to_bytes(2, "little") + path + b"\0"

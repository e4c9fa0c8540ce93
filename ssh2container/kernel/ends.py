"""Ends of sockets that a plain session has (unix(7)): of the channel to pid 1, and of the log.

Python's own module of sockets would take each session 0.07 MB and 0.1 ms, most of it for constants.
"""

from __future__ import annotations

import _struct
import posix as os

from . import libc, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    Ancillary = tuple[int, int, bytes]
    """Level, type and content (cmsg(3))."""

MSG_PEEK = 2
_DATAGRAMS = 2 | 0o2000000
"""SOCK_DGRAM | SOCK_CLOEXEC."""
SOL_SOCKET, _SO_SNDTIMEO = 1, 21
LONGEST = 4096
"""Bytes of a message of pid 1's at most (native/init/messages.h)."""
_PIECE = _struct.Struct("@PN")
_MESSAGE = _struct.Struct("@PI4xPNPNi4x")
_ATTACHED = _struct.Struct("@Nii")
"""struct iovec, msghdr and cmsghdr of recvmsg(2)."""


class End:
    """Our end of the channel to pid 1; it is closed with its last reference.

    What is used of a socket of Python's own has the same names here and means the same.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        try:
            self.close()
        except OSError:
            pass  # whoever had a reason to has closed it

    def close(self) -> None:
        """Close it now. Raises OSError."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def send(self, data: bytes) -> int:
        """Send one packet. Raises OSError."""
        return send(self._descriptor, data)

    def recvmsg(self, size: int, room: int, flags: int) -> tuple[bytes, list[Ancillary], int, None]:
        """Return one packet, what came along in ``room`` bytes at most, and flags. Raises OSError."""
        data, attached = bytearray(min(size, LONGEST)), bytearray(room)
        piece = _PIECE.pack(libc.address(data), len(data))
        message = bytearray(_MESSAGE.pack(0, 0, libc.address(piece), 1, libc.address(attached), room, 0))
        length = libc.syscall("recvmsg", self._descriptor, message, flags)
        *_, filled, told = _MESSAGE.unpack(message)
        found: list[Ancillary] = []
        at = 0
        while at + _ATTACHED.size <= filled:
            whole, level, kind = _ATTACHED.unpack_from(attached, at)
            found.append((level, kind, bytes(attached[at + _ATTACHED.size : at + whole])))
            at += (whole + 7) & ~7
        return bytes(data[:length]), found, told, None


def connect(path: str, patience_s: int = 0) -> int:
    """Return a socket of datagrams that is connected to ``path``. Raises OSError.

    patience_s: how long it waits for a place with who listens there; 0 to not wait at all.
    """
    address = sockets.AF_UNIX.to_bytes(2, "little") + path.encode() + b"\0"
    descriptor = libc.syscall(
        "socket", sockets.AF_UNIX, _DATAGRAMS | (0 if patience_s else sockets.NONBLOCK), 0
    )
    try:
        if patience_s:
            longest = patience_s.to_bytes(8, "little") + bytes(8)
            libc.syscall("setsockopt", descriptor, SOL_SOCKET, _SO_SNDTIMEO, longest, len(longest))
        libc.syscall("connect", descriptor, address, len(address))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def send(descriptor: int, data: bytes) -> int:
    """Send ``data``, whole or not at all. Raises OSError."""
    return libc.syscall("sendto", descriptor, data, len(data), 0, None, 0)

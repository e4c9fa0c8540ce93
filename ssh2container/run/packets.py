"""Whole packets, with descriptors, over the socket pair between monitor and pid 1 (unix(7))."""

from __future__ import annotations

from ssh2container.kernel import ends, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    End = _socket.socket | ends.End

_LIMIT = 65536
_HEADER_BYTES = 16
_SCM_RIGHTS, _MSG_CMSG_CLOEXEC = 1, 0x40000000


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Return the monitor's end and pid 1's. Raises OSError."""
    import _socket

    left, right = sockets.pair()
    return _socket.socket(fileno=left), _socket.socket(fileno=right)


def receive(end: End) -> tuple[bytes, bytes, int]:
    """Return (kind, content, attached descriptor or -1) of the next message; kind b"" at the end."""
    kind, content, attached = receive_all(end, 1)
    return kind, content, attached[0] if attached else -1


def receive_all(end: End, most: int = 4) -> tuple[bytes, bytes, list[int]]:
    """As :func:`receive`, with up to ``most`` attached descriptors."""
    size = _HEADER_BYTES + 4 * most
    try:
        message, ancillary, _, _ = end.recvmsg(_LIMIT, size, _MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        # The other side ended before it had read all of ours. It is told once, and before its last words.
        message, ancillary, _, _ = end.recvmsg(_LIMIT, size, _MSG_CMSG_CLOEXEC)
    attached: list[int] = []
    for level, kind, data in ancillary:
        if (level, kind) == (ends.SOL_SOCKET, _SCM_RIGHTS):
            attached += [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data) & ~3, 4)]
    return message[:1], message[1:], attached


def send_descriptor(end: _socket.socket, kind: bytes, *descriptors: int) -> None:
    """Send ``kind`` with ``descriptors`` attached."""
    numbers = b"".join(descriptor.to_bytes(4, "little") for descriptor in descriptors)
    rights = (ends.SOL_SOCKET, _SCM_RIGHTS, numbers)
    end.sendmsg([kind], [rights])

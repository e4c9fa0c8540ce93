"""Messages between the monitor and pid 1, over one socket pair of whole packets (unix(7)).

The pair is also each side's sign of life: end-of-file means that the other is gone.
"""

from __future__ import annotations

import _socket
import array
import marshal

from ssh2container.errors import NotFound, Refusal, SessionError

STARTED = b"S"
"""pid 1: the payload's program runs."""
STATUS = b"X"
"""pid 1: the payload ended; four bytes of raw wait status follow."""
TERMINAL = b"T"
"""pid 1: the other side of the payload's terminal is attached to this message."""
ERROR = b"E"
"""pid 1 or the payload: a step failed; a marshalled error follows."""
SIGNAL = b"K"
"""Monitor: send the payload's process group the signal whose number follows."""

_LIMIT = 65536
_KINDS = (SessionError, Refusal, NotFound)


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Return the monitor's end and pid 1's."""
    kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
    left, right = _socket.socketpair(_socket.AF_UNIX, kind)
    return left, right


def receive(end: _socket.socket) -> tuple[bytes, bytes, int]:
    """Return (kind, content, attached descriptor or -1) of the next message; kind b"" at the end."""
    size = _socket.CMSG_LEN(4)
    message, ancillary, _, _ = end.recvmsg(_LIMIT, size, _socket.MSG_CMSG_CLOEXEC)
    attached = -1
    for level, kind, data in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            attached = array.array("i", data[:4])[0]
    return message[:1], message[1:], attached


def send_descriptor(end: _socket.socket, kind: bytes, descriptor: int) -> None:
    """Send ``kind`` with ``descriptor`` attached."""
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [descriptor]))
    end.sendmsg([kind], [rights])


def pack_error(error: BaseException) -> bytes:
    """Return the message that carries ``error`` to the monitor."""
    if not isinstance(error, SessionError):
        error = SessionError("the container could not be made", f"{type(error).__name__}: {error}")
    for kind, number in zip(_KINDS, range(len(_KINDS)), strict=True):
        if type(error) is kind:
            fields = (number, error.what, error.why, error.remedy, error.step, error.number)
            break
    return ERROR + marshal.dumps(fields)


def unpack_error(content: bytes) -> SessionError:
    """Return the error of :func:`pack_error`; the sender is our own code up to the payload's exec."""
    number, what, why, remedy, step, errno = marshal.loads(content)
    return _KINDS[number](what, why, remedy, step, errno)

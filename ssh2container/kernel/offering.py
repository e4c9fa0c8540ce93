"""Writing to who may not be reading, without waiting, or not for long (pipe(7), open(2), send(2))."""

from __future__ import annotations

import _socket
import _stat as stat
import posix as os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def offer(descriptor: int, data: bytes, seconds: float = 0.0) -> bytes:
    """Write what the reader of ``descriptor`` takes at once, or within ``seconds``; return the rest.

    There is no rest where nobody reads any more.

    A look whether it is writable comes first and would be late: others, who write there too, fill it
    in between. The flag O_NONBLOCK would reach them (open(2)), unless the pipe is opened anew.
    """
    end = time.monotonic() + seconds
    write, opened = _way_to(descriptor)
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    try:
        while data:
            try:
                data = data[write(data) :]
            except BlockingIOError:
                left = end - time.monotonic()
                if left <= 0:
                    break
                ready.poll(left * 1000)
    except OSError:
        data = b""  # nobody reads, or the reader is gone
    if opened >= 0:
        os.close(opened)
    return data


def _way_to(descriptor: int) -> tuple[Callable[[bytes], int], int]:
    """Return what writes to ``descriptor`` without waiting, and the descriptor to close afterwards, or -1."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC
    try:
        opened = os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return lambda data: _write_shared(descriptor, data), -1
    return lambda data: os.write(opened, data), opened


def _write_shared(descriptor: int, data: bytes) -> int:
    """Write to a socket, which cannot be opened anew, or to what somebody else opened for us."""
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        end = _socket.socket(fileno=os.dup(descriptor))
        return end.send(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    if any(events & select.POLLOUT for _, events in ready.poll(0)):
        return os.write(descriptor, data)
    raise BlockingIOError

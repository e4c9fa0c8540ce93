"""Writing to who may not be reading, without waiting (pipe(7), open(2), send(2))."""

from __future__ import annotations

import _socket
import _stat as stat
import posix as os
import select


def offer(descriptor: int, data: bytes) -> None:
    """Write what the reader of ``descriptor`` takes at once, and wait for nothing; the rest is lost.

    A look whether it is writable comes first and would be late: others, who write there too, fill it
    in between. The flag O_NONBLOCK would reach them (open(2)), unless the pipe is opened anew.
    """
    try:
        opened = os.open(
            f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_CLOEXEC
        )
    except OSError:
        _offer_shared(descriptor, data)
        return
    try:
        os.write(opened, data)
    except OSError:
        pass  # nobody reads, or the reader is gone
    os.close(opened)


def _offer_shared(descriptor: int, data: bytes) -> None:
    """Write to a socket, which cannot be opened anew, or to what somebody else opened for us."""
    try:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            _socket.socket(fileno=os.dup(descriptor)).send(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
            return
        ready = select.poll()
        ready.register(descriptor, select.POLLOUT)
        if any(events & select.POLLOUT for _, events in ready.poll(0)):
            os.write(descriptor, data)
    except OSError:
        pass  # nobody reads, or the reader is gone

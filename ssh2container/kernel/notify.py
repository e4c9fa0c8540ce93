"""System calls that wait for a supervisor's word: seccomp user notification.

Source: seccomp(2) and seccomp_unotify(2). The structures hold no pointers, so plain bytes do.
"""

from __future__ import annotations

import fcntl
import struct

from . import libc

LISTENER_OF_OLD = 1 << 3
LISTENER = LISTENER_OF_OLD | 1 << 5
"""Flags of a filter whose notifications arrive at a descriptor. With the second one, of Linux 5.19, a
signal does not undo a call that was received."""
_REQUEST = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif with its seccomp_data
_ANSWER = struct.Struct("=QqiI")  # struct seccomp_notif_resp
_RECEIVE = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV
_SEND = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
LISTENER_LINK = "anon_inode:seccomp notify"
"""Where /proc/PID/fd/N of a listener leads."""


class Call:
    """A call that waits: ``number`` and ``arguments`` as the filter saw them.

    id: names it to :func:`answer`. pid: the thread, in our pid namespace.
    """

    __slots__ = ("arguments", "id", "number", "pid")

    def __init__(self, request: bytes) -> None:
        self.id, self.pid, _, self.number, _, _, *arguments = _REQUEST.unpack(request)
        self.arguments: tuple[int, ...] = tuple(arguments)


def take_descriptor(pidfd: int, number: int) -> int:
    """Return a copy of descriptor ``number`` of another process (pidfd_getfd(2)); raises OSError."""
    return libc.syscall("pidfd_getfd", pidfd, number, 0)


def receive(listener: int) -> Call | None:
    """Return the next waiting call, None when its process ended meanwhile; raises OSError."""
    request = bytearray(_REQUEST.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, request)
    except FileNotFoundError:
        return None
    return Call(bytes(request))


def answer(listener: int, call: Call, refusal: int = 0) -> None:
    """Let ``call`` go on, or fail it with errno ``refusal``; its process may have ended."""
    flags = 0 if refusal else _CONTINUE
    try:
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(call.id, 0, -refusal, flags))
    except FileNotFoundError:
        pass

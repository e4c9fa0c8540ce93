"""Signals: their numbers, and what a session does about its own (signal(7), signalfd(2)).

Python's module of C for them works only in a complete interpreter, which a login is not
(``loading``), and has a handler of its own for what comes in; a session wants none.
"""

from __future__ import annotations

import posix

from . import libc

SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM = 1, 2, 3, 9, 10, 12, 14, 15
SIGCHLD, SIGCONT, SIGSTOP, SIGWINCH = 17, 18, 19, 28
"""The numbers that all architectures but Alpha, MIPS, SPARC and PA-RISC share."""

PARENT_DIED = 64
"""By this the kernel tells a session that sshd's process is gone: no client can send it."""
_LAST = 64
_SET_BYTES = 8
_EVERY, _NONE = b"\xff" * _SET_BYTES, bytes(_SET_BYTES)
_BLOCK, _UNBLOCK, _SETMASK = 0, 1, 2
_DEFAULT = bytes(32)
"""A struct sigaction of the kernel: SIG_DFL, no flags, an empty mask."""


def reset() -> None:
    """Give every signal its default action: callers leave SIGCHLD ignored, Python SIGPIPE."""
    for number in range(1, _LAST + 1):
        if number not in (SIGKILL, SIGSTOP):
            libc.syscall("rt_sigaction", number, _DEFAULT, None, _SET_BYTES)


def block() -> None:
    """Hold every signal back until it is read from a :func:`descriptor`."""
    libc.syscall("rt_sigprocmask", _BLOCK, _EVERY, None, _SET_BYTES)


def unblock() -> None:
    """Let signals through again."""
    libc.syscall("rt_sigprocmask", _SETMASK, _NONE, None, _SET_BYTES)


def descriptor(numbers: tuple[int, ...]) -> int:
    """Return a descriptor to read blocked signals ``numbers`` from."""
    flags = posix.O_NONBLOCK | posix.O_CLOEXEC
    return libc.syscall("signalfd4", -1, _set(numbers), _SET_BYTES, flags)


def read(descriptor: int) -> list[int]:
    """Return the numbers of the signals that wait at ``descriptor``."""
    size_of_siginfo = 128
    try:
        data = posix.read(descriptor, size_of_siginfo * 16)
    except BlockingIOError:
        return []
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), size_of_siginfo)]


def send(pidfd: int, number: int) -> None:
    """Send signal ``number`` to the process behind ``pidfd`` (pidfd_send_signal(2)). Raises OSError."""
    libc.syscall("pidfd_send_signal", pidfd, number, None, 0)


def die_by(number: int) -> None:
    """Take the default action of ``number``; returns only when that does not end a process."""
    if number not in (SIGKILL, SIGSTOP):
        libc.syscall("rt_sigaction", number, _DEFAULT, None, _SET_BYTES)
    libc.syscall("rt_sigprocmask", _UNBLOCK, _set((number,)), None, _SET_BYTES)
    posix.kill(posix.getpid(), number)


def _set(numbers: tuple[int, ...]) -> bytes:
    return sum(1 << (number - 1) for number in numbers).to_bytes(_SET_BYTES, "little")

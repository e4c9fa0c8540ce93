"""The process itself: descriptors, signals, dumpability, limits.

Sources: signal(7), prctl(2), close_range(2), signalfd(2), getrlimit(2), epoll(7). ``_prctl`` is the C half of
python-prctl; the other half makes a function for each option that exists, which costs each login 0.8 ms.
"""

from __future__ import annotations

import _stat as stat
import posix as os

import _prctl

from . import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # what signal wraps; that one imports enum (12 ms)

ALL_SIGNALS = signal.valid_signals()
_NEVER_CAUGHT = (signal.SIGKILL, signal.SIGSTOP)
_NULL_DEVICE = os.makedev(1, 3)
_UNLIMITED = 0xFFFFFFFFFFFFFFFF


def reset_signals() -> None:
    """Give every signal its default action: callers leave SIGCHLD ignored, Python SIGPIPE."""
    for number in ALL_SIGNALS.difference(_NEVER_CAUGHT):
        signal.signal(number, signal.SIG_DFL)


def block_signals() -> None:
    """Hold every signal back until it is read from a :func:`signal_descriptor`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)


def unblock_signals() -> None:
    """Let signals through again."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def signal_descriptor(numbers: tuple[int, ...]) -> int:
    """Return a descriptor to read blocked signals ``numbers`` from (signalfd(2))."""
    bits = sum(1 << (number - 1) for number in numbers)
    mask = bits.to_bytes(8, "little")
    nonblock_cloexec = os.O_NONBLOCK | os.O_CLOEXEC
    return libc.syscall("signalfd4", -1, mask, len(mask), nonblock_cloexec)


def read_signals(descriptor: int) -> list[int]:
    """Return the numbers of the signals that wait at ``descriptor``."""
    size_of_siginfo = 128
    try:
        data = os.read(descriptor, size_of_siginfo * 16)
    except BlockingIOError:
        return []
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), size_of_siginfo)]


def die_with_parent(number: int) -> None:
    """Have the kernel send signal ``number`` when the parent thread ends (PR_SET_PDEATHSIG)."""
    _prctl.prctl(_prctl.PR_SET_PDEATHSIG, number)


def set_dumpable(*, dumpable: bool) -> None:
    """Say whether others of our uid may trace us and open our /proc entries (PR_SET_DUMPABLE)."""
    _prctl.prctl(_prctl.PR_SET_DUMPABLE, int(dumpable))


def open_missing_standard_descriptors() -> None:
    """Put /dev/null where one of 0-2 is closed, before anything else opens a file there."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open("/dev/null", os.O_RDWR)
            # Python opens close-on-exec; the payload has to find it, too.
            if opened == descriptor:
                os.set_inheritable(descriptor, True)
            else:
                os.dup2(opened, descriptor)
                os.close(opened)


def handed_environment() -> dict[bytes, bytes]:
    """Return the environment that ``launcher/launcher.c`` left on descriptor 3. Raises OSError.

    As for a process's own environment the first of two equal names counts (environ(7)).
    """
    pieces = []
    while piece := os.read(3, 1 << 16):
        pieces.append(piece)
    result: dict[bytes, bytes] = {}
    for variable in b"".join(pieces).split(b"\0"):
        name, equals, value = variable.partition(b"=")
        if equals:
            result.setdefault(name, value)
    return result


def kind_of_descriptor(descriptor: int) -> str:
    """Name what ``descriptor`` refers to: tty, pipe, socket, file, null, or what we do not accept."""
    status = os.fstat(descriptor)
    mode = status.st_mode
    if stat.S_ISFIFO(mode):
        return "pipe"
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISCHR(mode):
        if status.st_rdev == _NULL_DEVICE:
            return "null"
        return "tty" if os.isatty(descriptor) else "a device"
    return "a directory" if stat.S_ISDIR(mode) else "a block device"


def close_from(lowest: int) -> None:
    """Close every descriptor from ``lowest`` up (close_range(2))."""
    libc.syscall("close_range", lowest, 0xFFFFFFFF, 0)


def close_all_but(kept: tuple[int, ...]) -> None:
    """Close every descriptor above 2 that is not in ``kept``."""
    lowest = 3
    for descriptor in sorted(kept):
        if descriptor > lowest:
            libc.syscall("close_range", lowest, descriptor - 1, 0)
        lowest = max(lowest, descriptor + 1)
    close_from(lowest)


def replace_standard_descriptors(kept: tuple[int, ...] = ()) -> None:
    """Let go of 0-2 but ``kept``: /dev/null in their place."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for descriptor in (0, 1, 2):
        if descriptor not in kept:
            os.dup2(null, descriptor)
    os.close(null)


def limit(soft: int, hard: int) -> bytes:
    """Return the struct rlimit64 of a pair; -1 means no limit."""
    return (soft & _UNLIMITED).to_bytes(8, "little") + (hard & _UNLIMITED).to_bytes(8, "little")


def set_limit(resource: int, soft: int, hard: int) -> None:
    """Set rlimit ``resource`` (number of <sys/resource.h>); -1 means no limit."""
    libc.syscall("prlimit64", 0, resource, limit(soft, hard), None)


def die_by_signal(number: int) -> None:
    """End as the payload did, by signal ``number``, so that sshd reports it; leaves no core.

    Returns only when the signal's default action does not end a process.
    """
    set_limit(4, 0, 0)  # RLIMIT_CORE
    if number not in _NEVER_CAUGHT:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    os.kill(os.getpid(), number)

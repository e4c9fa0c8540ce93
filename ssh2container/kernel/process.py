"""The process itself: descriptors, dumpability, limits.

Sources: prctl(2), close_range(2), getrlimit(2), epoll(7). ``_prctl`` is the C half of
python-prctl; the other half makes a function for each option that exists, which costs each login 0.8 ms.
It is imported when pid 1 is at work.
"""

from __future__ import annotations

import _stat as stat
import posix as os

from . import libc, signals

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
"""prctl(2)."""
_NULL_DEVICE = os.makedev(1, 3)
_UNLIMITED = 0xFFFFFFFFFFFFFFFF


def die_with_parent(number: int) -> None:
    """Have the kernel send signal ``number`` when the parent thread ends (PR_SET_PDEATHSIG)."""
    import _prctl

    _prctl.prctl(_prctl.PR_SET_PDEATHSIG, number)


def set_dumpable(*, dumpable: bool) -> None:
    """Say whether others of our uid may trace us and open our /proc entries (PR_SET_DUMPABLE)."""
    import _prctl

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
    """Return the environment that ``native/launcher/launcher.c`` left on descriptor 3. Raises OSError.

    As for a process's own environment the first of two equal names counts (environ(7)).
    """
    result: dict[bytes, bytes] = {}
    for variable in read_rest(3).split(b"\0"):
        name, equals, value = variable.partition(b"=")
        if equals:
            result.setdefault(name, value)
    return result


def read_file(path: str, flags: int = 0) -> bytes:
    """Return all that a file holds, one of /proc, too, which tells no size. Raises OSError.

    flags: of open(2), beside O_RDONLY and O_CLOEXEC.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        return read_rest(descriptor)
    finally:
        os.close(descriptor)


def read_rest(descriptor: int) -> bytes:
    """Return what is left to read. Raises OSError."""
    pieces = []
    while piece := os.read(descriptor, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


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


def keep_from_core_handlers() -> None:
    """Have no crash start a core handler, in programs started from here on neither (core(5): exactly 1)."""
    set_limit(4, 1, 1)  # RLIMIT_CORE


def get_limit(resource: int) -> tuple[int, int]:
    """Return the soft and hard rlimit ``resource`` (number of <sys/resource.h>); -1 means no limit."""
    pair = bytearray(16)
    libc.syscall("prlimit64", 0, resource, None, pair)
    return int.from_bytes(pair[:8], "little", signed=True), int.from_bytes(pair[8:], "little", signed=True)


def set_limit(resource: int, soft: int, hard: int) -> None:
    """Set rlimit ``resource`` (number of <sys/resource.h>); -1 means no limit."""
    libc.syscall("prlimit64", 0, resource, limit(soft, hard), None)


def die_by_signal(number: int) -> None:
    """End as the payload did, by signal ``number``, so that sshd reports it; leaves no core.

    A limit of 0 would start a core handler all the same (core(5)), and one of 1 may be out of reach: a
    process that is not dumpable leaves none. Returns only when the signal's default action does not end a
    process.
    """
    set_dumpable(dumpable=False)
    signals.die_by(number)

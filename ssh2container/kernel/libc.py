"""System calls that Python's own modules lack, each raising OSError.

They are made by number through ``_syscall``, a page of C that the installer builds. Numbers from
424 on are the same on every architecture, the others are listed by machine (syscalls(2)).
"""

from __future__ import annotations

import os

from . import _syscall

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

_NAMES = (
    "clone",
    "pivot_root",
    "capset",
    "keyctl",
    "seccomp",
    "sethostname",
    "mount",
    "umount2",
    "signalfd4",
    "prlimit64",
    "prctl",
)
_NUMBERS = {
    "x86_64": (56, 155, 126, 250, 317, 170, 165, 166, 289, 302, 157),
    "aarch64": (220, 41, 91, 219, 277, 161, 40, 39, 74, 261, 167),
}
_MACHINE = os.uname().machine
NUMBERS = dict(zip(_NAMES, _NUMBERS.get(_MACHINE, (-1,) * len(_NAMES)), strict=True))
"""Name -> number of the calls whose number depends on the machine."""
NUMBERS.update(
    open_tree=428,
    move_mount=429,
    close_range=436,
    openat2=437,
    pidfd_getfd=438,
    mount_setattr=442,
    landlock_create_ruleset=444,
    landlock_add_rule=445,
    landlock_restrict_self=446,
)

address = _syscall.address
"""Return the address of a bytes-like object's content, which the caller keeps alive."""


def syscall(name: str, *arguments: int | bytes | bytearray | None) -> int:
    """Make the system call ``name``; bytes are passed by address, a bytearray may be written to.

    Raises OSError with the name; ENOSYS on a machine whose numbers we do not know.
    """
    return _syscall.syscall(name, NUMBERS[name], *arguments)


def clone(flags: int) -> tuple[int, int]:
    """Fork into new namespaces: (pid, pidfd) in the parent, (0, -1) in the child.

    clone(2) without a stack behaves like fork in a process of a single thread. The caller itself
    never leaves its namespaces. The pidfd is close-on-exec. Raises OSError.
    """
    clone_pidfd, signal_child = 0x1000, 17
    return _syscall.clone(NUMBERS["clone"], flags | clone_pidfd | signal_child)

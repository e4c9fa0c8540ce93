"""System calls that Python's own modules lack, bound once, each raising OSError.

Only this package uses ctypes. Calls by number exist where glibc has no wrapper; numbers
above 423 are the same on every architecture, the others are listed by machine.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

_BY_MACHINE = {
    # in this order: (clone, pivot_root, capset, keyctl, seccomp, sethostname)
    "x86_64": (56, 155, 126, 250, 317, 170),
    "aarch64": (220, 41, 91, 219, 277, 161),
}
_MACHINE = os.uname().machine
SYS_CLONE, SYS_PIVOT_ROOT, SYS_CAPSET, SYS_KEYCTL, SYS_SECCOMP, SYS_SETHOSTNAME = _BY_MACHINE.get(
    _MACHINE, (-1,) * 6
)
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_CLOSE_RANGE = 436
SYS_OPENAT2 = 437
SYS_MOUNT_SETATTR = 442
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446

_libc = ctypes.CDLL(None, use_errno=True)
_holding_gil = ctypes.PyDLL(None, use_errno=True)


def fail(name: str) -> OSError:
    """Return the error of the call that just failed, with the call's name in its text."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), name)


def _bind(name: str, *types: Any) -> Any:
    function = getattr(_libc, name)
    function.argtypes = types
    function.restype = ctypes.c_int

    def check(result: int, _function: object, _arguments: object) -> int:
        if result == -1:
            raise fail(name)
        return result

    function.errcheck = check
    return function


mount = _bind("mount", ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
"""mount(2): source, target, type, flags, data; bytes or None."""
umount2 = _bind("umount2", ctypes.c_char_p, ctypes.c_int)
"""umount2(2): target, flags."""
signalfd = _bind("signalfd", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
"""signalfd(2): -1 for a new one, address of a 128-byte sigset_t, flags."""
prctl = _bind("prctl", ctypes.c_int, *(ctypes.c_ulong,) * 4)
"""prctl(2), for the options that python-prctl does not know."""
setrlimit = _bind("setrlimit", ctypes.c_int, ctypes.c_void_p)
"""setrlimit(2): resource number, address of struct rlimit."""

_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def syscall(name: str, number: int, *arguments: Any) -> int:
    """Make the system call ``number``; ``name`` is for the error.

    Integers are passed as C longs, so that 64-bit flags and -1 arrive whole.
    Raises OSError; ENOSYS on a machine whose numbers we do not know.
    """
    result: int = _syscall(
        ctypes.c_long(number),
        *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments),
    )
    if result == -1:
        raise fail(name)
    return result


_raw = _holding_gil.syscall
_raw.restype = ctypes.c_long
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_before_fork.restype = None
_after_fork_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
_after_fork_parent.restype = None
_after_fork_child = ctypes.pythonapi.PyOS_AfterFork_Child
_after_fork_child.restype = None

_CLONE_PIDFD = 0x1000


def clone(flags: int) -> tuple[int, int]:
    """Fork into new namespaces: (pid, pidfd) in the parent, (0, -1) in the child.

    clone(2) without a stack behaves like fork in a process of a single thread; the three hooks
    do for the interpreter what os.fork() does. The caller itself never leaves its namespaces.
    The pidfd is close-on-exec. Raises OSError.
    """
    pidfd = ctypes.c_int(-1)
    signal_child = 17
    _before_fork()
    pid: int = _raw(
        ctypes.c_long(SYS_CLONE),
        ctypes.c_long(flags | _CLONE_PIDFD | signal_child),
        ctypes.c_long(0),
        ctypes.byref(pidfd),
        ctypes.c_long(0),
        ctypes.c_long(0),
    )
    if pid == 0:
        _after_fork_child()
        return 0, -1
    error = fail("clone") if pid == -1 else None
    _after_fork_parent()
    if error is not None:
        raise error
    return pid, pidfd.value


def address(data: ctypes.Array[Any] | ctypes.Structure) -> Any:
    """Return a pointer to ``data``; the caller keeps ``data`` alive during the call."""
    return ctypes.byref(data)


def buffer(data: bytes) -> ctypes.Array[Any]:
    """Return a C array that holds ``data``."""
    return ctypes.create_string_buffer(data, len(data))

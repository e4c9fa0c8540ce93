"""What some peers insist on and a benchmark machine that is itself a container does not have."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator

from support.host import run

from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.kernel import namespaces

_CGROUPS = "/sys/fs/cgroup"
_UNIFIED = f"{_CGROUPS}/unified"
_LAST_PID = "/proc/sys/kernel/ns_last_pid"
_THREAD = "kthreadd"
_LOOKED_AT = range(2, 11)
"""The processes among which firejail 0.9 looks for a kernel thread; it finds none in a pid namespace."""
_TRIES = 20


def unify_cgroups() -> None:
    """Show this process and its children the unified hierarchy alone where both are there.

    crun runs nothing beside a hybrid hierarchy, not even without cgroups. Nothing changes for the host.
    """
    if not is_mount_point(_UNIFIED):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(namespaces.CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    run(["mount", "--make-rprivate", "/"]).ok()
    run(["mount", "--bind", _UNIFIED, _CGROUPS]).ok()


@contextlib.contextmanager
def kernel_thread() -> Iterator[None]:
    """Have a process among the first ten that is named like a kernel thread.

    Without one firejail believes to be in a sandbox, and runs its command without any containment.
    """
    if _is_there():
        yield
        return
    for _ in range(_TRIES):
        with open(_LAST_PID, "w", encoding="ascii") as file:
            file.write("1")  # the next process gets the first free number (pid_namespaces(7))
        child = os.fork()
        if child == 0:
            with open("/proc/self/comm", "w", encoding="ascii") as file:
                file.write(_THREAD)
            while True:
                signal.pause()
        if child in _LOOKED_AT:
            break
        _end(child)
    try:
        yield
    finally:
        if child in _LOOKED_AT:
            _end(child)


def _is_there() -> bool:
    for pid in _LOOKED_AT:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as file:
            if file.read().strip() == _THREAD:
                return True
    return False


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

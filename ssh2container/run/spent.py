"""What a container has used, as the kernel tells whoever collects its pid 1 (wait4(2), getrusage(2)).

Of a process it knows what that used itself, and what those used that it has collected. Children of a process
that ignores SIGCHLD are collected by nobody; a control group knows of them, too (:mod:`.cgroup`).
"""

from __future__ import annotations

from _struct import unpack_from

from ssh2container.kernel import libc

_ROOM = 256
"""More bytes than struct rusage has."""
_SELF = 0


def collect(pid: int) -> dict[str, str]:
    """Wait for the end of pid 1, our child, and return fields for the record (docs/audit.md). Raises OSError.

    ``os.wait4`` would load a library for its result.
    """
    used = bytearray(_ROOM)
    libc.syscall("wait4", pid, None, 0, used)
    user, system, largest = _read(used)
    found = {"cpu_usec": str(user + system), "cpu_user_usec": str(user), "cpu_system_usec": str(system)}
    own = bytearray(_ROOM)
    libc.syscall("getrusage", _SELF, own)
    # Until its exec pid 1 had our memory, and that counts: who had less than we have leaves no trace. Ours
    # here counts what this process was before it became the login shell, too: no file need be read for it.
    if largest > _read(own)[2]:
        found["memory_largest"] = str(largest * 1024)
    return found


def _read(used: bytearray) -> tuple[int, int, int]:
    """Return microseconds of processor time, as a user and in the kernel, and the largest process in KiB."""
    user_s, user, system_s, system, largest = unpack_from("5l", used)
    return user_s * 1_000_000 + user, system_s * 1_000_000 + system, largest

"""How full the memory is that a session writes files to: its own tmpfs, asked from outside.

The way there leads through the session's mounts, so a child asks (:mod:`asking`). What is asked has to be the
very file system that the kernel says the session alone has: wherever a name leads meanwhile, another one's
device gives it away.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import asking
from ssh2container.kernel import answering, mounts, process

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def measure(pids: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Return (bytes used, bytes there are) of the memory file systems of the containers whose pid 1 is given.

    Whoever is gone, does not answer or may not be looked at is missing.
    """
    outside = devices(process.read_file("/proc/self/mountinfo"))
    return asking.each(pids, lambda pid: _of(pid, outside))


def own(table: bytes, others: Collection[bytes]) -> dict[bytes, bytes]:
    """Return device -> mount point of every writable tmpfs in ``table``, of each the shortest.

    table: of proc_pid_mountinfo(5). others: devices that are mounted outside, too: what a policy binds.
    """
    places: dict[bytes, bytes] = {}
    for line in table.split(b"\n"):
        left, _, right = line.partition(b" - tmpfs ")
        fields, options = left.split(b" "), right.rpartition(b" ")[2].split(b",")
        if not right or len(fields) < 6 or b"rw" not in options or fields[2] in others:  # noqa: PLR2004
            continue
        place = os.fsencode(answering.unescaped(os.fsdecode(fields[4])))
        if fields[2] not in places or len(place) < len(places[fields[2]]):
            places[fields[2]] = place
    return places


def devices(table: bytes) -> frozenset[bytes]:
    """Return the devices that ``table`` names (proc_pid_mountinfo(5), the third field)."""
    return frozenset(line.split(b" ", 3)[2] for line in table.split(b"\n") if line.count(b" ") > 3)  # noqa: PLR2004


def _of(pid: int, outside: Collection[bytes]) -> tuple[int, int]:
    """Return (used, size) of all that ``pid`` has of its own. Raises OSError, or ValueError for nothing."""
    places = own(process.read_file(f"/proc/{pid}/mountinfo"), outside)
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    used = size = 0
    try:
        for device, place in places.items():
            path = os.fsdecode(place.lstrip(b"/")) or "."
            there = mounts.open_path(
                path, mounts.RESOLVE_NO_SYMLINKS | mounts.RESOLVE_BENEATH, directory=root
            )
            try:
                found = os.fstat(there).st_dev
                if b"%d:%d" % (os.major(found), os.minor(found)) != device:
                    raise ValueError("something else has come there")
                state = os.fstatvfs(there)
            finally:
                os.close(there)
            used += (state.f_blocks - state.f_bfree) * state.f_frsize
            size += state.f_blocks * state.f_frsize
    finally:
        os.close(root)
    if not places:
        raise ValueError("it has none")
    return used, size

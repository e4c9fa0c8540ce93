"""Room for large things that a test needs for a moment only: on the disk, else in memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

from support import disk

_PREFIX = "scratch-"
_DISK_RESERVE_BYTES = 1 << 30
"""What the disk keeps free for others: other lanes write, too."""
_MEMORY_RESERVE_BYTES = 3 << 30
"""What memory keeps free: for an emulated machine, and for other lanes."""


class NoRoom(Exception):
    """Neither the disk nor memory has room for as much."""


def available_bytes() -> int:
    """The memory that can be had without swapping (proc(5))."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))


def is_in_memory(needed: int, place: str) -> bool:
    """Whether ``needed`` bytes go to memory rather than to the disk of ``place``. Raises NoRoom."""
    free, memory = disk.free_bytes(place), available_bytes()
    if free >= needed + _DISK_RESERVE_BYTES:
        return False
    if memory >= needed + _MEMORY_RESERVE_BYTES:
        return True
    raise NoRoom(
        f"{needed >> 20} MiB are needed for a moment, beside what others use: {free >> 20} MiB of the"
        f" disk in {place} are free, {memory >> 20} MiB of memory"
    )


@contextlib.contextmanager
def directory(needed: int, place: str) -> Iterator[str]:
    """A directory below ``place`` for ``needed`` bytes; with all that is in it, it is gone afterwards.

    What killed runs have left of such is removed first. Raises NoRoom.
    """
    sweep(place)
    in_memory = is_in_memory(needed, place)
    made = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
    held = _lock(made)
    assert held is not None
    try:
        if in_memory:
            size = f"mode=700,size={needed}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "scratch", made], check=True)
        yield made
    finally:
        _remove(made)
        os.close(held)


def sweep(place: str) -> None:
    """Remove the directories of runs that were killed: nobody holds them any more."""
    for name in os.listdir(place):
        if name.startswith(_PREFIX):
            held = _lock(f"{place}/{name}")
            if held is not None:
                _remove(f"{place}/{name}")
                os.close(held)


def _lock(made: str) -> int | None:
    """A descriptor that holds the directory for as long as it is open; None where somebody holds it."""
    descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(made: str) -> None:
    subprocess.run(["umount", "--lazy", "--quiet", made], check=False, capture_output=True)
    shutil.rmtree(made)

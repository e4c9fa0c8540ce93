"""How much the disks that tests write to have free: what a run begins with, and the lowest it comes to.

``python3 -ISB disk.py PLACE…`` is the program behind :class:`Watch`: it looks until its stdin ends, then
tells as JSON what it saw. It is a process of its own, as tests fork, which one with threads must not.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PAUSE_SECONDS = 0.25
FULL_BYTES = 32 << 20
"""With less than that free some tests cannot write what they have to."""


@dataclass
class Seen:
    """What was free on the disk of ``place``, in bytes, and when it was least, as time.time() has it."""

    place: str
    first: int
    lowest: int
    at: float
    last: int

    def look(self) -> None:
        """Look again."""
        self.last = free_bytes(self.place)
        if self.last < self.lowest:
            self.lowest, self.at = self.last, time.time()


def free_bytes(place: str) -> int:
    """What may still be written on the disk of ``place``."""
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def places(cache: str) -> list[str]:
    """Where tests write, one directory for each disk: the cache of tests/run, and those of scratch files."""
    found: dict[int, str] = {}
    for place in (cache, tempfile.gettempdir(), "/var/tmp", "/var/lib", "/home", "/srv"):
        if os.path.isdir(place):
            found.setdefault(os.stat(place).st_dev, place)
    return list(found.values())


def opening(cache: str, needed: int) -> list[str]:
    """What there is to say before the first test, where about ``needed`` bytes are written at a time."""
    free = {place: free_bytes(place) for place in places(cache)}
    lines = [
        "tests/run: on the disk there are "
        + ", ".join(f"{amount >> 20} MiB free in {place}" for place, amount in free.items())
        + f"; these tests write {needed >> 20} MiB or less at a time"
    ]
    lines += [
        f'tests/run: the disk is short: tests may fail with "No space left on device", as {place} has'
        f" {amount >> 20} MiB free of {needed >> 20}"
        for place, amount in free.items()
        if amount < needed
    ]
    return lines


def closing(seen: Sequence[Seen], began: float, spans: Mapping[str, tuple[float, float]]) -> list[str]:
    """What there is to say after the last test. spans: from when to when each file of tests ran."""
    lines = []
    for disk in seen:
        running = [name for name, (start, end) in spans.items() if start <= disk.at <= end]
        after = max(round(disk.at - began), 0)
        when = f"{after // 60}:{after % 60:02}" + (f" in {', '.join(running)}" if running else "")
        line = (
            f"tests/run: free in {disk.place}: {disk.first >> 20} MiB at the start,"
            f" {disk.lowest >> 20} MiB at the lowest, after {when}, {disk.last >> 20} MiB at the end"
        )
        if disk.lowest < FULL_BYTES:
            line += ": the disk was full, which is why tests may have failed"
        lines.append(line)
    return lines


class Watch:
    """Looks at the disks of ``cache`` from now to :meth:`end`, from a process of its own."""

    def __init__(self, cache: str) -> None:
        self.began = time.time()
        self._process: subprocess.Popen[str] | None = subprocess.Popen(
            ["/usr/bin/python3", "-ISB", __file__, *places(cache)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True,
        )  # fmt: skip

    def end(self) -> list[Seen]:
        """What was seen; nothing when it has been asked before, or the process was killed."""
        if self._process is None:
            return []
        told, _ = self._process.communicate()
        self._process = None
        return [Seen(**one) for one in json.loads(told or "[]")]


def main(*watched: str) -> int:
    """Look until stdin ends."""
    seen = [Seen(place, free, free, time.time(), free) for place in watched for free in [free_bytes(place)]]
    while not select.select([0], [], [], _PAUSE_SECONDS)[0]:
        for disk in seen:
            disk.look()
    for disk in seen:
        disk.look()
    json.dump([vars(disk) for disk in seen], sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

"""Where the machines of lanes find room: what they share with this machine, and how many of them fit."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from support import lane as lane_init
from support.copying import Source
from support.disk import free_bytes

_NEEDED_MIB = {"unit": 128, "session": 320, "escape": 64, "clients": 512, "system": 1900}
"""What each suite has on the disk at a time, between one and a half and twice what was measured.

Of the suite system that is an emulated machine's, which goes to memory where the disk is short.
"""
FREE_BYTES = sum(_NEEDED_MIB.values()) << 20
"""The same of all of them side by side, without the machines of their lanes."""
_RESERVE = 1 / 4
"""The part of the free disk that lanes leave to others: it may get less while they run."""
MEMORY_BYTES = 2 << 30
"""What the tests of one lane take at most at a time; the emulated system alone takes 1.5 GiB."""
LANE_BYTES = 256 << 20
"""What each lane more takes: one emulated system alone is up at a time."""
_KEPT = ("venv", "mypy", "hypothesis", "wheels")
"""What lanes have of the cache."""
_SHARED = ("/usr", "/var/lib/apt")
"""Most of a machine. Tests read it; what one writes there nevertheless is its lane's alone."""
_LARGE = ("/opt", "/root")
"""Where machines that serve other things, too, have gigabytes: shared as well where that can be."""


class Obstacle(Exception):
    """Why there can be no lanes here."""


@dataclass(frozen=True)
class Room:
    """What the machines of lanes are made of.

    source: what each has a copy of. shared: the trees that each has an overlay of. machines: how many of
    them fit. why: which way was taken, and what kept from more. needed: bytes of the disk, tests included.
    """

    source: Source
    shared: tuple[str, ...]
    machines: int
    why: str
    needed: int = 0


def needed_bytes(suites: Iterable[str]) -> int:
    """What ``suites`` that run one after the other put on the disk at a time."""
    return max((_NEEDED_MIB.get(suite, 0) for suite in suites), default=0) << 20


def find(cache: str, place: str, wanted: int, checkout: str = "") -> Room:
    """The room in the directory ``place`` for ``wanted`` machines, or for fewer.

    ``cache`` is that of tests/run, ``checkout`` what runs in them. Raises Obstacle where there is none,
    subprocess.CalledProcessError.
    """
    shared: tuple[str, ...] = ()
    try:
        check_overlay(place)
    except Obstacle as obstacle:
        why = f"a copy of this one, as overlays cannot be had: {obstacle}"
    else:
        large = _stackable(_LARGE, place)
        shared = tuple(tree for tree in (*_SHARED, *large, f"{cache}/venv") if os.path.isdir(tree))
        if checkout and not any(f"{checkout}/".startswith(f"{tree}/") for tree in shared):
            shared = (*shared, *_stackable((checkout,), place))
        why = "whose /usr is an overlay of this one's"
    left_out = [f"{cache}/{name}" for name in os.listdir(cache) if name not in _KEPT]
    source = Source((*left_out, *shared))
    each = int(source.size() * 1.05) + 1
    machines, limit = min(_by_disk(each, place, wanted), _by_memory(wanted))
    if machines < 1:
        raise Obstacle(limit)
    if machines < wanted:
        why += f"; {machines + 1} rather than {wanted + 1}, as {limit}"
    machines = min(machines, wanted)
    return Room(source, shared, machines, why, machines * each + FREE_BYTES)


def _stackable(trees: Iterable[str], place: str) -> list[str]:
    """Those of ``trees`` that there are overlays of, with what is changed in the directory ``place``."""
    found = []
    for tree in trees:
        with contextlib.suppress(Obstacle):
            check_overlay(place, tree)
            found.append(tree)
    return found


def _by_disk(each: int, place: str, wanted: int) -> tuple[int, str]:
    """How many machines of ``each`` bytes find room on the disk, and why no more do."""
    free = free_bytes(place)
    needed = int((wanted * each + FREE_BYTES) / (1 - _RESERVE))
    fit = int((free * (1 - _RESERVE) - FREE_BYTES) // each)
    return fit, f"{needed >> 20} MiB are needed in {place}, {free >> 20} MiB are free"


def _by_memory(wanted: int) -> tuple[int, str]:
    """How many machines' tests find room in memory, beside those of this machine itself, and why no more."""
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
    needed = wanted * LANE_BYTES + MEMORY_BYTES
    return (
        (free - MEMORY_BYTES) // LANE_BYTES,
        f"{needed >> 20} MiB of memory are needed, {free >> 20} MiB are available",
    )


def check_overlay(place: str, tree: str = "/usr") -> None:
    """Raise Obstacle where there are no overlays of ``tree`` with what is changed in ``place``.

    So it is on a root that is an overlay itself, as that of many containers: it takes no changes of another.
    """
    layers, merged = f"{place}/tried", f"{place}/merged"

    def remove() -> None:
        subprocess.run(["rm", "-r", "-f", "--one-file-system", "--", layers, merged], check=True)

    os.makedirs(merged)
    try:
        mount = lane_init.overlay(tree, layers, merged)
    except PermissionError as error:
        remove()
        raise Obstacle(str(error)) from None
    # A directory of below is renamed, as dpkg and install.sh do.
    script = 'merged=$1; shift; "$@"; cd "$merged"; set -- */; mv -T "$1" renamed; test -d renamed'
    try:
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-O", "dotglob", "-ec", script, "try", merged, *mount],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
    finally:
        remove()
    if done.returncode:
        raise Obstacle((done.stderr.strip().splitlines() or ["no reason given"])[0])

"""Which files of tests run in which lane: the lanes are dealt to take about as long as each other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

SUITES = ("unit", "session", "escape", "clients", "system")
"""In the order in which one process runs them."""
_CORES = tuple(
    f"tests/{path}"
    for path in ("session/test_core_handler.py", "system/test_doctor.py", "system/test_login_limits.py")
)
"""Change the kernel's pattern of core files, or judge it: one lane runs them."""
_LONG = tuple(f"tests/session/test_{name}.py" for name in ("hanging", "sharing"))
"""Taken from the suite session, the longest one, for a lane that has less to do."""
_WHOLE = "test_whole_"
"""Begins the names of the tests of the emulated system."""


@dataclass(frozen=True)
class Plan:
    """One lane: its name, what it runs, and whether it keeps this machine's files, and its network.

    minutes: about what it takes where there are no other lanes, as ``tests/run --times`` had it.
    """

    name: str
    paths: tuple[str, ...]
    in_place: bool = False
    online: bool = False
    minutes: int = 1


def plans(suites: Sequence[str], top: str, most: int | None = None) -> list[Plan]:
    """The lanes that run ``suites``, ``most`` at most.

    One keeps this machine's files: that of the emulated system, which needs what else is in the cache.
    """
    files = {suite: _files(top, suite) if suite in suites else [] for suite in ("session", "system")}
    paths = [path for suite in files.values() for path in suite]
    whole, images = (
        [path for path in paths if os.path.basename(path).startswith(name)]
        for name in (_WHOLE, "test_image_")
    )
    cores, long = ([path for path in some if path in paths] for some in (_CORES, _LONG))
    apart = {*whole, *images, *cores, *long}
    session, system = ([path for path in some if path not in apart] for some in files.values())
    rest = {suite: [f"tests/{suite}"] if suite in suites else [] for suite in ("unit", "escape", "clients")}
    found = [  # the longest first
        Plan("whole", _ordered(whole), in_place=True, online=True, minutes=28),
        Plan("session", _ordered(session), minutes=16),
        Plan("clients", _ordered((*rest["clients"], *images, *cores)), online=True, minutes=16),
        Plan("escape", _ordered((*rest["unit"], *rest["escape"], *long)), minutes=16),
        Plan("system", _ordered(system), online=True, minutes=15),
    ]
    lanes = [plan for plan in found if plan.paths]
    most = len(lanes) if most is None else max(most, 1)
    lanes, others = lanes[:most], lanes[most:]
    for plan in others:
        shortest = min(range(most), key=lambda number: lanes[number].minutes)
        lanes[shortest] = _together(lanes[shortest], plan)
    if not any(plan.in_place for plan in lanes):
        lanes[:1] = [replace(plan, in_place=True) for plan in lanes[:1]]
    return lanes


def _together(one: Plan, other: Plan) -> Plan:
    """One lane that runs what two would."""
    return Plan(
        f"{one.name}+{other.name}",
        _ordered((*one.paths, *other.paths)),
        one.in_place or other.in_place,
        one.online or other.online,
        one.minutes + other.minutes,
    )


def _ordered(paths: Iterable[str]) -> tuple[str, ...]:
    """As one process runs them: suite by suite, each by name, so that no emulated system idles meanwhile."""
    return tuple(sorted(paths, key=lambda path: (SUITES.index(path.split("/")[1]), path)))


def _files(top: str, suite: str) -> list[str]:
    names = sorted(os.listdir(f"{top}/tests/{suite}"))
    return [f"tests/{suite}/{name}" for name in names if name.startswith("test_") and name.endswith(".py")]

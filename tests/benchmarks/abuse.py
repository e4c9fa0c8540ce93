"""Another user's login beside each attack of support.attacks: before and during, in turns within one run."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable

from support import attacks
from support.attacks import ATTACKS, CGROUP, Attack
from support.host import run
from support.users import SHELL, User, Users

from benchmarks.clock import as_user, interleaved
from benchmarks.table import Row, Section

BAR = "<= 2"
_TURNS = 3
Beside = Callable[[], contextlib.AbstractContextManager[object]]


def measure(users: Users, other: User, logins: int, directory: str) -> Section:
    """Attack as one user, log in as ``other`` and time it. logins: per attack, before and during.

    directory: on a disk; the attacker's home is made in it, so that a storm of writes reaches the disk.
    """
    home = f"{directory}/home"
    attacker = users.make(f"image: host\nhome: {{source: '{home}'}}\n")
    os.mkdir(home)
    os.chown(home, attacker.uid, attacker.gid)
    run(["/usr/bin/ssh2containerctl", "compile"]).ok()

    def login(count: int) -> list[float]:
        command = {"login": [SHELL, "-c", "true"]}
        samples: dict[str, list[float]] = as_user(
            other, lambda: interleaved(command, count, other.environment()), first=False
        )
        return samples["login"]

    rows = []
    for attack in ATTACKS:
        rows += in_turns(attack, lambda attack=attack: attacks.under(attacker, attack), login, logins)  # type: ignore[misc]
    rows += in_turns(attacks.LOGINS, lambda: attacks.storm_of_logins(attacker), login, logins)
    note = "wall time of ssh2container -c true of one user, before and during the attack of another"
    return Section("abuse", note, rows)


def in_turns(
    attack: Attack, beside: Beside, login: Callable[[int], list[float]], logins: int, turns: int = _TURNS
) -> list[Row]:
    """Time logins before and during ``attack``, several times one after the other; return the two rows."""
    before, during = [], []
    for _ in range(turns):
        before += login(max(1, logins // turns))
        with beside():
            during += login(max(1, logins // turns))
    alone = Row(f"before: {attack.title}", "ms", before)
    among = Row(f"during: {attack.title} ({attack.by}: {attack.bound})", "ms", during)
    among.ratio = statistics.median(during) / statistics.median(before)
    among.against = "before"
    among.bar = "" if attack.by == CGROUP else BAR
    return [alone, among]

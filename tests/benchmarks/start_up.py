"""How long a session takes from its first instruction to its end, when its command does nothing."""

from __future__ import annotations

import shutil

from support.users import SHELL, User

from benchmarks import peers
from benchmarks.clock import Command, as_user, interleaved
from benchmarks.table import Row, Section

INTERPRETER = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
LIMIT_BAR = "<= 1.25, aim 1.0"


def measure(user: User, rounds: int, place: str) -> Section:
    """Compare ``ssh2container -c true`` with a bare interpreter plus bubblewrap, and with the others.

    place: an empty directory.
    """
    commands: dict[str, Command] = {
        "ssh2container -c true": [SHELL, "-c", "true"],
        "python3 -I -S -c pass": INTERPRETER,
    }
    if shutil.which("bwrap"):
        commands["bubblewrap, all namespaces"] = peers.BUBBLEWRAP
    commands |= peers.of_user()
    times = as_user(user, lambda: interleaved(commands, rounds, user.environment()))
    rows = [Row(name, "ms", samples) for name, samples in times.items()]
    ours = times["ssh2container -c true"]
    if "bubblewrap, all namespaces" in times:
        limit = [
            sum(pair)
            for pair in zip(times["python3 -I -S -c pass"], times["bubblewrap, all namespaces"], strict=True)
        ]
        of_pairs = sorted(mine / theirs for mine, theirs in zip(ours, limit, strict=True))
        rows[0].ratio, rows[0].against = of_pairs[len(of_pairs) // 2], "the limit, pair by pair"
        rows[0].bar = LIMIT_BAR
        rows.insert(1, Row("limit: interpreter + bubblewrap", "ms", limit))
        minimum = min(times["python3 -I -S -c pass"]) + min(times["bubblewrap, all namespaces"])
        rows.insert(2, Row("same, of minima", "ms", [minimum], min(ours) / minimum, "ours / limit"))
    for row in rows:
        if row.name.startswith("firejail"):
            row.ratio, row.against = row.median / rows[0].median, "firejail / ours"
            row.bar = ">= 2" if "default" in row.name else ""
    others = peers.of_root(place)
    if others:
        times = interleaved(others, max(3, rounds // 5), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        rows += [Row(name, "ms", samples) for name, samples in times.items()]
    return Section("start-up and end", "wall time, runs interleaved; compare within one table only", rows)

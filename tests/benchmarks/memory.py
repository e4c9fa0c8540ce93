"""What idle sessions hold in memory: proportional set size (PSS, proc_pid_smaps(5)) by process."""

from __future__ import annotations

import contextlib

from support.host import children
from support.login import Live, live
from support.users import User

from benchmarks.table import Row, Section


def measure(user: User, counts: tuple[int, ...]) -> Section:
    """Open sessions and read what monitor and pid 1 hold, at each count."""
    rows = []
    with contextlib.ExitStack() as stack:
        sessions: list[Live] = []
        for count in sorted(counts):
            while len(sessions) < count:
                sessions.append(stack.enter_context(live(user)))
            pairs = [(s.monitor, children(s.monitor)[0].pid) for s in sessions]
            monitors = [pss(monitor) for monitor, _ in pairs]
            inits = [pss(init) for _, init in pairs]
            both = [sum(pair) for pair in zip(monitors, inits, strict=True)]
            rows += [
                Row(f"monitor at {count} sessions", "MB", monitors),
                Row(f"pid 1 at {count} sessions", "MB", inits),
                Row(f"both at {count} sessions", "MB", both, bar="<= 4, aim 2.5"),
            ]
    return Section("memory of an idle session", "PSS: what is shared counts for each in part", rows)


def pss(pid: int) -> float:
    """Return what a process holds, in MB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    raise RuntimeError(f"process {pid} has no Pss")

"""Many sessions: start-up beside live ones, what many leave behind, logins per second."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

from support.host import mount_table
from support.login import live
from support.sshd import serving
from support.users import SHELL, User

from benchmarks.clock import INTERPRETER, Command, as_user, interleaved
from benchmarks.table import Row, Section

_STEP = 50


def beside(user: User, other: User, live_sessions: int, rounds: int) -> Section:
    """Compare the start-up of ``user`` with none and with ``live_sessions`` of ``other`` open.

    Before, beside and after cannot be interleaved: a bare interpreter, run in turns with ours, tells
    what the machine itself did meanwhile.
    """
    commands: dict[str, Command] = {"session": [SHELL, "-c", "true"], "bare interpreter": INTERPRETER}

    def timed() -> dict[str, list[float]]:
        samples: dict[str, list[float]] = as_user(
            user, lambda: interleaved(commands, rounds, user.environment())
        )
        return samples

    before = timed()
    with contextlib.ExitStack() as stack:
        for _ in range(live_sessions):
            stack.enter_context(live(other))
        crowded = timed()
    after = timed()
    rows = []
    for name in commands:
        alone = Row(f"{name} with no other session, before and after", "ms", before[name] + after[name])
        among = Row(f"{name} beside {live_sessions} idle ones", "ms", crowded[name])
        among.ratio, among.against = among.median / alone.median, "with none"
        rows += [alone, among]
    rows[1].bar = "<= 1.2"
    return Section("start-up beside live sessions", "one user's, beside another's", rows)


def growth(user: User, sessions: int) -> Section:
    """Open and close ``sessions`` and count what they leave."""
    command: dict[str, Command] = {"ours": [SHELL, "-c", "true"]}
    as_user(user, lambda: interleaved(command, _STEP, user.environment()))
    before = _held()
    as_user(user, lambda: interleaved(command, sessions, user.environment()))
    after = _held()
    rows = [
        Row(f"{what} after {sessions} sessions", unit, [after[what, unit] - before[what, unit]], bar=bar)
        for (what, unit), bar in zip(before, ("0", "0", "0", "no trend", "no trend"), strict=True)
    ]
    note = "what is held after minus before; memory is the whole machine's, whatever else it does"
    return Section("growth", note, rows)


def logins(ours: User, plain: User, count: int, directory: str) -> Section:
    """Count logins per second through sshd, as many at a time as there are cores, against bash."""
    rows = []
    with serving(directory) as server:
        clients = {"ssh2container": server.client(ours), "bash": server.client(plain)}
        speeds: dict[str, list[float]] = {who: [] for who in clients}
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for _ in range(3):
                for who, client in clients.items():
                    began = time.perf_counter()
                    for done in pool.map(lambda _, c=client: c.box("true"), range(count)):
                        done.ok()
                    speeds[who].append(count / (time.perf_counter() - began))
        rows = [Row(f"logins per second, {who}", "1/s", samples) for who, samples in speeds.items()]
        rows[0].ratio, rows[0].against = rows[0].median / rows[1].median, "bash"
    return Section("logins", "ssh HOST true: connection, authentication, session, end", rows)


def _held() -> dict[tuple[str, str], float]:
    memory = {}
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            memory[name] = int(value.split()[0]) / 1000
    cgroups = sum(len(names) for _, names, _ in os.walk("/sys/fs/cgroup"))
    files = os.statvfs("/run")
    return {
        ("mounts", "count"): float(len(mount_table())),
        ("cgroups", "count"): float(cgroups),
        ("inodes of /run", "count"): float(files.f_files - files.f_ffree),
        ("kernel memory (Slab)", "MB"): memory["Slab"],
        ("shared memory", "MB"): memory["Shmem"],
    }

"""What live sessions use, and what they may: memory, processor time, processes, writable memory.

Where systemd gave a session a scope of its own, the scope is asked: the kernel keeps that account. Elsewhere
the processes of the container are added up.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import asking, cgroup, kernel, writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssh2container.admin.sessions.kernel import Process
    from ssh2container.admin.sessions.live import Listing, Live

_SHARES_S = 1.0
"""So long shared pages are told apart, the smallest processes first: it takes 70 µs for each MB."""


class Container:
    """The container of a session, or one that is shared.

    owner: the process outside that keeps it. group: its own scope, or None. path: of the group that its pid 1
    is in. cpu_s: seconds of processor time used so far.
    """

    __slots__ = ("cpu_s", "group", "init", "inside", "owner", "path")

    def __init__(self, live: Live, snapshot: kernel.Snapshot, groups: cgroup.Groups) -> None:
        self.owner = snapshot.processes.get(live.monitor.pid, live.monitor)
        self.init = snapshot.init_of(self.owner)
        self.inside: Sequence[Process] = () if self.init is None else snapshot.inside(self.init)
        self.path = "" if self.init is None else cgroup.of_process(self.init.pid)
        self.group = groups.at(cgroup.scope_in(self.path, live.who.uid))
        counted = None if self.group is None else self.group.cpu_s
        self.cpu_s = sum(process.cpu_s for process in self.inside) if counted is None else counted

    @property
    def is_counted(self) -> bool:
        """Whether the kernel keeps an account of its memory."""
        return self.group is not None and self.group.memory is not None

    def most_processes(self) -> int | None:
        """Return RLIMIT_NPROC of what pid 1 has started, where it counts; None for no limit."""
        if self.init is None:
            return None
        # prlimit(2) would want a right that root has not everywhere.
        started = [process for process in self.inside if process.parent == self.init.pid]
        found = [limit for process in started if (limit := process.most_processes()) is not None]
        return max(found) if found and len(found) == len(started) else None


class Moment:
    """All containers of a listing at one moment. when: on the monotonic clock."""

    def __init__(self, listing: Listing) -> None:
        self.when = time.monotonic()
        self.groups = cgroup.Groups()
        self._lives = (*listing.sessions, *listing.containers)
        self._snapshot = kernel.Snapshot()
        self._containers: dict[tuple[int, int], Container] = {}
        for live in self._lives:
            owner = live.container or live
            if _key(owner) not in self._containers:
                self._containers[_key(owner)] = Container(owner, self._snapshot, self.groups)

    def container(self, live: Live) -> Container:
        """Return the container that ``live`` is, or is in."""
        return self._containers[_key(live.container or live)]

    def outside(self, live: Live) -> list[Process]:
        """Return the process that ``live`` has outside its container: a monitor, or an owner."""
        monitor = self._snapshot.processes.get(live.monitor.pid)
        return [] if monitor is None or monitor.started != live.monitor.started else [monitor]

    def cpu_since(self, before: Moment | None, live: Live) -> float | None:
        """Return how many processors the container of ``live`` has kept busy since ``before``.

        None where it was not there yet. A child that nobody collects takes its time with it: never below 0.
        """
        then = None if before is None else before._containers.get(_key(live.container or live))  # noqa: SLF001
        if before is None or then is None or self.when <= before.when:
            return None
        return max(0.0, self.container(live).cpu_s - then.cpu_s) / (self.when - before.when)

    def memory(self) -> dict[int, int]:
        """Return pid -> bytes (PSS, as long as there is time) of every process that no scope accounts for."""
        apart = [live for live in self._lives if not self.container(live).is_counted]
        wanted = {process.pid: process for live in apart for process in self.container(live).inside}
        wanted |= {process.pid: process for live in apart for process in self.outside(live)}
        end = time.monotonic() + _SHARES_S

        def share(pid: int) -> tuple[int, ...]:
            return (wanted[pid].memory() if time.monotonic() < end else wanted[pid].own_memory,)

        # A process can wait for a page of a file whose server is gone, and who asks about its pages with it.
        told = asking.each(sorted(wanted, key=lambda pid: wanted[pid].own_memory), share)
        return {pid: told.get(pid, (process.own_memory,))[0] for pid, process in wanted.items()}

    def writable(self) -> dict[int, tuple[int, ...]]:
        """Return pid 1 -> (used, size) of the containers' own memory file systems."""
        return writable.measure([c.init.pid for c in self._containers.values() if c.init is not None])


def _key(live: Live) -> tuple[int, int]:
    return live.monitor.pid, live.monitor.started

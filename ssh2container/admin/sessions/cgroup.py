"""What the kernel's control groups say: how much a group uses, and how much it may (cgroup v2).

Where a process is, only the kernel is asked (/proc/PID/cgroup): a path that a user could have written is
never opened. Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ssh2container.kernel.process import read_file
from ssh2container.paths import CGROUPS
from ssh2container.plan.limits import unit

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Value = TypeVar("Value", int, float)

_MOUNTED = (CGROUPS, f"{CGROUPS}/unified")
"""Where systemd mounts the second version, alone or beside the first."""
_SCOPE = re.compile(re.escape(unit("NAME")).replace("NAME", "[0-9a-z-]{1,64}"))
_LONGEST_NUMBER = 20
_GONE = " (deleted)"


def root() -> str:
    """Return where the groups of the second version are, "" where there are none."""
    return next((place for place in _MOUNTED if os.path.exists(f"{place}/cgroup.controllers")), "")


def path_in(text: bytes) -> str:
    """Return the path that /proc/PID/cgroup names in the second version's tree, "" for none that can be read.

    That of a process outside our own cgroup namespace leads up, and a group that is gone has no files.
    """
    for line in text.split(b"\n"):
        if line.startswith(b"0::/"):
            path = os.fsdecode(line[3:])
            readable = not path.endswith(_GONE) and not {"", ".", ".."} & {*path[1:].split("/")}
            return path if readable else ""
    return ""


def of_process(pid: int) -> str:
    """Return the path of the group that ``pid`` is in, "" for none, or where it is gone."""
    try:
        return path_in(read_file(f"/proc/{pid}/cgroup"))
    except OSError:
        return ""


def scope_in(path: str, uid: int) -> str:
    """Return ``path`` as far as the scope of a session in the slice of ``uid``, "" where it has none."""
    parts = path.split("/")
    for at in range(len(parts) - 1, 0, -1):
        if _SCOPE.fullmatch(parts[at]):
            return "/".join(parts[: at + 1]) if slice_in(path, uid) else ""
    return ""


def slice_in(path: str, uid: int) -> str:
    """Return ``path`` as far as the slice of ``uid`` (systemd.slice(5)), "" where it has none."""
    head, name, rest = path.partition(f"/user-{uid}.slice")
    return head + name if name and rest[:1] in ("", "/") else ""


def number(text: bytes) -> int | None:
    """Return the one number of a file; None for ``max``, and for what is no number."""
    word = text.strip()
    return int(word) if word.isdigit() and len(word) <= _LONGEST_NUMBER else None


def keyed(text: bytes, key: str) -> int | None:
    """Return the number that follows ``key`` at the beginning of a line, None where there is none."""
    for line in text.split(b"\n"):
        name, _, value = line.partition(b" ")
        if name == key.encode():
            return number(value)
    return None


def processors(text: bytes) -> float | None:
    """Return how many processors cpu.max (``QUOTA PERIOD``, in microseconds) is worth; None for no limit."""
    quota, _, period = text.strip().partition(b" ")
    numerator, denominator = number(quota), number(period)
    return None if numerator is None or not denominator else numerator / denominator


class Group:
    """One control group: what everything below it uses, and what it may.

    memory, swap: bytes. cpu_s: seconds of processor time. cpus: processors. oom_kills: processes that were
    killed as the memory was used up. None for what the kernel does not tell, and for no limit.
    """

    __slots__ = (
        "cpu_s", "cpus", "memory", "memory_max", "oom_kills", "processes", "processes_max", "swap_max",
    )  # fmt: skip

    def __init__(self, directory: str) -> None:
        def tell(name: str, understand: Callable[[bytes], Value | None] = number) -> Value | None:
            try:
                return understand(read_file(f"{directory}/{name}"))
            except OSError:
                return None  # a controller that is not enabled here, or the root, which has no limits

        used_us = tell("cpu.stat", lambda text: keyed(text, "usage_usec"))
        self.cpu_s = None if used_us is None else used_us / 1e6
        self.cpus = tell("cpu.max", processors)
        self.memory = tell("memory.current")
        self.memory_max = tell("memory.max")
        self.swap_max = tell("memory.swap.max")
        self.oom_kills = tell("memory.events", lambda text: keyed(text, "oom_kill"))
        self.processes = tell("pids.current")
        self.processes_max = tell("pids.max")


class Groups:
    """The groups of a moment, each read once."""

    def __init__(self, place: str | None = None) -> None:
        self._root = root() if place is None else place
        self._known: dict[str, Group] = {}

    def at(self, path: str) -> Group | None:
        """Return the group at ``path``, None where there is none, or no path."""
        if not path or not self._root:
            return None
        if path not in self._known:
            if not os.path.isdir(self._root + path):
                return None
            self._known[path] = Group(self._root + path)
        return self._known[path]

    def bound(self, path: str, name: str) -> float | None:
        """Return the smallest limit ``name`` at ``path`` and above it, None for no limit."""
        parts = path.split("/")[1:]
        found = []
        for length in range(1, len(parts) + 1):
            group = self.at("/" + "/".join(parts[:length]))
            limit = None if group is None else getattr(group, name)
            found += [] if limit is None else [limit]
        return min(found, default=None)

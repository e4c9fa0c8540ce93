"""The kernel's word on processes: read by root in /proc, pinned by a pidfd while it is read."""

from __future__ import annotations

import functools
import os
import resource
import select
import time
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError
from ssh2container.kernel.process import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

_TTY_MAJORS = range(136, 144)
_SPARE_DESCRIPTORS = 32
"""So many stay free for reading what the sessions are: without any, they would seem to have ended."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Process:
    """One process as the kernel describes it (proc(5)).

    started: clock ticks since boot. uids: real, effective, saved, file system. pids: its number in
    each pid namespace, ours first. namespace: inode of its pid namespace, 0 if we may not know.
    cpu_s: seconds of processor time that it and the children it has collected have used.
    own_memory: bytes of memory that no file stands behind, pages that it shares with a fork counted in full.
    """

    __slots__ = (
        "cpu_s", "namespace", "own_memory", "parent", "pid", "pids", "started", "terminal", "uids",
    )  # fmt: skip

    def __init__(self, pid: int) -> None:
        """Describe ``pid``. Raises OSError when it is gone."""
        self.pid = pid
        fields = read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        self.parent = int(fields[1])
        self.terminal = int(fields[4])
        self.cpu_s = sum(map(int, fields[11:15])) / _TICKS_PER_S
        self.started = int(fields[19])
        # Only these of some sixty lines: there may be thousands of processes.
        status = read_file(f"/proc/{pid}/status")
        self.uids = tuple(map(int, _of(status, b"\nUid:")))
        self.pids = tuple(map(int, _of(status, b"\nNSpid:")))
        memory = (*_of(status, b"\nRssAnon:")[:1], *_of(status, b"\nRssShmem:")[:1])
        self.own_memory = sum(map(int, memory)) << 10
        try:
            self.namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
        except PermissionError:
            self.namespace = 0

    @property
    def since(self) -> float:
        """When it started, in seconds since the epoch."""
        return _boot_time(int(time.monotonic())) + self.started / _TICKS_PER_S

    def memory(self) -> int:
        """Return its proportional share of memory in bytes (PSS); 0 if it is gone or we may not know."""
        try:
            for line in read_file(f"/proc/{self.pid}/smaps_rollup").split(b"\n"):
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) << 10
        except OSError:
            pass
        return 0

    def most_processes(self) -> int | None:
        """Return its hard RLIMIT_NPROC, None for no limit, or when it is gone."""
        try:
            limits = read_file(f"/proc/{self.pid}/limits")
        except OSError:
            return None
        line = limits.partition(b"Max processes")[2].partition(b"\n")[0].split()
        return int(line[1]) if len(line) > 1 and line[1].isdigit() else None

    def idle(self) -> float | None:
        """Return the seconds since somebody typed on its terminal, None without one (as w(1) does)."""
        major = (self.terminal >> 8) & 0xFFF
        minor = (self.terminal & 0xFF) | ((self.terminal >> 12) & 0xFFF00)
        if major not in _TTY_MAJORS:
            return None
        try:
            found = os.lstat(f"/dev/pts/{(major - _TTY_MAJORS[0]) * 256 + minor}")
        except OSError:
            return None
        if found.st_rdev != os.makedev(major, minor) or found.st_uid != self.uids[0]:
            return None
        return max(0.0, time.time() - found.st_atime)


class Snapshot:
    """All processes of a moment."""

    def __init__(self) -> None:
        self.processes = {process.pid: process for process in _all()}
        own_namespace = os.stat("/proc/self/ns/pid").st_ino
        self._inits: dict[int, list[Process]] = {}
        self._inside: dict[int, list[Process]] = {}
        for process in self.processes.values():
            if process.namespace != own_namespace:
                self._inside.setdefault(process.namespace, []).append(process)
                if process.pids[-1:] == (1,):
                    self._inits.setdefault(process.parent, []).append(process)

    def init_of(self, monitor: Process) -> Process | None:
        """Return pid 1 of the container that ``monitor`` has started."""
        inner = (p for p in self._inits.get(monitor.pid, ()) if len(p.pids) > len(monitor.pids))
        return next(inner, None)

    def inside(self, init: Process) -> list[Process]:
        """Return every process of the container whose pid 1 is ``init``, by the namespace's inode."""
        if not init.namespace:
            return [init]
        return self._inside.get(init.namespace, [])


def allow_descriptors() -> None:
    """Let this process have as many descriptors as it may: each session that is looked at takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hold(pid: int, started: str, uid: int) -> tuple[int, Process] | None:
    """Return a pidfd of a process and its facts, None unless it is the one that is claimed.

    The pidfd is there first and lives afterwards: no other process can have been described.
    Raises SessionError where there are too many sessions to look at all of them.
    """
    if pid <= 1:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, OverflowError):
        return None
    if pidfd >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS:
        os.close(pidfd)
        why = f"it takes an open file for each, and so many are not allowed: {pidfd}"
        raise SessionError("cannot look at all sessions", why, "allow more: ulimit -n")
    try:
        process = Process(pid)
        if str(process.started) == started and set(process.uids) == {uid} and not ended(pidfd):
            return pidfd, process
    except (OSError, IndexError, ValueError):
        pass
    os.close(pidfd)
    return None


def ended(pidfd: int, timeout_s: float = 0.0) -> bool:
    """Tell whether the process of ``pidfd`` has ended, after waiting for it for a time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(int(timeout_s * 1000)))


def _of(status: bytes, name: bytes) -> list[bytes]:
    """Return the words of a line of /proc/PID/status; none of one that is not there.

    name: with the end of the line before it, which what the process calls itself has not, and its colon.
    """
    at = status.find(name)
    if at < 0:
        return []
    at += len(name)
    return status[at : status.index(b"\n", at)].split()


def _all() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                yield Process(int(name))
            except (OSError, IndexError):
                continue  # it has ended meanwhile


@functools.lru_cache(maxsize=1)
def _boot_time(second: int) -> int:
    """Return when the host was booted, in seconds since the epoch; asked once in each ``second``.

    The clock may be set meanwhile. The kernel adds up all interrupts of all processors to answer.
    """
    del second
    for line in read_file("/proc/stat").split(b"\n"):
        if line.startswith(b"btime "):
            return int(line.split()[1])
    return 0

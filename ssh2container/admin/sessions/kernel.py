"""The kernel's word on processes: read by root in /proc, pinned by a pidfd while it is read."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TTY_MAJORS = range(136, 144)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Process:
    """One process as the kernel describes it (proc(5)).

    started: clock ticks since boot. uids: real, effective, saved, file system. pids: its number in
    each pid namespace, ours first. namespace: inode of its pid namespace, 0 if we may not know.
    """

    __slots__ = ("namespace", "parent", "pid", "pids", "started", "terminal", "uids")

    def __init__(self, pid: int) -> None:
        """Describe ``pid``. Raises OSError when it is gone."""
        self.pid = pid
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        self.parent = int(fields[1])
        self.terminal = int(fields[4])
        self.started = int(fields[19])
        self.uids: tuple[int, ...] = ()
        self.pids: tuple[int, ...] = ()
        for line in _read(f"/proc/{pid}/status").split(b"\n"):
            if line.startswith(b"Uid:"):
                self.uids = tuple(map(int, line.split()[1:]))
            elif line.startswith(b"NSpid:"):
                self.pids = tuple(map(int, line.split()[1:]))
        try:
            self.namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
        except PermissionError:
            self.namespace = 0

    @property
    def since(self) -> float:
        """When it started, in seconds since the epoch."""
        return _boot_time() + self.started / _TICKS_PER_S

    def memory(self) -> int:
        """Return its proportional share of memory in bytes (PSS); 0 if it is gone or we may not know."""
        try:
            for line in _read(f"/proc/{self.pid}/smaps_rollup").split(b"\n"):
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) << 10
        except OSError:
            pass
        return 0

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
        self.own_namespace = os.stat("/proc/self/ns/pid").st_ino

    def init_of(self, monitor: Process) -> Process | None:
        """Return pid 1 of the container that ``monitor`` has started."""
        for process in self.processes.values():
            inner = len(process.pids) > len(monitor.pids) and process.pids[-1] == 1
            if process.parent == monitor.pid and inner and process.namespace != self.own_namespace:
                return process
        return None

    def inside(self, init: Process) -> list[Process]:
        """Return every process of the container whose pid 1 is ``init``, by the namespace's inode."""
        if not init.namespace:
            return [init]
        return [p for p in self.processes.values() if p.namespace == init.namespace]


def hold(pid: int, started: str, uid: int) -> tuple[int, Process] | None:
    """Return a pidfd of a process and its facts, None unless it is the one that is claimed.

    The pidfd is there first and lives afterwards: no other process can have been described.
    """
    if pid <= 1:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, OverflowError):
        return None
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


def _all() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                yield Process(int(name))
            except (OSError, IndexError):
                continue  # it has ended meanwhile


def memory(processes: Iterable[Process]) -> int:
    """Return the memory of ``processes`` in bytes."""
    return sum(process.memory() for process in processes)


def _boot_time() -> int:
    for line in _read("/proc/stat").split(b"\n"):
        if line.startswith(b"btime "):
            return int(line.split()[1])
    return 0


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
    finally:
        os.close(descriptor)
    return b"".join(pieces)

"""The host as the tests see it: processes, mounts, waiting for something to become true."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 240.0
"""How long something may take before a test gives up: a net under a hang, never a measurement.

A machine with other work may be many times slower than an idle one."""


def until(condition: Callable[[], T], what: str, deadline_seconds: float = DEADLINE_SECONDS) -> T:
    """The first true value of ``condition``, asked again and again; AssertionError at the deadline."""
    end = time.monotonic() + deadline_seconds
    pause_seconds = 0.002
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"still not true after {deadline_seconds:.0f} s: {what}")
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, 0.1)
    return value


@dataclass(frozen=True)
class Done:
    """A program that has ended."""

    status: int
    """The exit status; minus the signal's number after a death by signal."""
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def errors(self) -> str:
        return self.err.decode(errors="backslashreplace")

    def ok(self) -> Done:
        """Itself, after checking that the program ended with status 0."""
        assert self.status == 0, f"status {self.status}: {self.errors}\n{self.out[-2000:]!r}"
        return self


def run(command: Sequence[str | bytes], stdin: bytes = b"", **options: object) -> Done:
    """Run a program of the test's own to its end, with ``stdin`` as its input."""
    done = subprocess.run(  # type: ignore[call-overload]  # options go through as they are
        command, input=stdin, capture_output=True, check=False, timeout=DEADLINE_SECONDS, **options
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    state: str
    uids: frozenset[int]
    name: str

    def namespace(self, kind: str) -> str:
        return os.readlink(f"/proc/{self.pid}/ns/{kind}")

    def command(self) -> bytes:
        with open(f"/proc/{self.pid}/cmdline", "rb") as file:
            return file.read()


def processes(uid: int | None = None) -> list[Process]:
    """Every process (of ``uid``, in whichever of its four user ids), zombies included."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/status", encoding="utf-8", errors="replace") as file:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        except (FileNotFoundError, ProcessLookupError):
            continue
        uids = frozenset(int(number) for number in fields["Uid"].split())
        if uid is None or uid in uids:
            found.append(Process(int(entry), int(fields["PPid"]), fields["State"][0], uids, fields["Name"]))
    return found


def children(pid: int) -> list[Process]:
    """The processes whose parent is ``pid``."""
    return [process for process in processes() if process.parent == pid]


def _mountinfo() -> str:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return file.read()


def mount_table() -> list[str]:
    """The mounts this process sees: mount point, type and source of each.

    Read until two readings agree: one that something else changes meanwhile may lack a line.
    """
    text, former = _mountinfo(), ""
    while text != former:
        text, former = _mountinfo(), text
    lines = [line.split() for line in text.splitlines()]
    return sorted(" ".join([fields[4], *fields[fields.index("-") + 1 :][:2]]) for fields in lines)

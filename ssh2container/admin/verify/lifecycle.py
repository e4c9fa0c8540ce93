# Longer than 300 lines: its probes share what starts a session, listens to it and sees it end.
"""Life-cycle probes: sessions that are ended in every way, watched from outside.

Whether something is left is asked of the kernel, not of the process table: a process that lives on
holds its end of a pipe open, so end-of-file on ours proves that all of them are gone.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
import tty
from typing import TYPE_CHECKING

from ssh2container.admin.verify import scenarios
from ssh2container.admin.verify.probe import require
from ssh2container.admin.verify.probes.resources import GROUP as RESOURCES
from ssh2container.admin.verify.verdicts import Escaped, Skipped
from ssh2container.errors import EXIT_REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.verify.sessions import Starter

    Attempt = Callable[[Starter], str]

DEADLINE_SECONDS = 30
"""A net under a hang; what is left after a session is left for good, not for some seconds."""
_PAYLOAD_BYTES = 16 << 20
_KILLED = -signal.SIGKILL


class LifeCycle:
    """A probe from outside: like ``Probe``, but it starts sessions of its own."""

    group = RESOURCES.title

    def __init__(self, name: str, source: str, attempt: Attempt) -> None:
        self.name = name
        self.source = source
        self.attempt = attempt


PROBES: list[LifeCycle] = []


def _probe(name: str, source: str) -> Callable[[Attempt], Attempt]:
    def add(attempt: Attempt) -> Attempt:
        PROBES.append(LifeCycle(name, source, attempt))
        return attempt

    return add


class Live:
    """A session under way, and our ends of its pipes."""

    def __init__(self, starter: Starter, scenario: str) -> None:
        pipe = subprocess.PIPE
        self.process = starter.start(scenario, stdin=pipe, stdout=pipe, stderr=pipe)

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        try:
            self.process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def line(self) -> bytes:
        """Return the next line that the payload prints; b"" at the end."""
        assert self.process.stdout  # noqa: S101 - it is a pipe
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE_SECONDS)
        require(ready, f"the session printed nothing for {DEADLINE_SECONDS} s")
        return self.process.stdout.readline()

    def all_gone(self, *numbers: int) -> float:
        """Wait for end-of-file on our ends of descriptors ``numbers``; return the seconds it took."""
        began = time.monotonic()
        for number in numbers:
            stream = self.process.stdout if number == 1 else self.process.stderr
            assert stream  # noqa: S101 - it is a pipe
            while True:
                left = DEADLINE_SECONDS - (time.monotonic() - began)
                ready, _, _ = select.select([stream], [], [], max(left, 0))
                require(ready, f"a process of the session still holds descriptor {number} open")
                if not os.read(stream.fileno(), 65536):
                    break
        return time.monotonic() - began

    def ended_by_its_filter(self, line: bytes) -> bool:
        """Tell whether it said nothing more, as it was ended at once (``seccomp.on_violation: kill``)."""
        return not line and self.status() == -signal.SIGSYS

    def status(self) -> int:
        """Return the session's exit status, negative after a signal, once all pipes are closed."""
        try:
            return self.process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Escaped(f"the monitor lives on after {DEADLINE_SECONDS} s") from None


def _run(starter: Starter, scenario: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    with Live(starter, scenario) as live:
        try:
            out, err = live.process.communicate(stdin, DEADLINE_SECONDS * 2)
        except subprocess.TimeoutExpired:
            raise Escaped("the session does not end") from None
        refused(out, live.process.returncode)
        return live.process.returncode, out, err


def refused(out: bytes, status: int) -> None:
    """Raise Skipped when the session itself was refused or could not be made."""
    if out.startswith(b'{"error"'):
        raise Skipped(f"no session: {json.loads(out.splitlines()[0])['error']}, status {status}")


def _ends_with(name: str, source: str, scenario: str, expected: int, seen: str) -> None:
    def attempt(starter: Starter) -> str:
        status, _, err = _run(starter, scenario)
        require(status == expected, f"status {status} instead of {expected}: {err.decode(errors='replace')}")
        return seen

    _probe(name, source)(attempt)


_ends_with("exit status 7 is 7", "wait(2)", "exit", scenarios.EXIT_STATUS, "7")
_ends_with("death by SIGTERM is death by SIGTERM", "wait(2)", "terminate", -signal.SIGTERM, "SIGTERM")
_ends_with(
    "kill(0) inside does not reach the monitor",
    "kill(2)",
    "deaf to group",
    scenarios.EXIT_STATUS,
    "it went on",
)
_ends_with(
    "kill(-1) inside ends the session, not the monitor",
    "kill(2)",
    "kill everybody",
    _KILLED,
    "the payload's end was passed on",
)


@_probe(f"{scenarios.ORPHANS} orphans are reaped", "wait(2), pid_namespaces(7)")
def _orphans(starter: Starter) -> str:
    status, _, err = _run(starter, "orphans")
    if status == scenarios.REFUSED_STATUS:
        raise Skipped("the policy's limit of processes is too low for it")
    require(status == scenarios.EXIT_STATUS, f"status {status}: {err.decode(errors='replace')}")
    return "all of them"


@_probe("bytes arrive as they were sent, both ways", "sshd(8), 8-bit clean channels")
def _bytes(starter: Starter) -> str:
    data = os.urandom(1 << 20) * (_PAYLOAD_BYTES >> 20)
    status, out, err = _run(starter, "echo", data)
    require(status == 0, f"status {status}: {err.decode(errors='replace')}")
    require(out == data, f"{len(out)} of {len(data)} bytes came back, or others")
    return f"{len(data)} bytes"


@_probe("a daemon is gone after logout", "pid_namespaces(7); daemon(3)")
def _daemon(starter: Starter) -> str:
    with Live(starter, "daemon") as live:
        seconds = live.all_gone(1, 2)
        require(live.status() == scenarios.EXIT_STATUS, f"status {live.status()}")
        return f"within {seconds:.2f} s of the start"


def _monitor_killed(name: str, scenario: str) -> None:
    def attempt(starter: Starter) -> str:
        with Live(starter, scenario) as live:
            if scenario == "wait":
                _refused_line(live)
                live.process.kill()
            seconds = live.all_gone(1, 2)
            require(live.status() == _KILLED, f"status {live.status()}")
            return f"nothing is left after {seconds:.3f} s"

    _probe(name, "prctl(2), PR_SET_PDEATHSIG; pid_namespaces(7)")(attempt)


def _refused_line(live: Live) -> None:
    line = live.line()
    if line != scenarios.READY:
        refused(line, -1)
        raise Escaped(f"the session said {line!r}")


_monitor_killed("SIGKILL of the monitor leaves nothing", "wait")
_monitor_killed("SIGKILL of the monitor before the start leaves nothing", "monitor killed before launch")
_monitor_killed(
    "SIGKILL of the monitor while the container is made leaves nothing", "monitor killed after launch"
)


@_probe("a client that goes away takes its session along", "sshd(8); epoll(7), EPOLLERR")
def _client_gone(starter: Starter) -> str:
    with Live(starter, "wait") as live:
        _refused_line(live)
        assert live.process.stdin  # noqa: S101 - both are pipes
        assert live.process.stdout  # noqa: S101
        live.process.stdin.close()
        live.process.stdout.close()
        seconds = live.all_gone(2)
        live.status()
        return f"within {seconds:.2f} s"


@_probe("SIGTERM of the monitor does not leave the payload behind", "sshd(8), signals to the shell's group")
def _terminated(starter: Starter) -> str:
    with Live(starter, "wait") as live:
        _refused_line(live)
        live.process.terminate()
        live.process.kill()
        seconds = live.all_gone(1, 2)
        return f"nothing is left after {seconds:.3f} s"


@_probe("a directory as standard input is refused", "openat(2); CVE-2024-21626")
def _directory(starter: Starter) -> str:
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        process = starter.start("exit", stdin=descriptor, stdout=subprocess.PIPE)
    finally:
        os.close(descriptor)
    out, _ = process.communicate(timeout=DEADLINE_SECONDS)
    # The interpreter itself refuses a directory as descriptor 0, with status 1, before our first line.
    require(process.returncode in (EXIT_REFUSED, 1), f"status {process.returncode}: {out!r}")
    return f"status {process.returncode}, no session"


@_probe(
    "the client's terminal holds no injected byte after logout", "CVE-2017-5226, CVE-2019-10063; tty_ioctl(4)"
)
def _injection(starter: Starter) -> str:
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        if os.geteuid() == 0:
            os.fchown(slave, starter.entry.pw_uid, -1)
        process = starter.start("inject", stdin=slave, stdout=slave)
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
        ready, _, _ = select.select([master], [], [], 0)
        shown = os.read(master, 65536) if ready else b""
        if b'{"error"' in shown:
            raise Skipped("no session: " + shown.decode(errors="replace").strip())
        ended_by_filter = process.returncode == -signal.SIGSYS
        require(
            ended_by_filter or process.returncode == scenarios.EXIT_STATUS,
            f"status {process.returncode}: {err!r}",
        )
        require(ended_by_filter or scenarios.READY.strip() in shown, f"the payload said {shown!r}")
        ready, _, _ = select.select([slave], [], [], 0)
        require(not ready, f"it holds {os.read(slave, 64)!r}" if ready else "")
    finally:
        os.close(master)
        os.close(slave)
    return "none"


@_probe("two sessions of one user do not meet", "namespaces(7); tmpfs(5)")
def _two(starter: Starter) -> str:
    with Live(starter, "meet") as first:
        line = first.line()
        refused(line, -1)
        require(line == b"nothing\n", f"the first met {line!r}")
        with Live(starter, "meet") as second:
            line = second.line()
            if line.startswith(b'{"error"'):
                refused(line, -1)
            require(line == b"nothing\n", f"the second met {line.decode(errors='replace').strip()}")
    return "no file, socket or process of the other"


@_probe("what a session changes of the image the next one does not see", "overlayfs.rst, upper layer")
def _next(starter: Starter) -> str:
    def seen() -> bytes:
        status, out, err = _run(starter, "look")
        require(status == scenarios.EXIT_STATUS, f"status {status}: {err.decode(errors='replace')}")
        return out

    before = seen()
    with Live(starter, "deface") as live:
        line = live.line()
        refused(line, -1)
        ended = live.ended_by_its_filter(line)
        require(ended or line.strip().isdigit(), f"the session said {line!r}")
        during = seen()
    after = seen()
    require(before == during == after, f"the image was {before!r}, then {during!r} and {after!r}")
    return "none: its filter ended the session" if ended else f"{int(line)} changes, for itself alone"

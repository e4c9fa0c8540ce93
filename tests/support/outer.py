"""The login shell on a terminal of the test's own, without sshd; and strace over live processes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from support.host import children, until
from support.login import start
from support.tracing import strace
from support.users import User


def shown_until(terminal: int, text: bytes) -> bytes:
    """What comes from one side of a terminal up to ``text``: one read may give less than one write put in."""
    seen = b""

    def found() -> bool:
        nonlocal seen
        while text not in seen and select.select([terminal], [], [], 0.05)[0]:
            seen += os.read(terminal, 65536)
        return text in seen

    until(found, f"{text!r} is shown")
    return seen


class Outer:
    """A session on a terminal of the test's own, whose other side the test holds."""

    def __init__(
        self, user: User, *arguments: str, rows: int = 24, columns: int = 80, stdin: int | None = None
    ) -> None:
        """stdin: what to have in place of the terminal."""
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        os.fchown(slave, user.uid, user.gid)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        given = slave if stdin is None else stdin
        self.process = start(user, *arguments, stdin=given, stdout=slave, stderr=slave)
        self.shown = b""

    def expect(self, text: bytes) -> bytes:
        """All that was shown up to and with ``text``, which is then forgotten."""

        def found() -> bool:
            while text not in self.shown and select.select([self.master], [], [], 0.05)[0]:
                self.shown += os.read(self.master, 65536)
            return text in self.shown

        until(found, f"{text!r} is shown")
        seen, _, self.shown = self.shown.partition(text)
        return seen + text

    def send(self, text: bytes) -> None:
        os.write(self.master, text)

    def ended(self) -> int:
        until(lambda: self.process.poll() is not None, "the session ends")
        return self.process.returncode


@contextmanager
def outer(user: User, *arguments: str, **options: int) -> Iterator[Outer]:
    session = Outer(user, *arguments, **options)
    try:
        yield session
    finally:
        os.close(session.master)
        os.close(session.slave)
        until(lambda: session.process.poll() is not None, "the session ends")


@contextmanager
def traced(pids: list[int], trace: str) -> Iterator[list[str]]:
    """The system calls of processes while the block lasts; the list is filled at its end.

    They and their children are waited for at both ends: with what came before they have nothing to
    do any more, and of what the block was told of no call is cut off by the tracer's end.
    """
    calls: list[str] = []
    until(lambda: _are_at_rest(pids), "the processes have nothing more to do")
    attach = [word for pid in pids for word in ("-p", str(pid))]
    tracer = subprocess.Popen([*strace(trace.split(","), log=""), *attach], stderr=subprocess.PIPE, text=True)
    until(lambda: all(_tracer_of(pid) for pid in pids), "strace is attached")
    try:
        yield calls
        until(lambda: _are_at_rest(pids), "the processes have nothing more to do")
    finally:
        tracer.terminate()
        assert tracer.stderr
        calls += [line for line in tracer.stderr.read().splitlines() if "detached" not in line]
        tracer.wait()


def _tracer_of(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.findall(r"TracerPid:\t(\d+)", file.read())[0])


def _are_at_rest(pids: list[int]) -> bool:
    """Whether all of them sleep; those that have something to say to others are asked first."""
    everybody = [*(child.pid for pid in pids for child in children(pid)), *pids]
    return all(state(pid) in "SZ" for pid in everybody)


def state(pid: int) -> str:
    """The letter of proc(5): S asleep, t stopped by a tracer, R on a processor …"""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return str(re.findall(r"State:\t(\w)", file.read())[0])

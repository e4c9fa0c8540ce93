"""The login shell called as sshd calls it, without sshd: its argv, environment, directory, descriptors."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from support.host import DEADLINE_SECONDS, Done, Process, children, until
from support.users import User

Stream = int | IO[bytes] | socket.socket | None
Descriptor = int | IO[bytes] | None
Word = str | bytes


def start(
    user: User,
    *arguments: Word,
    stdin: Stream = subprocess.PIPE,
    stdout: Stream = subprocess.PIPE,
    stderr: Stream = subprocess.PIPE,
    environment: dict[str, str] | None = None,
    before: Sequence[Word] = (),
) -> subprocess.Popen[bytes]:
    """Start the user's shell with ``arguments``; the process is the session's monitor.

    environment: variables in addition to what sshd sets.
    before: a command in front of it that execs it in the end (``env``, ``nice`` …), run as the user.
    """
    ours: list[int | None] = []
    theirs: list[Descriptor] = []
    for number, stream in enumerate((stdin, stdout, stderr)):
        end, other = _pipe(user, reads=number == 0) if stream == subprocess.PIPE else (None, stream)
        ours.append(end)
        theirs.append(other.fileno() if isinstance(other, socket.socket) else other)
    process: subprocess.Popen[bytes] = subprocess.Popen(
        [*before, user.shell, *arguments],
        stdin=theirs[0],
        stdout=theirs[1],
        stderr=theirs[2],
        env={**user.environment(), **(environment or {})},
        cwd=user.home,
        user=user.uid,
        group=user.gid,
        extra_groups=user.groups(),
        umask=0o022,
        start_new_session=True,
    )
    for end, other in zip(ours, theirs, strict=True):
        if end is not None and isinstance(other, int):
            os.close(other)
    process.stdin = os.fdopen(ours[0], "wb") if ours[0] is not None else None
    process.stdout = os.fdopen(ours[1], "rb") if ours[1] is not None else None
    process.stderr = os.fdopen(ours[2], "rb") if ours[2] is not None else None
    return process


def _pipe(user: User, *, reads: bool) -> tuple[int, int]:
    """Our end and the session's end of a pipe that belongs to the user, as those made by his sshd do.

    A pipe of root's could be used, but not be opened again through /dev/stdout.
    """
    reader, writer = os.pipe()
    os.fchown(reader, user.uid, user.gid)
    return (writer, reader) if reads else (reader, writer)


def finish(session: subprocess.Popen[bytes], stdin: bytes | None = None) -> Done:
    """Feed the session, read it to its end, and give back how it ended."""
    out, err = session.communicate(stdin, timeout=DEADLINE_SECONDS)
    return Done(session.returncode, out or b"", err or b"")


def login(user: User, *arguments: Word, stdin: bytes = b"", **options: object) -> Done:
    """A whole session: ``login(user, "-c", "id")``; ``options`` as for :func:`start`."""
    return finish(start(user, *arguments, **options), stdin)  # type: ignore[arg-type]


def inside(user: User, command: Word, stdin: bytes = b"", **options: object) -> Done:
    """Run a command inside the user's container, as ``ssh HOST COMMAND`` does."""
    return login(user, "-c", command, stdin=stdin, **options)


def python_inside(user: User, program: str, stdin: bytes = b"", **options: object) -> Done:
    """Run a Python program inside the user's container."""
    quoted = program.replace("'", "'\\''")
    return inside(user, f"exec python3 -c '{quoted}'", stdin, **options)


class Live:
    """A session that has started and waits for lines on its stdin, which it runs as shell commands."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    @property
    def monitor(self) -> int:
        """The monitor's process id on the host."""
        return self.process.pid

    def init(self) -> Process:
        """The session's pid 1, as the host sees it."""
        (first,) = children(self.monitor)
        return first

    def payload(self) -> Process:
        """The first process of the session that is not ours, as the host sees it."""
        (first,) = children(self.init().pid)
        return first

    def send(self, line: str) -> None:
        """Have the session's shell run ``line``."""
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, command: str) -> str:
        """Run ``command`` in the session and return what it printed."""
        self.send(f"{command}\nprintf '%s\\n' --end--")
        assert self.process.stdout
        answer = b""
        while (line := self.process.stdout.readline()) != b"--end--\n":
            assert line, f"the session ended: {self.process.wait()} {self.errors()}"
            answer += line
        return answer.decode()

    def errors(self) -> str:
        """What came on stderr, after the session's end."""
        assert self.process.stderr
        return self.process.stderr.read().decode(errors="backslashreplace")

    def ended(self) -> int:
        """The status of the session, which ends without being told to."""
        until(lambda: self.process.poll() is not None, "the session ends")
        return self.process.returncode


@contextmanager
def live(user: User, **options: object) -> Iterator[Live]:
    """A session that stays open for the length of a ``with`` block."""
    process = start(user, "-c", "exec bash -s", **options)  # type: ignore[arg-type]
    session = Live(process)
    try:
        session.ask("true")
        yield session
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()
        until(lambda: process.poll() is not None, "the session ends")

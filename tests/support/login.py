"""The login shell called as sshd calls it, without sshd: its argv, environment, directory, descriptors."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import IO

from support.host import Done
from support.users import User

Stream = int | IO[bytes] | None
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
    return subprocess.Popen(
        [*before, user.shell, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={**user.environment(), **(environment or {})},
        cwd=user.home,
        user=user.uid,
        group=user.gid,
        extra_groups=user.groups(),
        umask=0o022,
        start_new_session=True,
    )


def finish(session: subprocess.Popen[bytes], stdin: bytes | None = None) -> Done:
    """Feed the session, read it to its end, and give back how it ended."""
    out, err = session.communicate(stdin, timeout=100)
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

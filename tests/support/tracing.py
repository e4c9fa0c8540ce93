"""Programs under strace(1): the one place that knows its arguments."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

from support.host import Done, run
from support.users import SHELL, User


def strace(
    calls: Iterable[str] | str = (),
    *,
    fault: str = "",
    log: str = "/dev/null",
    user: str = "",
    follow: bool = True,
    ends: bool = False,
) -> list[str]:
    """The words before a command that run it under strace.

    calls: names or classes (``%file``) of system calls; all when there are none. One that the machine
    does not have is passed over. fault: what is put into the one call that ``calls`` names:
    ``error=EIO:when=2``, ``signal=KILL``. log: where strace writes; "" for its standard error. user: whom the
    command runs as. follow: with all that it starts. ends: tell how each process ended, too.
    """
    names = [calls] if isinstance(calls, str) else [*calls]
    words = ["strace", *(["-f"] if follow else []), "-q" if ends else "-qq"]
    if log:
        words += ["-o", log]
    if names:
        words += ["-e", "trace=" + ",".join(name if name == "none" else f"?{name}" for name in names)]
    if fault:
        (name,) = names
        words += ["-e", f"inject={name}:{fault}"]
    return [*words, *(["-u", user] if user else [])]


def traced(
    user: User, command: str, calls: Iterable[str] | str = (), *, fault: str = "", ends: bool = False
) -> tuple[Done, str]:
    """A login of ``user`` with ``command`` under strace; the second value is strace's own output."""
    with tempfile.NamedTemporaryFile("r", errors="replace") as log:
        words = strace(calls, fault=fault, log=log.name, user=user.name, ends=ends)
        done = run([*words, SHELL, "-c", command], env=user.environment(), cwd=user.home)
        return done, log.read()

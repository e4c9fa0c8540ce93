"""What sshd makes of its configuration for one user: its own answer, not our reading of the files."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from ssh2container.admin.sshd.conditions import Connection
from ssh2container.errors import SessionError, printable
from ssh2container.plan.forwarding import SERVERS
from ssh2container.plan.sshd_files import CONFIG

_DEADLINE_SECONDS = 20
_MISSING = "Missing privilege separation directory: "


def binary() -> str | None:
    """Return sshd's absolute path (it insists on one), None where no sshd is installed."""
    return next((path for path in SERVERS if os.access(path, os.X_OK)), None)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run sshd with ``arguments`` and return what it said.

    On a machine where it never started, the directory that its unit would make is made for it.
    Raises :class:`SessionError` when there is no sshd or it does not answer.
    """
    answer = _run(*arguments)
    missing = answer.stderr.strip().removeprefix(_MISSING)
    if answer.returncode and missing.startswith("/run/") and missing.isprintable() and os.geteuid() == 0:
        os.makedirs(missing, 0o755, exist_ok=True)
        answer = _run(*arguments)
    return answer


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    sshd = binary()
    if sshd is None:
        raise SessionError("cannot ask sshd", "no sshd is installed here", "install openssh-server", "sshd")
    try:
        return subprocess.run(
            [sshd, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=_DEADLINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SessionError(f"{sshd} {' '.join(arguments)} did not end", step="sshd") from None


def complaint(config: str = CONFIG) -> str:
    """Return why ``sshd -t`` refuses ``config``, "" when it accepts it."""
    answer = run("-t", "-f", config)
    if answer.returncode == 0:
        return ""
    return printable("; ".join(answer.stderr.split("\n")).strip("; ")) or f"exit status {answer.returncode}"


@dataclass(frozen=True, slots=True)
class Effective:
    """sshd's configuration for one user: each keyword in lower case with every value that it has."""

    user: str
    values: dict[str, tuple[str, ...]]

    def get(self, keyword: str, default: str = "") -> str:
        """Return the keyword's first value, ``default`` where this sshd does not know the keyword."""
        return self.values.get(keyword, (default,))[0]

    def words(self, keyword: str) -> list[str]:
        """Return all words of all lines with this keyword."""
        return [word for line in self.values.get(keyword, ()) for word in line.split()]

    def subsystem(self, name: str) -> str:
        """Return the command of a subsystem, "" when there is none."""
        for line in self.values.get("subsystem", ()):
            found, _, command = line.partition(" ")
            if found == name:
                return command
        return ""


def parse(user: str, text: str) -> Effective:
    """Read the output of ``sshd -T`` (pure)."""
    values: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        keyword = keyword.lower()
        values[keyword] = (*values.get(keyword, ()), value.strip())
    return Effective(user, values)


def effective(
    user: str,
    address: str = "",
    config: str = CONFIG,
    *,
    connection: Connection | None = None,
    options: tuple[str, ...] = (),
) -> Effective:
    """Ask sshd what holds for ``user`` (sshd(8), -T and -C).

    address: where the user comes from, with all else as by default; or connection: all of it.
    options: what a running sshd was given with ``-o``.
    Raises :class:`SessionError` when sshd refuses its own configuration.
    """
    if connection is None:
        connection = Connection()
    where = connection.asked(user)
    if address:
        where = f"user={user},host={address},addr={address},laddr=127.0.0.1,lport=22,rdomain="
    given = [word for option in options for word in ("-o", option)]
    answer = run("-T", "-f", config, *given, "-C", where)
    if answer.returncode:
        said = printable(answer.stderr.strip().replace("\n", "; "))
        raise SessionError(
            f"cannot read sshd's configuration for {user}",
            said,
            f"try: sshd -T -f {config} -C {where}",
            "sshd",
        )
    return parse(user, answer.stdout)


def effective_globally(config: str = CONFIG, options: tuple[str, ...] = ()) -> Effective:
    """Ask sshd what no Match block changes: ports, PidFile. Raises like :func:`effective`."""
    return effective("root", config=config, options=options)

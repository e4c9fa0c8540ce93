"""What is known of an account, and how that is read from what other programs keep and say. Pure."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssh2container.plan import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.account import Account

_LASTLOG = struct.Struct("=i32s256s")
"""One uid's entry in /var/log/lastlog: when, on which line, from where (utmp.h, struct lastlog)."""
_UTMP = struct.Struct("=hxxi32s4s32s256shhiii16s20s")
"""A record of wtmp: type, pid, line, id, user, host, how it ended, session, when, and the rest (utmp(5))."""
_USER_PROCESS = 7
_VARIABLE = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[^\s=\"']+)\s*=")
"""How a line of a crontab begins that sets a variable (crontab(5))."""
_JOB = re.compile(r"[a-zA-Z=](?P<number>[0-9a-f]{5})(?P<minute>[0-9a-f]{8})")
"""The name of a job of at: its queue, its number, and the minute since 1970 at which it runs."""
_ADDRESS = re.compile(r"\\?[^\s,|/:\"\\]+")
"""An entry of .forward that runs nothing and names no file (aliases(5))."""
_EVERYTHING = re.compile(r"\((?:ALL|root)(?: : ALL)?\)\s+(?:[A-Z_]+: )*ALL$")
"""A rule of sudo by which its user becomes root (sudo(8), -l)."""


@dataclass(frozen=True, slots=True)
class Key:
    """A line of an authorized_keys file: FILE:LINE, its comment or type, and its options."""

    place: str
    label: str
    options: tuple[tuple[str, str], ...]

    def value(self, name: str) -> str | None:
        """Return the value of an option, None where the key has not got it."""
        return dict(self.options).get(name)


@dataclass(frozen=True, slots=True)
class Saved:
    """A file as it is, to be put back as it was. text: latin-1, so that every byte has its character."""

    path: str
    text: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Sshd:
    """What sshd's configuration says for the account today: what it forces, and what it forwards."""

    forced: str = ""
    chroot: str = ""
    forwards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Home:
    """The account's home on the host.

    device, inode: what it is, whatever its name. trouble: why it can be neither copied nor moved, or "".
    size: bytes on the disk, None where they could not be counted. outer: files that sshd, PAM and the mail
    transport read there, by their names below it. leads: entries that other programs look for there.
    """

    path: str
    device: int = 0
    inode: int = 0
    trouble: str = ""
    size: int | None = None
    outer: tuple[tuple[str, str], ...] = ()
    leads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was read of one account.

    units: of their own manager. forward: the lines of .forward. last_login: seconds since 1970, 0 for never.
    mail: bytes in the mailbox of the host. policy: the file with a policy of their own, "" for none.
    adopted: whether they were taken over before.
    """

    account: Account
    home: Home
    sudo: tuple[str, ...] = ()
    crontab: Saved | None = None
    at_jobs: tuple[Saved, ...] = ()
    units: tuple[str, ...] = ()
    lingers: bool = False
    forward: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()
    last_login: int = 0
    processes: tuple[str, ...] = ()
    sshd: Sshd = Sshd()
    mail: int = 0
    policy: str = ""
    adopted: bool = False
    known_shell: bool = True

    @property
    def becomes_root(self) -> bool:
        """Tell whether sudo lets them run everything as root."""
        return any(_EVERYTHING.search(rule) for rule in self.sudo)


def cron_jobs(text: str) -> tuple[str, ...]:
    """Return the lines of a crontab that run something (crontab(5))."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and line[0] != "#" and not _VARIABLE.match(line))


def at_minute(name: str) -> int | None:
    """Return when a job of at runs, in seconds since 1970, None for a file that is no job."""
    found = _JOB.fullmatch(name)
    return int(found["minute"], 16) * 60 if found else None


def forwards(text: str) -> tuple[str, ...]:
    """Return the entries of a .forward file (aliases(5))."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and line[0] != "#")


def only_addresses(entries: tuple[str, ...]) -> bool:
    """Tell whether mail is only sent on: no program, no file, no list."""
    words = [word.strip() for entry in entries for word in entry.split(",") if word.strip()]
    return bool(words) and all(_ADDRESS.fullmatch(word) for word in words)


def key_lines(path: str, text: str) -> Iterator[Key]:
    """Yield the keys in an authorized_keys file (sshd(8)); text: latin-1."""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(" \t\r")
        if not stripped or stripped.startswith("#"):
            continue
        options, rest = keys.divide(stripped.encode("latin-1"))
        words = rest.decode("utf-8", "backslashreplace").split(None, 2)
        label = (words[2:] or words[:1] or ["no key"])[0]
        yield Key(
            f"{path}:{number}",
            label,
            tuple(
                (name.decode("latin-1"), value.decode("utf-8", "backslashreplace"))
                for name, value in keys.each_option(options)
            ),
        )


def last_login(entry: bytes) -> int:
    """Return when somebody logged in last, by their entry in /var/log/lastlog; 0 for never."""
    if len(entry) < _LASTLOG.size:
        return 0
    return max(int(_LASTLOG.unpack(entry[: _LASTLOG.size])[0]), 0)


def last_logins(records: bytes) -> dict[str, int]:
    """Return when each user logged in last, by wtmp, of which the end may be missing."""
    found: dict[str, int] = {}
    whole = len(records) - len(records) % _UTMP.size
    for kind, _, _, _, user, _, _, _, _, when, *_ in _UTMP.iter_unpack(records[:whole]):
        name = user.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        if kind == _USER_PROCESS and name:
            found[name] = max(when, found.get(name, 0))
    return found


LASTLOG_ENTRY = _LASTLOG.size
"""How many bytes of /var/log/lastlog each uid has, in order."""
WTMP_RECORD = _UTMP.size
"""How many bytes each record of wtmp has."""

"""What was used, of whom and when: the last records of sessions, added up.

Records come one at a time and are not kept: what is held are the sums, and which sessions have begun and not
ended. A record that cannot be believed is left out as a whole, and counted.
"""

from __future__ import annotations

import functools
import pwd
import re
import time
from typing import TYPE_CHECKING

from ssh2container.admin.auditlog import killed
from ssh2container.admin.auditlog.read import STRANGE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ssh2container.admin.auditlog.read import Record

    Figures = dict[str, int]
    """By the names of :data:`FIGURES`; what no record has is absent."""

KEYS = ("user", "day", "month")
"""What sums can be of; days and months are those of this machine's time zone."""
EVENTS = ("open", "close", "container-close", "transfer")
"""What says something about usage (docs/audit.md)."""
FIGURES = (
    "sessions", "connected_ms", "cpu_usec", "memory", "input", "output", "uploaded", "downloaded",
    "oom_kills", "pids_refused", "ended", "without_cpu",
)  # fmt: skip
"""Numbers of sessions that have ended; milliseconds; microseconds; bytes, of memory the largest; programs
killed, and refused; of sessions those that a limit has ended, and those without processor time."""
_ADDED = ("cpu_usec", "input", "output", "oom_kills", "pids_refused")
"""Figures that a last record has under the same name."""
_TRANSFERRED = {"upload": "uploaded", "download": "downloaded"}
_MOST_BEGUN = 100_000
"""So many sessions that have not ended are known by name: a log full of lies fills no memory."""
_QUARTER_S = 900
"""The clocks of all time zones differ by multiples of it."""
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_SECONDS = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?", re.ASCII)


def add(total: Figures, more: Mapping[str, int]) -> None:
    """Add figures to others; of memory the larger one remains."""
    for name, number in more.items():
        before = total.get(name, 0)
        total[name] = max(before, number) if name == "memory" else before + number


class Usage:
    """The sums of a trail.

    rows: by the values of ``by``. first, last: when the first and the last record of whoever was asked for
    was written, in seconds since 1970; 0.0 without any. bad, forged, strange: how many records were left out:
    whose figures are none, that another user wrote, that have not the form of records. seen: who of those
    asked for has a record.
    """

    def __init__(self, by: Sequence[str] = (), who: Collection[str] = ()) -> None:
        """by: some of :data:`KEYS`. who: names or uids of users; () is everybody."""
        self.rows: dict[tuple[str, ...], Figures] = {}
        self.first = self.last = 0.0
        self.bad = self.forged = self.strange = 0
        self.seen: set[str] = set()
        self._by = by
        self._who = frozenset(who)
        self._names: dict[str, str] = {}
        self._begun: dict[str, None] = {}
        self._forgotten = 0

    @property
    def begun(self) -> int:
        """How many sessions have begun and have no last record."""
        return len(self._begun) + self._forgotten

    def read(self, records: Iterable[Record]) -> Usage:
        """Add what records say, and return this."""
        for record in records:
            event = record.fields["event"]
            if event == STRANGE or (event == "note" and not {"user", "uid"} & record.fields.keys()):
                self.strange += 1
            elif event in EVENTS:
                self._add(record, event)
        return self

    def total(self) -> Figures:
        """Return the sum of all rows."""
        found: Figures = {}
        for figures in self.rows.values():
            add(found, figures)
        return found

    def _add(self, record: Record, event: str) -> None:
        fields = record.fields
        if record.forged:
            self.forged += 1
            return
        user = self._user(fields)
        if self._who:
            asked = self._who & {user, fields.get("uid", "")}
            if not asked:
                return
            self.seen |= asked
        used = of_record(fields) if user and record.at > 0 else None
        if used is None:
            self.bad += 1
            return
        self.first = min(self.first or record.at, record.at)
        self.last = max(self.last, record.at)
        if event == "open":
            self._begin(fields["session"])
            return
        self._begun.pop(fields.get("session", ""), None)
        add(self.rows.setdefault(self._key(user, record.at), {}), used)

    def _begin(self, session: str) -> None:
        self._begun[session] = None
        if len(self._begun) > _MOST_BEGUN:
            del self._begun[next(iter(self._begun))]
            self._forgotten += 1

    def _user(self, fields: dict[str, str]) -> str:
        """Return whose record it is; the owner of a shared container tells a uid alone."""
        uid, user = fields.get("uid", ""), fields.get("user", "")
        if not user:
            return self._names.get(uid) or _name_of(uid)
        self._names[uid] = user
        return user

    def _key(self, user: str, at: float) -> tuple[str, ...]:
        day = _day(int(at) // _QUARTER_S)
        values = {"user": user, "day": day, "month": day[:7]}
        return tuple(values[name] for name in self._by)


def of_record(fields: dict[str, str]) -> Figures | None:
    """Return what a record of :data:`EVENTS` adds, None where it cannot be believed."""
    event = fields["event"]
    try:
        if event == "transfer":
            return {_TRANSFERRED[fields["direction"]]: number_of(fields["size"])} if "size" in fields else {}
        if event != "container-close" and not fields["session"]:
            return None
        if event == "open":
            return {}
        used = {name: number_of(fields[name]) for name in _ADDED if name in fields}
        memory = [number_of(fields[name]) for name in ("memory_peak", "memory_largest") if name in fields]
        if memory:
            used["memory"] = max(memory)
        connected = _milliseconds(fields["duration"])
    except (KeyError, ValueError):
        return None
    if event == "close":
        # A container that logins share is connected to nobody: they are.
        used |= {"sessions": 1, "connected_ms": connected}
        used["ended"] = int(fields.get("reason") in killed.OF_LIMITS)
        used["without_cpu"] = int("cpu_usec" not in used)
    return used


def number_of(text: str) -> int:
    """Return a number that a record has. Raises ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _milliseconds(text: str) -> int:
    """Return seconds of a record in milliseconds. Raises ValueError."""
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0")[:3])


@functools.lru_cache(maxsize=4096)
def _name_of(uid: str) -> str:
    try:
        return pwd.getpwuid(number_of(uid)).pw_name
    except (KeyError, ValueError, OverflowError):
        return uid if _NUMBER.fullmatch(uid) else ""


@functools.lru_cache(maxsize=4096)
def _day(quarter: int) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.localtime(quarter * _QUARTER_S))
    except (ValueError, OverflowError, OSError):
        return "?"

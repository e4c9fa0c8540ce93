"""Reading the audit trail back: the records that sessions wrote to the system's log.

They come from the journal where systemd runs, else from the files of a syslog daemon. Any local process
can write to the log under our name, and whatever it likes: a record that is none of ours in form is shown as
strange, and stops nobody. The journal knows the true uid of the writer, so a record about another user is
marked; in a plain file it cannot be told.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pwd
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError
from ssh2container.record import ecs, logs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

IDENTIFIER = "ssh2container"
FILES = (
    "/var/log/auth.log.1",
    "/var/log/auth.log",
    "/var/log/secure",
    "/var/log/syslog",
    "/var/log/messages",
)
"""Where syslog daemons keep authpriv, the older part first; the first pair that exists is read."""

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT[^ ]+|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) \S+ "
    + IDENTIFIER
    + r"\[\d+\]: (?P<text>.*)"
)
STRANGE = "strange"
"""The event of what came under our name and has not the form of a record."""
_LONGEST_STRANGE = 200
_LONGEST_TIME = 18
_FROM_ECS = {theirs: ours for ours, theirs in ecs.NAMES.items()}
_OF_EVERY_RECORD = frozenset((
    "event", "session", "uid", "user", "client", "port", "auth", "key", "kind", "command", "policy", "image",
    "image_digest", "networks", "addresses", "text",
))  # fmt: skip
"""What says whose session it is, and not what happened."""
_FIELD = re.compile(r'(?P<name>[a-z_]+)=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>\S*))')


class Record:
    """One record.

    when: as the log has it. fields: by name; "event" is always there. forged: the uid that wrote it,
    when the record is about another user.
    """

    __slots__ = ("fields", "forged", "when")

    def __init__(self, when: str, fields: dict[str, str], forged: str = "") -> None:
        self.when = when
        self.fields = fields
        self.forged = forged

    def concerns(self, who: str) -> bool:
        """Tell whether the record is about the user or the session ``who``."""
        return who in (self.fields.get("user"), self.fields.get("session"), self.fields.get("uid"))

    def summary(self) -> str:
        """Say in words what happened."""
        fields = self.fields
        event = fields["event"]
        asked = fields.get("command") or fields.get("kind", "")
        if event in ("refused", "failed"):
            return fields.get("reason", "")
        if event == "open":
            return asked
        if event == "close":
            how = fields.get("signal") and f"signal {fields['signal']}"
            ended = how or f"status {fields.get('exit', '?')}"
            return f"{ended} after {fields.get('duration', '?')} s: {fields.get('reason', '')}".rstrip(": ")
        own = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _OF_EVERY_RECORD)
        return fields.get("text", "") or own


def parse(text: str) -> dict[str, str]:
    """Return the fields of one record, in either format that config.yaml knows (``audit_format``).

    A message of ours that is no record has its words as "text".
    """
    if text.startswith('{"@timestamp":'):
        return _parse_ecs(text)
    if not text.startswith("event="):
        return {"event": "note", "text": text}
    fields = {}
    for match in _FIELD.finditer(text):
        quoted = match["quoted"]
        fields[match["name"]] = match["bare"] if quoted is None else re.sub(r"\\([\\\"])", r"\1", quoted)
    return fields


def _parse_ecs(text: str) -> dict[str, str]:
    try:
        given = json.loads(text)
        fields = {"event": given["event.action"]}
        for name, value in given.items():
            ours = _FROM_ECS.get(name) or (name.removeprefix(ecs.OURS) if name.startswith(ecs.OURS) else "")
            if ours == "duration":
                fields[ours] = f"{value / 1e9:.3f}"
            elif ours:
                fields[ours] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        return {name: str(value) for name, value in fields.items()}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {"event": "note", "text": text}


def records(paths: tuple[str, ...] = (), since: str = "") -> Iterator[Record]:
    """Yield all records, the oldest first.

    paths: syslog files; () is the journal, or this machine's syslog files where there is none.
    since: where to start, as journalctl(1) understands it; for files, as date(1) does.

    Raises SessionError when there is nothing to read, or nobody understands ``since``.
    """
    if not paths and os.path.isdir("/run/systemd/journal") and shutil.which("journalctl"):
        yield from _journal(since)
        return
    chosen = paths or tuple(path for path in FILES[:2] if os.path.exists(path))
    chosen = chosen or tuple(path for path in FILES[2:] if os.path.exists(path))[:1]
    if not chosen:
        raise SessionError(
            "cannot find the system log", "neither a journal nor " + ", ".join(FILES[1:]) + " exists",
            "name a file: --file PATH", "log",
        )  # fmt: skip
    start = _seconds(since) if since else 0.0
    for path in chosen:
        yield from (record for record in _file(path) if not start or _written(record.when) >= start)


_MIDNIGHTS = ("today", "yesterday", "tomorrow")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(
    r"-\s*(?P<number>\d{1,9})\s*(?:(?P<unit>s|m|h|d|w)|sec|secs|seconds?|min|mins|minutes?|hours?|days?|weeks?)"
)


def _seconds(since: str) -> float:
    """Return a point in time that somebody wrote, in seconds since 1970. Raises SessionError.

    The words of journalctl(1), which mean the same here: today begins at midnight, -2h is two hours ago.
    """
    done = subprocess.run(
        ["date", f"--date={_for_date(since.strip())}", "+%s"],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        remedy = 'write it as "2026-01-31 12:00", "today", "yesterday" or "2 hours ago"'
        raise SessionError(f"cannot understand the time {since!r}", "", remedy, "log")
    return float(done.stdout)


def _for_date(since: str) -> str:
    """Return a point in time as date(1) understands it, where journalctl(1) has a form of its own."""
    if since.lower() in _MIDNIGHTS:
        return f"{since} 00:00"
    found = _AGO.fullmatch(since)
    if found:
        unit = _UNITS[found["unit"]] if found["unit"] else since.lstrip("-0123456789 ")
        return f"{found['number']} {unit} ago"
    return since


def _written(when: str) -> float:
    """Return the time of a line in a syslog file: RFC 3339, or RFC 3164, which names no year."""
    try:
        if when[:1].isdigit():
            return dt.datetime.fromisoformat(when).timestamp()
        now = dt.datetime.now().astimezone()
        for year in (now.year, now.year - 1):
            with contextlib.suppress(ValueError):  # the 29th of February has not every year
                found = dt.datetime.strptime(f"{year} {when}", "%Y %b %d %H:%M:%S").astimezone()
                # A day's grace, for clocks that were set back.
                if found < now + dt.timedelta(days=1):
                    return found.timestamp()
    except (ValueError, OverflowError, OSError):
        pass  # no time that there is
    return 0.0


def _file(path: str) -> Iterator[Record]:
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as file:
            for line in file:
                match = _LINE.match(line.rstrip("\n"))
                if match:
                    yield Record(match["time"], parse(match["text"]))
    except OSError as error:
        raise SessionError(f"cannot read {path}", error.strerror or "", "run it as root", "log") from None


def _journal(since: str) -> Iterator[Record]:
    command = ["journalctl", "--quiet", "--no-pager", "--output=json", f"--identifier={IDENTIFIER}"]
    command += [f"--since={since}"] if since else []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
    ) as reader:
        assert reader.stdout is not None  # noqa: S101 - for the type checker
        assert reader.stderr is not None  # noqa: S101
        for line in reader.stdout:
            yield from _journal_entry(line)
        said = reader.stderr.read().strip()
    if reader.returncode:
        raise SessionError("journalctl failed", said or f"status {reader.returncode}", "", "log")


def _journal_entry(line: str) -> Iterator[Record]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return
    if not isinstance(entry, dict):
        return
    message = entry.get("MESSAGE")
    writer = _text(entry.get("_UID"))
    if isinstance(message, list) and not _is_bytes(message):
        fields = {"event": STRANGE, "text": " / ".join(_text(part) for part in message)}
    elif message is None:
        fields = _own_fields(entry)
        if not fields:
            return  # there is nothing to show
    else:
        fields = parse(_text(message))
    forged = writer if writer != "0" and _belies(fields, writer) else ""
    yield Record(_moment(_text(entry.get("__REALTIME_TIMESTAMP"))), fields, forged)


def _text(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Return a field as text, whatever form journalctl(1) gives it (--output=json).

    Bytes that are not UTF-8 are numbers in a list, a field that an entry has more than once is a list, one
    that is too long is null.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        if _is_bytes(value):
            return bytes(value).decode("utf-8", "backslashreplace")
        return " / ".join(part if isinstance(part, str) else _bytes_or_kind(part) for part in value)
    return "" if value is None else json.dumps(value)[:_LONGEST_STRANGE]


def _bytes_or_kind(part: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    return bytes(part).decode("utf-8", "backslashreplace") if _is_bytes(part) else f"({type(part).__name__})"


def _is_bytes(value: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 256 for number in value)  # noqa: PLR2004


def _own_fields(entry: dict[str, Any]) -> dict[str, str]:
    """Return the fields that the record has beside its message, {} where there is no event among them."""
    found = {
        name.removeprefix(logs.FIELD_PREFIX).lower(): _text(value)
        for name, value in entry.items()
        if name.startswith(logs.FIELD_PREFIX)
    }
    return found if found.get("event") else {}


def _moment(microseconds: str) -> str:
    if microseconds.isascii() and microseconds.isdecimal() and len(microseconds) <= _LONGEST_TIME:
        with contextlib.suppress(ValueError, OverflowError, OSError):
            return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(microseconds) / 1e6))
    return "?"


def _belies(fields: dict[str, str], writer: str) -> bool:
    """Tell whether a record is about another user than the one who wrote it, uid ``writer``."""
    if "uid" in fields and fields["uid"] != writer:
        return True
    if "user" not in fields:
        # A session's own records all say whose it is.
        return "session" in fields and "uid" not in fields
    try:
        return str(pwd.getpwnam(fields["user"]).pw_uid) != writer
    except (KeyError, ValueError):
        return "uid" not in fields  # an account that is no more

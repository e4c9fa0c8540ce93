"""Reading the audit trail back: the records that sessions wrote to the system's log.

They come from the journal where systemd runs, else from the files of a syslog daemon. Any local process
can write to the log under our name. The journal knows the true uid of the writer, so a record about
another user is marked; in a plain file it cannot be told.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import pwd
import re
import shutil
import subprocess
import time

from ssh2container.errors import SessionError
from ssh2container.record import ecs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
_FROM_ECS = {theirs: ours for ours, theirs in ecs.NAMES.items()}
_OF_EVERY_RECORD = frozenset((
    "event", "session", "uid", "user", "client", "port", "auth", "key", "kind", "command", "policy", "image",
    "image_digest", "text",
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
                fields[ours] = str(value[0] if isinstance(value, list) and value else value)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {"event": "note", "text": text}
    return {name: str(value) for name, value in fields.items()}


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
            "cannot find the system's log", "neither a journal nor " + ", ".join(FILES[1:]) + " exists",
            "name a file: --file PATH", "log",
        )  # fmt: skip
    start = _seconds(since) if since else 0.0
    for path in chosen:
        yield from (record for record in _file(path) if not start or _written(record.when) >= start)


def _seconds(since: str) -> float:
    """Return a point in time that somebody wrote, in seconds since 1970. Raises SessionError."""
    done = subprocess.run(
        ["date", "--date", since, "+%s"], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        remedy = 'write it as "2026-01-31 12:00", "yesterday" or "2 hours ago"'
        raise SessionError(f"cannot understand the time {since!r}", "", remedy, "log")
    return float(done.stdout)


def _written(when: str) -> float:
    """Return the time of a line in a syslog file: RFC 3339, or RFC 3164, which names no year."""
    if when[:1].isdigit():
        try:
            return dt.datetime.fromisoformat(when).timestamp()
        except ValueError:
            return 0.0
    now = dt.datetime.now().astimezone()
    for year in (now.year, now.year - 1):
        try:
            found = dt.datetime.strptime(f"{year} {when}", "%Y %b %d %H:%M:%S").astimezone()
        except ValueError:
            continue  # the 29th of February has not every year
        # A day's grace, for clocks that were set back.
        if found < now + dt.timedelta(days=1):
            return found.timestamp()
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
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None  # noqa: S101 - for the type checker
        assert reader.stderr is not None  # noqa: S101
        for line in reader.stdout:
            yield from _journal_entry(line)
        said = reader.stderr.read().strip()
    if reader.returncode:
        raise SessionError("journalctl failed", said or f"status {reader.returncode}", "", "log")


def _journal_entry(line: str) -> Iterator[Record]:
    entry = json.loads(line)
    message = entry.get("MESSAGE")
    if isinstance(message, list):  # journalctl's form of what is not UTF-8
        message = bytes(message).decode("utf-8", "backslashreplace")
    if not isinstance(message, str):
        return
    seconds = int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6
    fields = parse(message)
    writer = str(entry.get("_UID", ""))
    forged = writer if writer != "0" and _belies(fields, writer) else ""
    yield Record(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)), fields, forged)


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

"""Reading the audit trail back: the records that sessions wrote to the system's log.

They come from the journal where systemd runs, else from the files of a syslog daemon. Any local process
can write to the log under our name, and whatever it likes: a record that is none of ours in form is shown as
strange, and stops nobody. The journal knows the true uid of the writer, so a record about another user is
marked; in a plain file it cannot be told.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from ssh2container.admin.auditlog import files
from ssh2container.errors import SessionError
from ssh2container.record import ecs, logs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Any

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
_CURSOR = re.compile(r'"__CURSOR"\s*:\s*"([^"\\]*)"')
_BETWEEN = re.compile(r" ?([a-z_]+)=")


class Record:
    """One record.

    when: as the log has it; at: the same in seconds since 1970, 0.0 where nobody understands it.
    fields: by name; "event" is always there. forged: the uid that wrote it, when the record is about
    another user.
    """

    __slots__ = ("at", "fields", "forged", "when")

    def __init__(self, when: str, fields: dict[str, str], forged: str = "", at: float = 0.0) -> None:
        self.when = when
        self.fields = fields
        self.forged = forged
        self.at = at

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
    fields = _plain_fields(text)
    for name, quoted, bare in () if fields else _FIELD.findall(text):
        fields[name] = re.sub(r"\\([\\\"])", r"\1", quoted) if "\\" in quoted else quoted or bare
    return fields


def _plain_fields(text: str) -> dict[str, str]:
    """Return the fields of a record without escapes, as nearly all are, or {}: several times as fast."""
    event, _, rest = text.partition(" ")
    parts = rest.split('"')
    names = [*map(_field_name, parts[:-1:2])]
    if "\\" in text or '"' in event or parts[-1] or "" in names:
        return {}
    return {"event": event.removeprefix("event="), **dict(zip(names, parts[1::2], strict=True))}


@functools.lru_cache(maxsize=1024)
def _field_name(between: str) -> str:
    """Return the name that stands between two values, "" where something else does."""
    found = _BETWEEN.fullmatch(between)
    return found[1] if found else ""


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


def records(
    paths: Sequence[str] = (), since: str = "", until: str = "", events: Collection[str] = ()
) -> Iterator[Record]:
    """Yield all records, the oldest first, without holding them.

    paths: syslog files; () is the journal, or this machine's syslog files where there is none.
    since, until: from when to when, as journalctl(1) understands it; for files, as date(1) does.
    events: of records of another one some may be left out, which saves the time to read them; () for all.

    Raises SessionError when there is nothing to read, or nobody understands ``since`` or ``until``.
    """
    if not paths and has_journal():
        options = [f"--since={since}"] if since else []
        options += [f"--until={until}"] if until else []
        for line in journal(*options):
            yield from _journal_entry(line)
        return
    bounds = [files.seconds(when) if when else 0.0 for when in (since, until)]
    of_others = re.compile(f"event=(?!(?:{'|'.join(map(re.escape, events))})(?: |$))") if events else None
    for when, at, text in files.lines(paths, *bounds):
        if of_others is None or not of_others.match(text):
            yield Record(when, parse(text), at=at)


def followed(after: dict[str, Any], last: float) -> Iterator[tuple[dict[str, Any], Record | None]]:
    """Yield the records of this machine's log that are new, each with the place behind it, for the next time.

    after: such a place, {} for everything. last: the time of the last record before, in seconds since 1970:
    where ``after`` is no more, or is one of another kind of log, what is not younger is no news.
    A place without a record is one further in the log. Raises SessionError.
    """
    if has_journal():
        cursor, is_known = str(after.get("cursor", "")), False
        # Not --after-cursor: where that entry is no more, it leaves out the one that came next.
        for line in journal(*([f"--cursor={cursor}"] if cursor else [])):
            found = _CURSOR.search(line)
            if found is None:
                continue
            if found[1] == cursor:
                is_known = True
                continue
            for record in _journal_entry(line):
                yield {"cursor": found[1]}, record if is_known or record.at > last else None
        return
    place = files.Place(**after) if after and "cursor" not in after else None
    for at, is_known, (when, seconds, text) in files.follow(place):
        is_new = bool(text) and (is_known or seconds > last)
        behind = {name: getattr(at, name) for name in files.Place.__slots__}
        yield behind, Record(when, parse(text), at=seconds) if is_new else None


def has_journal() -> bool:
    """Tell whether the journal is this machine's log."""
    return os.path.isdir("/run/systemd/journal") and shutil.which("journalctl") is not None


def journal(*options: str) -> Iterator[str]:
    """Yield entries of the journal under our name, as JSON. Raises SessionError."""
    command = ["journalctl", "--quiet", "--no-pager", "--output=json", f"--identifier={files.IDENTIFIER}"]
    command += options
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
        yield from reader.stdout
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
    when, at = _moment(_text(entry.get("__REALTIME_TIMESTAMP")))
    yield Record(when, fields, forged, at)


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


def _moment(microseconds: str) -> tuple[str, float]:
    """Return a time of the journal for people, and in seconds since 1970."""
    if microseconds.isascii() and microseconds.isdecimal() and len(microseconds) <= _LONGEST_TIME:
        with contextlib.suppress(ValueError, OverflowError, OSError):
            at = int(microseconds) / 1e6
            return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)), at
    return "?", 0.0


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

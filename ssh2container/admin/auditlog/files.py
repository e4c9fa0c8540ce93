"""The lines that sessions wrote to the files of a syslog daemon, and to what logrotate made of those.

Files are rotated at any time: which there are is looked at again once all are open, so that none is read
twice and none is missed.
"""

from __future__ import annotations

import bz2
import contextlib
import datetime as dt
import functools
import gzip
import hashlib
import io
import lzma
import os
import re
import subprocess
import zlib
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

IDENTIFIER = "ssh2container"
FILES = ("/var/log/auth.log", "/var/log/secure", "/var/log/syslog", "/var/log/messages")
"""Where syslog daemons keep authpriv; the first that exists is read, and what it was rotated to."""

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT[^ ]+|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) \S+ "
    + IDENTIFIER
    + r"\[\d+\]: (?P<text>.*)"
)
_MARK = f"{IDENTIFIER}["
_OPENERS = {"": open, ".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_ROTATED = re.compile(r"(?:\.(?P<number>\d{1,5})|-(?P<date>\d{8}(?:-\d{1,12})?))(?P<packed>\.gz|\.xz|\.bz2|)")
"""How logrotate(8) names what it moves away: by number, or by date under ``dateext``."""
_MOST_LOOKS = 10
_HEAD = 4096
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)


class Place:
    """A place in a log: of the piece that it is in, a digest of the beginning, and how far, in characters.

    A piece has the same beginning wherever it is rotated to, packed or not, and a new one has another.
    """

    __slots__ = ("at", "beginning", "length")

    def __init__(self, beginning: str, length: int, at: int) -> None:
        """length: so many characters :attr:`beginning` is the digest of; at: so many have been read."""
        self.beginning = beginning
        self.length = length
        self.at = at

    def is_in(self, text: str) -> bool:
        """Tell whether ``text`` is the beginning of its piece, as far as it is known."""
        return len(text) >= self.length > 0 and _digest(text[: self.length]) == self.beginning


def follow(after: Place | None) -> Iterator[tuple[Place, bool, tuple[str, float, str]]]:
    """Yield every line since ``after`` with the place behind it; of lines of others, empty ones.

    after: None for all. Whether it was found is told with each line: if not, all pieces are gone through.
    Raises SessionError.
    """
    with contextlib.ExitStack() as stack:
        pieces = [stack.enter_context(piece) for piece in _all_opened(_base())]
        heads = [piece.read(_HEAD) for piece in pieces]
        known = [at for at, head in enumerate(heads) if after is not None and after.is_in(head)]
        for piece, head in [*zip(pieces, heads, strict=True)][known[-1] if known else 0 :]:
            skipped = after.at if after is not None and after.is_in(head) else 0
            piece.seek(0)
            place = Place(_digest(head), len(head), skipped)
            while skipped and (read := piece.read(min(skipped, _HEAD))):
                skipped -= len(read)
            for line in _of_followed(piece, place):
                yield place, bool(known), line


def _of_followed(piece: IO[str], place: Place) -> Iterator[tuple[str, float, str]]:
    try:
        for line in piece:
            if not line.endswith("\n"):
                break  # it is being written
            place.at += len(line)
            match = _LINE.match(line) if _MARK in line else None
            when = match["time"] if match else ""
            yield when, moment(when) if when else 0.0, match["text"] if match else ""
    except _DAMAGED as error:
        raise _unreadable(_name(piece), getattr(error, "strerror", "") or str(error)) from None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _base() -> str:
    """Return the first of :data:`FILES` that there is, or its rotated pieces. Raises SessionError."""
    for path in FILES:
        if _pieces(path):
            return path
    raise SessionError(
        "cannot find the system log", "neither a journal nor " + ", ".join(FILES) + " exists",
        "name a file: --file PATH", "log",
    )  # fmt: skip


def lines(paths: Sequence[str], since: float, until: float) -> Iterator[tuple[str, float, str]]:
    """Yield the lines under our name, the oldest first: time as written, in seconds since 1970, and text.

    paths: files to read; none for this machine's own, with what those were rotated to. since, until: in
    seconds since 1970, 0.0 for no bound; with one, lines whose time nobody understands are left out.

    Raises SessionError when there is nothing to read, or a file cannot be read.
    """
    pieces = [_opened(path) for path in paths] if paths else _all_opened(_base())
    with contextlib.ExitStack() as stack:
        for piece in pieces:
            stack.enter_context(piece)
        for piece in pieces:
            # Its last line is no younger than the file.
            if not since or os.stat(piece.fileno()).st_mtime >= since:
                yield from _of_piece(piece, since, until)


def seconds(written: str) -> float:
    """Return a point in time that somebody wrote, in seconds since 1970. Raises SessionError.

    The words of journalctl(1), which mean the same here: today begins at midnight, -2h is two hours ago.
    """
    done = subprocess.run(
        ["date", f"--date={_for_date(written.strip())}", "+%s"],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        remedy = 'write it as "2026-01-31 12:00", "today", "yesterday" or "2 hours ago"'
        raise SessionError(f"cannot understand the time {written!r}", "", remedy, "log")
    return float(done.stdout)


def _pieces(base: str) -> list[tuple[str, int, int]]:
    """Return the path, device and inode of a log and of what it was rotated to, the oldest first."""
    directory, name = os.path.split(base)
    found: list[tuple[tuple[int, str, int], os.DirEntry[str]]] = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(directory):
            if not entry.name.startswith(name) or not entry.is_file():
                continue
            if entry.name == name:
                found.append(((2, "", 0), entry))
            elif rotated := _ROTATED.fullmatch(entry.name, len(name)):
                number = rotated["number"]
                found.append(((1, "", -int(number)) if number else (0, rotated["date"], 0), entry))
    pieces = []
    for _, entry in sorted(found, key=lambda one: one[0]):
        with contextlib.suppress(FileNotFoundError):  # it was rotated meanwhile
            status = entry.stat()
            pieces.append((entry.path, status.st_dev, status.st_ino))
    return pieces


def _all_opened(base: str) -> list[IO[str]]:
    """Open a log and what it was rotated to, the oldest first, all as at one moment. Raises SessionError."""
    for _ in range(_MOST_LOOKS):
        before = _pieces(base)
        with contextlib.ExitStack() as stack:
            try:
                opened = [stack.enter_context(_opened(path)) for path, _, _ in before]
            except SessionError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    continue
                raise
            if _pieces(base) == before:
                stack.pop_all()
                return opened
    raise SessionError(f"cannot read {base}", "it is rotated all the time", "name files: --file PATH", "log")


def _opened(path: str) -> IO[str]:
    packed = os.path.splitext(path)[1]
    try:
        file: IO[str] = _OPENERS.get(packed, open)(path, "rt", encoding="utf-8", errors="backslashreplace")  # type: ignore[operator]
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    return file


def _of_piece(piece: IO[str], since: float, until: float) -> Iterator[tuple[str, float, str]]:
    try:
        for line in piece:
            match = _LINE.match(line) if _MARK in line else None
            if match is None:
                continue
            when = match["time"]
            at = moment(when)
            if (not since or at >= since) and (not until or 0.0 < at <= until):
                yield when, at, match["text"]
    except _DAMAGED as error:
        raise _unreadable(_name(piece), getattr(error, "strerror", "") or str(error)) from None


def _name(piece: IO[str]) -> str:
    inner = piece.buffer if isinstance(piece, io.TextIOWrapper) else piece
    return str(getattr(inner, "name", "") or getattr(getattr(inner, "_fp", None), "name", "a log"))


def _unreadable(path: str, why: str) -> SessionError:
    return SessionError(f"cannot read {path}", why, "run it as root", "log")


_MIDNIGHTS = ("today", "yesterday", "tomorrow")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(
    r"-\s*(?P<number>\d{1,9})\s*(?:(?P<unit>s|m|h|d|w)|sec|secs|seconds?|min|mins|minutes?|hours?|days?|weeks?)"
)


def _for_date(written: str) -> str:
    """Return a point in time as date(1) understands it, where journalctl(1) has a form of its own."""
    if written.lower() in _MIDNIGHTS:
        return f"{written} 00:00"
    found = _AGO.fullmatch(written)
    if found:
        unit = _UNITS[found["unit"]] if found["unit"] else written.lstrip("-0123456789 ")
        return f"{found['number']} {unit} ago"
    return written


def moment(when: str) -> float:
    """Return the time of a line in seconds since 1970: RFC 3339, or RFC 3164, which names no year; or 0.0."""
    try:
        if when[:1].isdigit():
            return dt.datetime.fromisoformat(when).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0  # no time that there is
    return _without_year(when)


@functools.lru_cache(maxsize=4096)
def _without_year(when: str) -> float:
    try:
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

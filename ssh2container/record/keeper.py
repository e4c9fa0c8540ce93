"""Keeping a recording: frames of what a terminal showed become an asciicast (docs.asciinema.org, version 2).

The collector keeps the recordings of all sessions; a child of the monitor does where the file is the
user's own. The monitor itself only hands over bytes, so that a terminal is as fast as without.

A frame is its kind (a byte), the length of its content (4 bytes) and its time (8 bytes, microseconds
since the recording began), all little-endian, and the content. The keeper answers in lines: ``digest
BYTES HEX`` to DIGEST, ``done BYTES HEX`` to the end of file when all is on the disk, ``error WHY``.
"""

from __future__ import annotations

import _codecs
import posix as os
import time
from _blake2 import blake2b
from _json import encode_basestring

from ssh2container.errors import printable

GREETING = b"ssh2container-record 2 "
"""What a recorder says to the collector first; the session's id and a line end follow."""
BEGIN, OUTPUT, INPUT, RESIZE, EXIT, DIGEST = b"h", b"o", b"i", b"r", b"x", b"d"
LARGEST = 1 << 20
"""The most that a frame of text may hold, in bytes. It is written as it comes, never gathered."""
LARGEST_GATHERED = 1 << 14
"""The most that any other frame may hold: until all of it is there, it is kept in memory."""
DIGEST_BYTES = 16
_HEAD = 13
_BACKSLASH = 0x5C
_USUAL = bytes(number for number in range(0x20, 256) if number not in b'"\\') + b"\r\n\x1b"
"""Bytes that need no escape, and those that lines and colours are made of."""
_ESCAPES = {0x08: b"\\b", 0x09: b"\\t", 0x0C: b"\\f", 0x22: b'\\"'}
_SIGNS = 6
"""The longest that a size of a window or an exit status may be, each number in characters."""
_LONGEST_WORD = 1024
"""Characters of a title or a variable in the header."""
_LONGEST_TIME = 12
"""Digits of the time when a recording began: int() refuses thousands of them by an error of its own."""


class Refused(Exception):
    """A recording cannot begin or go on; the text goes to its session."""


def head(kind: bytes, size: int, microseconds: int) -> bytes:
    """Return what stands before the content of a frame."""
    return kind + size.to_bytes(4, "little") + microseconds.to_bytes(8, "little")


def file_name(session: str) -> str:
    """Return how a recording that begins now is called."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{session}.cast"


def begin(columns: int, rows: int, timestamp: int, title: str, environment: dict[str, str]) -> bytes:
    """Return the content of the frame BEGIN. timestamp: seconds since the epoch."""
    named = [f"{name}={value[:_LONGEST_WORD]}" for name, value in environment.items() if value]
    words = [str(columns), str(rows), str(timestamp), title[:_LONGEST_WORD], *named]
    return "\0".join(words).encode("utf-8", "surrogateescape")


def escaped(text: bytes) -> bytes:
    """Return what stands between the quotes of a JSON string. text: valid UTF-8.

    Written for what terminals show: three times as fast as the standard library, whose encoder looks at
    each character twice.
    """
    unusual = text.translate(None, _USUAL)
    if unusual:
        if b"\\" in unusual:  # before all others, which bring some
            text = text.replace(b"\\", b"\\\\")
        for number in sorted({*unusual} - {_BACKSLASH}):
            text = text.replace(bytes((number,)), _ESCAPES.get(number) or b"\\u%04x" % number)
    return text.replace(b"\r", b"\\r").replace(b"\n", b"\\n").replace(b"\x1b", b"\\u001b")


class Keeper:
    """Writes one recording.

    descriptor: the new file, -1 once it is closed. path: where it is. written: bytes so far.
    worth_keeping: whether anything has happened; a file without is removed.

    Of what it is sent it holds a few kilobytes at most, whatever that is.
    """

    __slots__ = (
        "_coming",
        "_digest",
        "_kind",
        "_last",
        "_lines",
        "_partial",
        "_rest",
        "descriptor",
        "path",
        "worth_keeping",
        "written",
    )

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.path = path
        self._rest = b""
        self._kind, self._coming = b"", 0
        self._partial = {OUTPUT: b"", INPUT: b""}
        self._lines: list[bytes] = []
        self._last = 0
        self.written = 0
        self.worth_keeping = False
        self._digest = blake2b(digest_size=DIGEST_BYTES)

    def take(self, data: bytes) -> bytes:
        """Write what the frames in ``data`` say and return what to answer. Raises Refused.

        However often ``data`` asks for the digest, it is told once, where it was asked for last.
        """
        data = self._rest + data if self._rest else data
        answer, at = b"", 0
        if self._coming:
            at = self._text(data, 0, self._coming)
        while len(data) - at >= _HEAD:
            kind, size = data[at : at + 1], int.from_bytes(data[at + 1 : at + 5], "little")
            start = at + _HEAD
            if kind in self._partial:
                if size > LARGEST:
                    raise Refused("that is no frame of a recorder")
                self._begin(kind, int.from_bytes(data[at + 5 : start], "little"))
                at = self._text(data, start, size)
                continue
            if size > LARGEST_GATHERED:
                raise Refused("that is no frame of a recorder")
            if len(data) - start < size:
                break
            if kind == DIGEST:
                self._write()
                answer = b"digest " + self._so_far()
            else:
                self._begin(kind, int.from_bytes(data[at + 5 : start], "little"))
                self._frame(kind, data[start : start + size])
            at = start + size
        self._rest = data[at:]
        self._write()
        return answer

    def end(self) -> bytes:
        """Put everything on the disk and return what to answer. Raises Refused."""
        return self.synced() if self.conclude() else b"done 0 \n"

    def conclude(self) -> bool:
        """Write what is left; tell whether there is anything that has to reach the disk. Raises Refused.

        A session that never began leaves no file: nothing was shown, and it did not end by itself.
        """
        self._finish_characters()
        self._write()
        if not self.worth_keeping:
            self.close()
        return self.worth_keeping

    def synced(self) -> bytes:
        """Wait until everything is on the disk and return what to answer. Raises Refused."""
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            raise _no_longer(error) from None
        return b"done " + self._so_far()

    def close(self) -> None:
        """Close the file, if :meth:`end` has not, and remove one that is not worth keeping."""
        if self.descriptor < 0:
            return
        os.close(self.descriptor)
        self.descriptor = -1
        if not self.worth_keeping:
            try:
                os.unlink(self.path)
            except OSError:
                pass  # somebody else removed it

    def _begin(self, kind: bytes, microseconds: int) -> None:
        """Note the time of the frame that comes now, and that it may come."""
        # A clock that went back would make the recording invalid, whoever sent it.
        self._last = max(self._last, microseconds)
        begun = bool(self.written or self._lines)
        if begun == (kind == BEGIN):
            raise Refused("a recording has one beginning, and it comes first")
        self._kind = kind

    def _text(self, data: bytes, start: int, size: int) -> int:
        """Take what is there of ``size`` bytes of text, note how many are coming; return where it ends."""
        content = data[start : start + size]
        self._coming = size - len(content)
        rest = self._partial[self._kind]
        whole = rest + content if rest else content
        text, used = _codecs.utf_8_decode(whole, "replace", False)
        self._partial[self._kind] = whole[used:]
        self._event(self._kind, whole[:used] if text.isascii() else text.encode())
        return start + len(content)

    def _frame(self, kind: bytes, content: bytes) -> None:
        if kind == RESIZE and _is_size(content):
            self._event(kind, content)
        elif kind == EXIT and len(content) < _SIGNS and (content.removeprefix(b"-") or b"0").isdigit():
            self._finish_characters()
            self._event(kind, content)
        elif kind == BEGIN:
            self._header(content.decode("utf-8", "replace").split("\0"))
        else:
            raise Refused("that is no frame of a recorder")

    def _header(self, words: list[str]) -> None:
        longest = zip(words, (_SIGNS - 1, _SIGNS - 1, _LONGEST_TIME), strict=False)
        good = all(word.isdecimal() and len(word) <= most for word, most in longest)
        if not good or len(words) < 4:  # noqa: PLR2004
            raise Refused("that is no beginning of a recording")
        columns, rows, timestamp = (int(word) for word in words[:3])
        pairs = [word.partition("=") for word in words[4:]]
        named = ", ".join(f"{_quoted(name)}: {_quoted(value)}" for name, _, value in pairs)
        line = (
            f'{{"version": 2, "width": {columns}, "height": {rows}, "timestamp": {timestamp}, '
            f'"title": {_quoted(words[3])}, "env": {{{named}}}}}\n'
        )
        self._lines.append(line.encode())

    def _event(self, kind: bytes, text: bytes) -> None:
        """Add what happened. text: valid UTF-8; what is empty did not happen, unless it is the end."""
        if text or kind == EXIT:
            self.worth_keeping |= kind in self._partial or text != b""
            self._lines += (b'[%.6f, "%s", "' % (self._last / 1e6, kind), escaped(text), b'"]\n')

    def _finish_characters(self) -> None:
        """Write the first halves of characters that have no other half."""
        for kind, rest in self._partial.items():
            if rest:
                self._partial[kind] = b""
                self._event(kind, rest.decode("utf-8", "replace").encode())

    def _write(self) -> None:
        data = b"".join(self._lines)
        self._digest.update(data)
        self._lines.clear()
        try:
            while data:
                sent = os.write(self.descriptor, data)
                self.written += sent
                data = data[sent:]
        except OSError as error:
            raise _no_longer(error) from None

    def _so_far(self) -> bytes:
        return b"%d %s\n" % (self.written, self._digest.hexdigest().encode())


def _is_size(content: bytes) -> bool:
    columns, _, rows = content.partition(b"x")
    return columns.isdigit() and rows.isdigit() and max(len(columns), len(rows)) < _SIGNS


def _no_longer(error: OSError) -> Refused:
    return Refused(error.strerror or "the file cannot be written")


def _quoted(text: str) -> str:
    quoted: str = encode_basestring(printable(text))
    return quoted

"""Reading asciicasts of version 2 (docs.asciinema.org), ours and others'."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn, TextIO

VERSION = 2
LONGEST_LINE = 1 << 24


class Event:
    """One thing that happened.

    at: seconds since the beginning. code: "o" output, "i" input, "r" resize, "x" exit, "m" marker.
    """

    __slots__ = ("at", "code", "data")

    def __init__(self, at: float, code: str, data: str) -> None:
        self.at = at
        self.code = code
        self.data = data


class Cast:
    """A recording, read while it is played.

    width, height: of the window at its beginning. header: all of the first line.
    """

    def __init__(self, file: TextIO, path: str) -> None:
        """Read the header. Raises SessionError when it is none."""
        self._file = file
        self._path = path
        self.header = self._header()
        self.width, self.height = int(self.header["width"]), int(self.header["height"])

    def events(self) -> Iterator[Event]:
        """Yield all events in their order; a last line that was cut off in the middle ends them.

        Raises SessionError with the line of whatever is no event.
        """
        number = 1
        while line := self._file.readline(LONGEST_LINE):
            number += 1
            if not line.endswith("\n"):
                return
            if line.strip():
                yield self._event(line, number)

    def _header(self) -> dict[str, Any]:
        try:
            header = json.loads(self._file.readline(LONGEST_LINE))
        except (ValueError, RecursionError):
            self._fail(1, "it does not begin with a header")
        if not isinstance(header, dict) or header.get("version") != VERSION:
            self._fail(1, f"only version {VERSION} is known")
        for name in ("width", "height"):
            if type(header.get(name)) is not int or not 0 < header[name] < 1 << 16:
                self._fail(1, f"{name} is no size of a window")
        return header

    def _event(self, line: str, number: int) -> Event:
        try:
            at, code, data = json.loads(line)
            at = float(at)
        except (ValueError, TypeError, OverflowError, RecursionError):
            self._fail(number, "that is no event")
        if not math.isfinite(at) or not isinstance(code, str) or not isinstance(data, str):
            self._fail(number, "that is no event")
        # Half a character, which JSON can write and no terminal can show, becomes a question mark.
        return Event(at, code, data.encode("utf-8", "replace").decode())

    def _fail(self, number: int, why: str) -> NoReturn:
        raise SessionError(f"cannot read {self._path}, line {number}", why, "it is no asciicast", "replay")

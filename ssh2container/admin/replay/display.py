"""What may reach an administrator's terminal of what a user's session has shown: only what it draws.

A terminal obeys sequences that do more than draw: it answers reports as if they were typed, sets the
clipboard and the window's title, switches on reports of the mouse (ECMA-48, XTerm Control Sequences;
CVE-2003-0063 and its kin). A session may send any of them, so only those that draw pass.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f\x1b]+)"
    r"|(?P<control>[\x07-\x0f])"
    r"|\x1b\[(?P<private>[<-?]?)(?P<parameters>[0-9;:]{0,64})(?P<between>[ -/]{0,2})(?P<final>[@-~])"
    r"|\x1b(?P<charset>[()*+][0-9A-Za-z<>=])"
    r"|\x1b(?P<single>#8|[78DEHM])"
    r"|(?P<string>\x1b[]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|(?=\x1b)))"
    r"|(?P<other>\x1b\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]|[\x00-\x1a\x1c-\x1f\x7f-\x9f])"
)
_UNFINISHED = re.compile(r"\x1b(\[[0-?]*[ -/]*|[ -/]*|[]PX^_][^\x07\x1b\x9c]*\x1b?)$")
_LONGEST_UNFINISHED = 4096
_DRAWING = frozenset("ABCDEFGHIJKLMPSTXZ`abdefmrsu@")
"""Moving, erasing, inserting, scrolling, colours."""
_MODES = {
    "": frozenset(("4",)),
    "?": frozenset(("5", "6", "7", "12", "25", "47", "1047", "1048", "1049", "2026")),
}
"""Modes that change how things are drawn; the others change what the terminal sends."""
_MOST_REPEATS = 5
RESET = "\x1b[?1049l\x1b[!p\x1b[0m\x1b(B\x1b[r\x1b[?25h\r\n"
"""Leaves the terminal as a shell expects it."""


class Display:
    """Lets what draws through, whole sequences only; a half one waits for its end.

    resized: is told (columns, rows) where the stream says that the window has another size.
    """

    def __init__(self, resized: Callable[[int, int], None] = lambda _columns, _rows: None) -> None:
        self._waiting = ""
        self._resized = resized

    def feed(self, text: str) -> str:
        """Return what of ``text`` may be shown."""
        text = self._waiting + text
        self._waiting = ""
        unfinished = _UNFINISHED.search(text)
        if unfinished:
            # What never ends is dropped bit by bit, so that it cannot hold back all that follows.
            text, rest = text[: unfinished.start()], unfinished[0]
            self._waiting = rest if len(rest) <= _LONGEST_UNFINISHED else rest[:2]
        return "".join(map(self._allowed, _TOKEN.finditer(text)))

    def _allowed(self, token: re.Match[str]) -> str:
        kind = token.lastgroup
        if kind == "final":
            return token[0] if self._draws(token) else ""
        return token[0] if kind in ("text", "control", "charset", "single") else ""

    def _draws(self, token: re.Match[str]) -> bool:
        private, parameters = token["private"], token["parameters"]
        between, final = token["between"], token["final"]
        if between:
            return (private, between, final) in (("", " ", "q"), ("", "!", "p"))
        if final in "hl":
            modes = _MODES.get(private, frozenset())
            return bool(parameters) and all(mode in modes for mode in parameters.split(";"))
        if final == "t" and not private:
            self._note_size(parameters)
            return False
        if private:
            return private == "?" and final in "JK"
        return final in _DRAWING and not (final == "b" and len(parameters) > _MOST_REPEATS)

    def _note_size(self, parameters: str) -> None:
        size = re.fullmatch(r"8;([0-9]{1,4});([0-9]{1,4})", parameters)
        if size:
            self._resized(int(size[2]), int(size[1]))

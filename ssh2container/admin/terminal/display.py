"""What may reach an administrator's terminal of what a session or an image shows: only what it draws.

A terminal obeys sequences that do more than draw: it answers reports as if they were typed, sets the
clipboard and the window's title, switches on reports of the mouse (ECMA-48, XTerm Control Sequences;
CVE-2003-0063 and its kin). A session may send any of them, so only those that draw pass. Where the
administrator types to what is shown, the modes of cursor keys, keypad and pasting pass, too: they change
how keys are told, and make the terminal send nothing by itself.

What was left switched on is known, and switched off at the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f\x1b]+)"
    r"|(?P<control>[\x07-\x0f])"
    r"|\x1b\[(?P<private>[<-?]?)(?P<parameters>[0-9;:]{0,64})(?P<between>[ -/]{0,2})(?P<final>[@-~])"
    r"|\x1b(?P<charset>[()*+][0-9A-Za-z<>=])"
    r"|\x1b(?P<single>#8|[78DEM])"
    r"|\x1b(?P<keypad>[=>])"
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
_TYPED = {"": _MODES[""], "?": _MODES["?"] | {"1", "66", "2004"}}
"""The same and those of cursor keys, keypad and pasting."""
_SECOND_SCREEN = frozenset(("47", "1047", "1049"))
_MOST_REPEATS = 5
_ALWAYS = "\x0f\x1b(B\x1b)B\x1b*B\x1b+B\x1b[4l\x1b[?7h\x1b[?25h\x1b[0m"
"""Letters, no insertion, line ends, the cursor, colours: nothing of it moves anything."""
_UNDO = {"?5": "\x1b[?5l", "?6": "\x1b[?6l", "?12": "\x1b[?12l", "?2026": "\x1b[?2026l", "?1": "\x1b[?1l",
         "?66": "\x1b>", "keypad": "\x1b>", "?2004": "\x1b[?2004l", "cursor": "\x1b[0 q",
         "region": "\x1b7\x1b[r\x1b8"}  # fmt: skip
"""What of it was touched -> what undoes it. Setting the region moves the cursor, so that is put back."""


class Display:
    """Lets what draws through, whole sequences only; a half one waits for its end.

    resized: is told (columns, rows) where the stream says that the window has another size.
    typed: whether the viewer types to what is shown.
    """

    def __init__(
        self, resized: Callable[[int, int], None] = lambda _columns, _rows: None, *, typed: bool = False
    ) -> None:
        self._waiting = ""
        self._resized = resized
        self._typed = typed
        self._modes = _TYPED if typed else _MODES
        self._touched: dict[str, None] = {}
        self._second_screen = ""

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

    def reset(self) -> str:
        """Return what leaves the terminal as a shell expects it, and the cursor where it is."""
        undo = {_UNDO[name]: None for name in self._touched}
        screen = f"\x1b[?{self._second_screen}l" if self._second_screen else ""
        self._touched, self._second_screen, self._waiting = {}, "", ""
        return screen + "".join(undo) + _ALWAYS

    def _allowed(self, token: re.Match[str]) -> str:
        kind = token.lastgroup
        if kind == "final":
            return token[0] if self._draws(token) else ""
        if kind == "keypad" and self._typed:
            self._touched["keypad"] = None
            return token[0]
        return token[0] if kind in ("text", "control", "charset", "single") else ""

    def _draws(self, token: re.Match[str]) -> bool:
        private, parameters = token["private"], token["parameters"]
        between, final = token["between"], token["final"]
        if between:
            self._touch("cursor")
            return (private, between, final) in (("", " ", "q"), ("", "!", "p"))
        if final in "hl":
            return self._switches(private, parameters.split(";"), on=final == "h")
        if final == "t" and not private:
            self._note_size(parameters)
            return False
        if private:
            return private == "?" and final in "JK"
        if final == "r":
            self._touch("region")
        return final in _DRAWING and not (final == "b" and len(parameters) > _MOST_REPEATS)

    def _switches(self, private: str, modes: list[str], *, on: bool) -> bool:
        if not all(mode in self._modes.get(private, ()) for mode in modes):
            return False
        for mode in modes:
            if mode in _SECOND_SCREEN:
                self._second_screen = mode if on else ""
            else:
                self._touch(private + mode)
        return True

    def _touch(self, what: str) -> None:
        if what in _UNDO:
            self._touched[what] = None

    def _note_size(self, parameters: str) -> None:
        size = re.fullmatch(r"8;([0-9]{1,4});([0-9]{1,4})", parameters)
        if size:
            self._resized(int(size[2]), int(size[1]))

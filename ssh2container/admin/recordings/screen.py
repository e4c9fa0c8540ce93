"""An administrator's terminal while what a session shows, or has shown, is shown on it."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING

from ssh2container.admin.terminal.display import Display

if TYPE_CHECKING:
    from typing import Any

ENOUGH = (b"q", b"Q", b"\x03", b"\x04", b"")
"""Keys, and the end of the input, by which somebody has seen enough."""


class Screen:
    """Standard output, and the keys that end it; without a terminal a pipe, without pauses.

    Only what draws is shown, on a terminal or not.

    columns, rows: of the window that was shown. Use it as a context: the terminal is then restored,
    and what was typed meanwhile, or sent by the terminal itself, is thrown away.
    """

    def __init__(self, columns: int = 0, rows: int = 0) -> None:
        self._modes: list[Any] | None = None
        self._live = sys.stdout.isatty()
        self._display = Display(self.resize)
        self.resize(columns, rows)

    def __enter__(self) -> Screen:
        if self._live and sys.stdin.isatty():
            self._modes = termios.tcgetattr(0)
            tty.setcbreak(0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._write(self._display.reset() + "\r\n")
        if self._modes is not None:
            termios.tcsetattr(0, termios.TCSAFLUSH, self._modes)

    def resize(self, columns: int, rows: int) -> None:
        """Say so when the session's window is larger than ours."""
        if self._live:
            have = os.get_terminal_size(sys.stdout.fileno())
            if have.columns < columns or have.lines < rows:
                sys.stderr.write(
                    f"ssh2containerctl: the window is {columns}x{rows}, yours {have.columns}x{have.lines}\r\n"
                )

    def show(self, text: str) -> None:
        """Show what of ``text`` draws."""
        self._write(self._display.feed(text))

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def pause(self, seconds: float) -> bool:
        """Wait; return False when the viewer has seen enough."""
        if not self._live:
            return True
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._modes is None:
                time.sleep(left)
            elif select.select([0], [], [], left)[0] and os.read(0, 1) in ENOUGH:
                return False
        return True

    @property
    def keyboard(self) -> int:
        """The descriptor where keys come from, or -1."""
        return 0 if self._modes is not None else -1

"""A terminal on which ``sessions --watch`` draws: keys, the size of the window, and how it is left.

However it ends, by a key, by an error or by a signal that can be caught, the terminal is as it was.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from rich.live import Live
    from rich.text import Text

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
_ENOUGH = ("q", "Q", "\x04")


class Signalled(BaseException):
    """A signal asks to end, or to stop for a while. number: which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def usable() -> bool:
    """Tell whether standard output is a terminal that can be drawn on."""
    if not sys.stdout.isatty():
        return False
    from rich.console import Console

    return not Console().is_dumb_terminal


class Picture:
    """What is shown: somebody else decides it, from here it is only asked for."""

    def look(self) -> None:
        """Find out what there is now."""
        raise NotImplementedError

    def lines(self, columns: int, rows: int) -> Sequence[Text]:
        """Return the lines for a window of this size."""
        raise NotImplementedError

    def key(self, typed: str) -> None:
        """Do what a key means."""
        raise NotImplementedError


def show(picture: Picture, interval_s: float) -> None:
    """Show ``picture``, which looks anew every ``interval_s`` seconds, until somebody has seen enough."""
    while True:
        try:
            with _signals() as woken:
                picture.look()
                with _keyboard() as keyboard, _screen() as live:
                    _run(picture, live, (keyboard, woken), interval_s)
                return
        except Signalled as signalled:
            if signalled.number == signal.SIGINT:
                return
            # With the handler that was there before, so that whoever waits for us learns of it. Stopped, we
            # come back here when we are continued.
            signal.raise_signal(signalled.number)


def _run(picture: Picture, live: Live, places: tuple[int, int], interval_s: float) -> None:
    from rich.console import Group

    keyboard, woken = places
    due = time.monotonic() + interval_s
    while True:
        live.update(Group(*picture.lines(*live.console.size)), refresh=True)
        left = max(0.0, due - time.monotonic())
        ready = select.select([place for place in places if place >= 0], [], [], left)[0]
        if woken in ready:
            os.read(woken, 4096)  # the window has another size
        elif keyboard in ready:
            typed = os.read(keyboard, 64).decode("latin-1")
            if not typed:
                return
            # Several where somebody types faster than we draw. What begins with an escape is another key.
            for key in "" if typed.startswith("\x1b") else typed:
                if key in _ENOUGH:
                    return
                picture.key(key)
        else:
            picture.look()
            due = time.monotonic() + interval_s


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Have signals raise :class:`Signalled`, the first of them only; yield what tells of a new size."""

    def end(number: int, _: FrameType | None) -> None:
        for other in _CAUGHT:
            signal.signal(other, signal.SIG_IGN)
        raise Signalled(number)

    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    former = {number: signal.signal(number, end) for number in _CAUGHT}
    former[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: None)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _keyboard() -> Iterator[int]:
    """Yield where keys can be read one by one, -1 where there is no terminal to type on."""
    if not sys.stdin.isatty():
        yield -1
        return
    modes = termios.tcgetattr(0)
    try:
        tty.setcbreak(0)
        yield 0
    finally:
        with contextlib.suppress(termios.error):  # it has hung up
            termios.tcsetattr(0, termios.TCSAFLUSH, modes)


@contextlib.contextmanager
def _screen() -> Iterator[Live]:
    from rich.console import Console
    from rich.live import Live

    live = Live(
        console=Console(highlight=False, emoji=False, markup=False), screen=True, auto_refresh=False,
        redirect_stdout=False, redirect_stderr=False, vertical_overflow="crop",
    )  # fmt: skip
    with live:
        yield live

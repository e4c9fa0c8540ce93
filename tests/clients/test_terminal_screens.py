"""What a person sees: the same screen with the container as without it, in a terminal emulator (tmux)."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.client import ENVIRONMENT, Client
from support.host import DEADLINE_SECONDS, run, until
from support.sshd import Server
from support.users import MakeUser

SHELL = (
    "env -i TERM=xterm-256color LANG=C.UTF-8 PATH=/usr/bin:/bin PS1='$ ' HISTFILE= LESSHISTFILE=- "
    "bash --norc --noprofile"
)


class Emulator:
    """A terminal of 80x24 that runs one ssh, then shows the modes that ssh left the terminal in."""

    def __init__(self, name: str, client: Client) -> None:
        self._tmux = ["tmux", "-L", name, "-f", "/dev/null"]
        ssh = shlex.join([str(word) for word in client.command("-tt", "box", SHELL)])
        environment = {**ENVIRONMENT, "TERM": "xterm-256color"}
        program = f"{ssh}; stty -a; echo over-$((1 + 1)); exec cat"
        start = [*self._tmux, "new-session", "-d", "-x", "80", "-y", "24", program]
        subprocess.run(start, env=environment, check=True, timeout=DEADLINE_SECONDS)

    def _run(self, *words: str) -> str:
        return run([*self._tmux, *words], env=ENVIRONMENT).ok().text

    def type(self, *keys: str) -> None:
        """Press keys; a text is typed as it is, a name such as Escape is that key."""
        for key in keys:
            self._run("send-keys", *(() if key in ("Enter", "Escape", "C-c", "C-z") else ("-l",)), key)

    def line(self, text: str) -> None:
        self.type(text, "Enter")

    def screen(self) -> str:
        """The screen with its colours."""
        return self._run("capture-pane", "-e", "-p")

    def wait(self, text: str) -> str:
        """The screen once ``text`` is on it."""
        try:
            until(lambda: text in self._run("capture-pane", "-p"), f"{text!r} is shown")
        except AssertionError as failure:
            raise AssertionError(f"{failure}, but:\n{self.screen()}") from None
        return self.screen()

    def modes(self) -> str:
        """The modes of the terminal that programs switch on."""
        flags = ("alternate_on", "cursor_flag", "insert_flag", "keypad_cursor_flag", "keypad_flag",
                 "mouse_any_flag", "mouse_button_flag", "mouse_sgr_flag", "mouse_standard_flag")  # fmt: skip
        return self._run("display-message", "-p", " ".join(f"{flag}=#{{{flag}}}" for flag in flags))

    def resize(self, columns: int, rows: int) -> None:
        self._run("resize-window", "-x", str(columns), "-y", str(rows))

    def close(self) -> None:
        subprocess.run(
            [*self._tmux, "kill-server"], check=False, timeout=DEADLINE_SECONDS, capture_output=True
        )


Emulators = tuple[Emulator, Emulator]


@pytest.fixture
def both(sshd: Server, make_user: MakeUser) -> Iterator[Emulators]:
    """Two emulators, one with a user whose shell is the host's, one with a contained user."""
    plain, contained = make_user(None, "/bin/bash"), make_user("image: host\nwelcome: false\n")
    one, two = sshd.client(plain), sshd.client(contained)
    with _emulator("s2c-plain", one) as left, _emulator("s2c-box", two) as right:
        yield left, right


@contextmanager
def _emulator(name: str, client: Client) -> Iterator[Emulator]:
    emulator = Emulator(f"{name}-{client.user.name}", client)
    try:
        emulator.wait("$")
        yield emulator
    finally:
        emulator.close()


def compare(both: Emulators, act: Callable[[Emulator], str]) -> str:
    """The screen that ``act`` leads to, the same in both.

    What ``act`` waits for need not be the last that is drawn: the prompt may follow, or the cursor's return.
    """
    for emulator in both:
        act(emulator)
    plain, contained = both
    try:
        until(
            lambda: (plain.screen(), plain.modes()) == (contained.screen(), contained.modes()),
            "both show the same",
        )
    except AssertionError:
        assert contained.screen() == plain.screen()
        assert contained.modes() == plain.modes()
    return contained.screen()


def test_colours_and_characters(both: Emulators) -> None:
    def act(emulator: Emulator) -> str:
        emulator.line(r"clear; printf '\e[38;2;1;200;30mtrue\e[0m \e[48;5;99mof 256\e[0m\n'; echo one-$((1))")
        emulator.wait("one-1")
        emulator.line("printf 'ä ß ✓ 漢字 e\\u0301 🙂\\n'; echo all-$((1 + 1))")
        return emulator.wait("all-2")

    screen = compare(both, act)
    assert "38;2;1;200;30" in screen
    assert "漢字" in screen


def test_the_modes_of_the_terminal(both: Emulators) -> None:
    """All of stty's; the window's size is there before the first byte."""

    def act(emulator: Emulator) -> str:
        emulator.line("clear; stty -a; stty size; echo all-$((1 + 1))")
        return emulator.wait("all-2")

    screen = compare(both, act)
    assert "24 80" in screen
    assert " iutf8" in screen


def test_vim(both: Emulators) -> None:
    def write(emulator: Emulator) -> str:
        emulator.line("vim -u NONE -i NONE -N -n /tmp/s2c-screen-$$")
        emulator.wait("[New]")
        emulator.type("i", "some text, größer", "Enter", "second", "Escape", "0x")
        return emulator.wait("\necond")

    def leave(emulator: Emulator) -> str:
        emulator.type(":q!", "Enter")
        emulator.wait("$ vim")
        emulator.line("clear; echo left-$((1 + 1))")
        return emulator.wait("left-2")

    compare(both, write)
    compare(both, leave)


def test_less(both: Emulators) -> None:
    def page(emulator: Emulator) -> str:
        emulator.line("seq 1000 2000 | less")
        emulator.wait("1022")
        emulator.type("G")
        emulator.wait("2000")
        emulator.type("g", "/1500", "Enter")
        return emulator.wait("1522")

    def leave(emulator: Emulator) -> str:
        emulator.type("q")
        emulator.line("clear; echo left-$((1 + 1))")
        return emulator.wait("left-2")

    compare(both, page)
    compare(both, leave)


def test_mouse_paste_and_second_screen(both: Emulators) -> None:
    def on(emulator: Emulator) -> str:
        emulator.line(r"clear; printf '\e[?1049h\e[?1002h\e[?1006h\e[?25l\e[?1hprogram-'$((1 + 1))")
        return emulator.wait("program-2")

    def off(emulator: Emulator) -> str:
        emulator.line(r"printf '\e[?1l\e[?25h\e[?1006l\e[?1002l\e[?1049l'; clear; echo off-$((1 + 1))")
        return emulator.wait("off-2")

    compare(both, on)
    assert "mouse_button_flag=1" in both[1].modes()
    compare(both, off)


def test_resize_in_a_full_screen_program(both: Emulators) -> None:
    def act(emulator: Emulator) -> str:
        emulator.line("seq 1000 2000 | less")
        emulator.wait("1022")
        emulator.resize(100, 40)
        return emulator.wait("1038")

    compare(both, act)


def test_job_control_and_interrupts(both: Emulators) -> None:
    def act(emulator: Emulator) -> str:
        emulator.line("clear; echo cat-$((1 + 1)); cat")
        emulator.wait("cat-2")
        emulator.line("echoed")
        emulator.wait("echoed\nechoed")
        emulator.type("C-z")
        emulator.wait("Stopped")
        emulator.line("fg")
        emulator.wait("\ncat\n")
        emulator.line("again")
        emulator.wait("again\nagain")
        emulator.type("C-c")
        emulator.wait("^C\n$")
        emulator.line("echo status-$?")
        return emulator.wait("status-130")

    compare(both, act)


def test_a_killed_program_leaves_the_terminal_usable(both: Emulators) -> None:
    def act(emulator: Emulator) -> str:
        emulator.line("clear; stty raw -echo; kill -KILL $$")
        return emulator.wait("over-2")

    screen = compare(both, act)
    assert " echo " in screen
    assert " icanon " in screen

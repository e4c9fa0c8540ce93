"""The question for an image, put on a terminal of the test's own by a process of the test's own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from support.host import DEADLINE_SECONDS
from support.outer import shown_until
from support.policies import policy

from ssh2container.plan.request import Request
from ssh2container.run import image_menu

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KNOWN = ("debian:12", "alpine:3", "2", "debian:13")
ASKING = f"""
import sys
sys.path.insert(0, {ROOT!r})
from ssh2container.errors import Refusal
from ssh2container.kernel import signals
from ssh2container.run import image_menu
signals.block()
try:
    print(image_menu.ask({KNOWN!r}, float(sys.argv[1])))
except Refusal as refusal:
    print(refusal.status, refusal)
"""
SEVERAL = "images: [debian:12, alpine:3]\nimage_menu: true\n"


@dataclass
class Asked:
    """A process that asks. slave: its terminal; master: the other side."""

    process: subprocess.Popen[bytes]
    master: int
    slave: int

    def until(self, text: bytes) -> bytes:
        """All that the terminal shows up to ``text``."""
        return shown_until(self.master, text)

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1

    def found(self) -> str:
        """What it says in the end, on standard output, where nothing else is."""
        return self.process.communicate(timeout=DEADLINE_SECONDS)[0].decode().rstrip("\n")


@pytest.fixture
def asked() -> Iterator[Callable[..., Asked]]:
    """Starts a process that asks, and waits so long."""
    made: list[Asked] = []

    def start(patience_s: float = DEADLINE_SECONDS) -> Asked:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", ASKING, str(patience_s)],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            start_new_session=True,
        )
        made.append(Asked(process, master, slave))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.communicate()
        os.close(one.slave)
        if one.master >= 0:
            os.close(one.master)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (b"\n", "debian:12"),
        (b"  \n", "debian:12"),
        (b"1\n", "debian:12"),
        (b"2\n", "2"),  # the name of one of them
        (b"4\n", "debian:13"),
        (b"alpine\n", "alpine:3"),
        (b" alpine:3 \n", "alpine:3"),
        (b"5\nalpine\n", "alpine:3"),
        (b"debian\n\xff\x1b[A\nalpine\n", "alpine:3"),
        (b"x" * 3000 + b"\n\n", "debian:12"),
    ],
)
def test_an_answer(asked: Callable[..., Asked], typed: bytes, found: str) -> None:
    process = asked()
    process.until(b"Enter for debian:12: ")
    os.write(process.master, typed)
    assert process.found() == found


def test_a_wrong_answer_is_said_to_be_one(asked: Callable[..., Asked]) -> None:
    process = asked()
    assert b"   1  debian:12\r\n   2  alpine:3\r\n" in process.until(b"Which one?")
    for answer, why in ((b"ubuntu", b"none of yours"), (b"debian", b"more than one of yours")):
        os.write(process.master, answer + b"\n")
        assert b"the image '" + answer + b"' is " + why in process.until(b"Which one?")
    os.write(process.master, b"0\n")
    assert process.found().startswith("126 no image was chosen: none of 3 answers named one; ")


def test_what_follows_the_answer_is_the_session_s(asked: Callable[..., Asked]) -> None:
    process = asked()
    process.until(b"Which one?")
    tty.setraw(process.slave)
    os.write(process.master, b"alpine\rrest")
    assert process.found() == "alpine:3"
    assert shown_until(process.slave, b"rest") == b"rest"


def test_time_is_up(asked: Callable[..., Asked]) -> None:
    process = asked(0.0)
    assert process.found().startswith("126 no image was chosen: nobody has answered for 0 s; ")
    assert process.until(b"Enter for debian:12: \r\n")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_a_signal_ends_it(asked: Callable[..., Asked], number: signal.Signals) -> None:
    process = asked()
    process.until(b"Which one?")
    process.process.send_signal(number)
    assert process.found().startswith(f"126 no image was chosen: signal {number:d} asked this session to end")


def test_the_end_of_input_and_a_terminal_that_is_gone_end_it(asked: Callable[..., Asked]) -> None:
    for end in (b"\x04", b""):
        process = asked()
        process.until(b"Which one?")
        if end:
            os.write(process.master, end)
        else:
            process.hang_up()
        found = process.found()
        assert found.startswith("126 no image was chosen: ")
        assert "has no more input" in found or (not end and "signal 1 " in found)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (b"true", SEVERAL),
        (b"image=alpine", SEVERAL),
        (b"", SEVERAL.replace("true", "false")),
        (b"", SEVERAL + "access: {interactive: false}\n"),
        (b"", SEVERAL + "access: {command: id}\n"),
        (b"", SEVERAL + "access: {login: false}\n"),
        (b"", SEVERAL),
    ],
)
def test_who_is_asked(monkeypatch: pytest.MonkeyPatch, command: bytes, text: str) -> None:
    """Only a login at a terminal that may have a shell, and has chosen nothing: the last of these."""
    monkeypatch.setattr("ssh2container.run.image_menu.os.isatty", lambda _: True)
    monkeypatch.setattr(image_menu, "ask", lambda known: known[1])
    given: dict[bytes, bytes] = {}
    request = Request.parse([b"-c", command] if command else [], {})
    request, chosen, how = image_menu.settle(request, policy(text), given)
    if command or text != SEVERAL:
        assert how in ("", "command")
        assert given == {}
    else:
        assert (chosen.image, how) == ("alpine:3", "menu")
        assert image_menu.settle(request, policy(text), given)[1].image == "alpine:3", "it is not asked again"

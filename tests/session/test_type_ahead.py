"""What is typed before the terminal is ready is what it would be without a container, to the last byte."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
from dataclasses import dataclass

import pytest
from support.host import processes, until
from support.users import MakeUser, User

COMMAND = "cat; echo end"
EOF, ERASE, KILL, LITERAL, INTERRUPT, WORD = b"\x04", b"\x7f", b"\x15", b"\x16", b"\x03", b"\x17"
_ICANON_AT = 3


@dataclass
class Case:
    """ahead: typed before the program of the login starts. later: typed when the login has the terminal."""

    ahead: bytes
    later: bytes = b""


CASES = {
    "a line and the end": Case(b"hello\n" + EOF),
    "the end alone": Case(EOF),
    "lines": Case(b"one\ntwo\r\nthree\n" + EOF),
    "the end within a line": Case(b"abc" + EOF + EOF),
    "the end within a line, then more": Case(b"abc" + EOF + b"def\n" + EOF),
    "an erased character": Case(b"abx" + ERASE + b"c\n" + EOF),
    "an erased word": Case(b"one two" + WORD + b"2\n" + EOF),
    "an erased line": Case(b"abc" + KILL + b"def\n" + EOF),
    "a literal interrupt": Case(b"a" + LITERAL + INTERRUPT + b"b\n" + EOF),
    "a literal end": Case(b"a" + LITERAL + EOF + b"b\n" + EOF),
    "an interrupt": Case(b"gone\nabc" + INTERRUPT + b"hello\n" + EOF),
    "tabs and letters beyond ASCII": Case("\tä\t€ ÿ\n".encode() + b"\xff\xfe\n" + EOF),
    "a long line": Case(b"x" * 3000 + b"\n" + EOF),
    "as much as a terminal takes": Case(b"y" * 99 + (b"z" * 99 + b"\n") * 39 + EOF),
    "the rest of a line later": Case(b"hel", b"lo\n" + EOF),
    "an unfinished line that is erased later": Case(b"twx", ERASE + b"o\n" + EOF),
    "every byte, quoted": Case(b"".join(LITERAL + bytes([c]) for c in range(1, 256)) + b"\n", EOF),
    "zero bytes in lines": Case(b"a\0b\n\0\n\0\0c\n" + EOF),
    "zero bytes and the end within a line": Case(b"a\0" + EOF + b"\0b\n" + EOF),
    "a zero byte in a line that is finished later": Case(b"a\0b", b"c\0d\n" + EOF),
    "every byte": Case(b"".join(LITERAL + bytes([c]) for c in range(256)) + b"\n", EOF),
    "many ends": Case((b"x" + EOF + EOF) * 3 + b"y\n" + EOF),
    "everything later": Case(b"", b"hello\n" + EOF),
}


def terminal(user: User, ahead: bytes) -> tuple[int, int]:
    """Both sides of a terminal of the user's, as sshd makes it, in which ``ahead`` has been typed."""
    master, slave = pty.openpty()
    os.fchown(slave, user.uid, -1)
    os.write(master, ahead)
    return master, slave


def started(user: User, slave: int, *words: str) -> subprocess.Popen[bytes]:
    """A program of the user's on that terminal."""
    return subprocess.Popen(
        words,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=user.environment(),
        cwd="/",
        user=user.uid,
        group=user.gid,
        extra_groups=user.groups(),
    )


def shown(user: User, shell: str, case: Case) -> tuple[int, bytes]:
    """Exit status, and everything that the terminal shows for a login with ``shell``."""
    master, slave = terminal(user, case.ahead)
    with started(user, slave, "setsid", "--ctty", shell, "-c", COMMAND) as session:
        if case.later:
            if shell == user.shell:
                until(
                    lambda: not termios.tcgetattr(slave)[_ICANON_AT] & termios.ICANON,
                    "the login has the terminal",
                )
            os.write(master, case.later)
        got = b""
        while session.poll() is None or select.select([master], [], [], 0)[0]:
            if select.select([master], [], [], 0.01)[0]:
                got += os.read(master, 65536)
        # Not before: what it still shows would be lost with the last descriptor.
        os.close(slave)
    os.close(master)
    return session.returncode, got


@pytest.mark.parametrize("name", CASES)
def test_it_is_shown_and_read_as_by_a_shell_of_the_host(user: User, name: str) -> None:
    case = CASES[name]
    assert shown(user, user.shell, case) == shown(user, "/bin/bash", case)


@pytest.mark.parametrize("name", ["a line and the end", "the rest of a line later"])
def test_in_a_container_that_logins_share(make_user: MakeUser, name: str) -> None:
    user = make_user("image: host\ncontainer_per: user\n")
    case = CASES[name]
    for _ in range(2):
        assert shown(user, user.shell, case) == shown(user, "/bin/bash", case)
    until(lambda: not processes(user.uid), "the container is gone")


def test_a_refused_login_leaves_the_terminal_as_it_was(make_user: MakeUser) -> None:
    user = make_user(
        "image: host\nvolumes: ['/srv:/proc2/x:ro', '/etc/terminfo:/etc2:ro']\nulimits: {as: 4096}\n"
    )
    master, slave = terminal(user, b"")
    before = termios.tcgetattr(slave)
    os.write(master, b"typed\n")
    with started(user, slave, user.shell, "-c", "true") as session:
        session.wait()
    assert session.returncode != 0
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    os.close(master)
    until(lambda: not processes(user.uid), "nothing of it runs")

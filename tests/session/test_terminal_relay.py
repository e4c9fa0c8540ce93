"""The relay between the client's terminal and the payload's, seen through its system calls and effects."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import select
import signal
import struct
import termios

import pytest
from support.host import children, processes, until
from support.outer import Outer, outer, state, traced
from support.users import MakeUser, User

IDLE_SECONDS = 5


def test_a_keystroke_is_one_read_and_one_write(user: User) -> None:
    with outer(user, "-c", "stty -echo raw; echo ready; head -c 10; echo -n done; read x") as session:
        session.expect(b"ready")
        with traced([session.process.pid], "read,write") as calls:
            for _ in range(10):
                _type(session, b"k")
            session.expect(b"done")
        session.send(b"\r")
    typed = [call for call in calls if '"k' in call]
    reads = [call for call in typed if "read(" in call]
    writes = [call for call in typed if "write(" in call]
    # Ten keys go in; head shows them in one or more pieces at the end.
    assert 10 <= len(reads) <= 20
    assert len(reads) == len(writes)
    assert sum(1 for call in calls if "= -1" in call) == 0, calls


def _type(session: Outer, key: bytes) -> None:
    """Send a key and wait until the monitor has it: two at once would be one read."""
    before = _bytes_read(session)
    session.send(key)
    until(lambda: _bytes_read(session) > before, "the key has arrived")


def _bytes_read(session: Outer) -> int:
    """How much the monitor has read so far, of whatever (proc(5), rchar)."""
    with open(f"/proc/{session.process.pid}/io", encoding="ascii") as file:
        return int(re.findall(r"rchar: (\d+)", file.read())[0])


def test_a_keystroke_with_its_echo(user: User) -> None:
    with outer(user, "-c", "stty -icanon; echo ready; exec cat >/dev/null") as session:
        session.expect(b"ready\r\n")
        with traced([session.process.pid], "all") as calls:
            session.send(b"k")
            session.expect(b"k")
    names = [re.sub(r"^\[pid +\d+\] ", "", call).partition("(")[0] for call in calls]
    assert names.count("read") == 2, calls
    assert names.count("write") == 2, calls
    assert set(names) <= {"read", "write", "epoll_wait", "epoll_pwait", "restart_syscall"}, calls


@pytest.mark.parametrize("policy", ["", "sessions: {idle_timeout: 1h, max_duration: 2h}\n"])
def test_an_idle_session_makes_no_call(make_user: MakeUser, policy: str) -> None:
    """Neither the monitor nor pid 1 wakes up in five seconds; with limits in time neither."""
    user = make_user("image: host\n" + policy)
    with outer(user, "-c", "echo ready; exec sleep 1000") as session:
        session.expect(b"ready\r\n")
        inner = children(session.process.pid)[0].pid
        with traced([session.process.pid, inner], "all") as calls:
            assert select.select([session.master], [], [], IDLE_SECONDS)[0] == []
    # strace shows the call that each of the two was in when it came.
    assert len(calls) <= 2, calls


@pytest.mark.parametrize("number", [9, 15, 11])
def test_the_clients_terminal_is_restored_whatever_ends_the_payload(user: User, number: int) -> None:
    with outer(user, "-c", f"stty raw -echo; echo ready; kill -{number} $$") as session:
        session.expect(b"ready")
        assert session.ended() == -number
        assert termios.tcgetattr(session.slave) == session.before


def test_the_clients_terminal_is_restored_when_the_container_is_killed(user: User) -> None:
    with outer(user, "-c", "echo ready; exec sleep 1000") as session:
        session.expect(b"ready")
        os.kill(children(session.process.pid)[0].pid, 9)
        assert session.ended() == 125
        assert termios.tcgetattr(session.slave) == session.before
        session.expect(b"the container ended without reporting a status")


def test_what_a_killed_program_had_switched_on_is_left(user: User) -> None:
    """The second screen, a hidden cursor …: nobody else could, when the payload died by SIGKILL."""
    switch_on = "printf '\\033[?1049h\\033[?25lready'"
    with outer(user, "-c", f"{switch_on}; kill -9 $$") as session:
        session.expect(b"ready")
        session.expect(b"\x1b[?1047l")
        assert session.ended() == -9
    with outer(user, "-c", f"{switch_on}; exec sleep 1000") as session:
        session.expect(b"ready")
        os.kill(children(session.process.pid)[0].pid, 9)
        session.expect(b"\x1b[?1047l")
        session.expect(b"the container ended without reporting a status")


def test_a_program_that_ends_by_itself_shows_no_byte_of_ours(user: User) -> None:
    for last_words in ("exit 3", "kill -TERM $$"):
        with outer(user, "-c", f"echo ready; {last_words}") as session:
            session.ended()
            assert session.expect(b"ready\r\n") == b"ready\r\n"
            assert select.select([session.master], [], [], 0)[0] == []


def test_a_refused_session_leaves_the_terminal_alone(user: User) -> None:
    with outer(user, "-c", "/no/such/program") as session:
        assert session.ended() == 127
        assert termios.tcgetattr(session.slave) == session.before


def test_the_size_is_there_before_the_first_byte(user: User) -> None:
    with outer(user, "-c", "stty size", rows=51, columns=133) as session:
        session.expect(b"51 133\r\n")
        assert session.ended() == 0


KEYS = r"""
import os, signal
say = lambda *words: os.write(1, " ".join(map(str, words)).encode() + b"\n")
signal.signal(signal.SIGWINCH, lambda *_: say("size", *os.get_terminal_size()))
signal.signal(signal.SIGINT, lambda *_: say("interrupted"))
say("ready")
while True:
    say("got", os.read(0, 100).decode().strip())
"""
"""Tells of what reaches it: lines, Ctrl-C, the window's size."""


def test_keys_and_a_new_size_of_the_window_at_once(user: User) -> None:
    """The monitor finds both when it has not run for a while: neither is lost, whichever came first."""
    typed = {b"a line\r": b"got a line\r\n", b"\x03": b"interrupted\r\n"}
    # noflsh: otherwise Ctrl-C discards what the program has just written (termios(3)), as on any terminal.
    with outer(user, "-c", f"stty -echo noflsh; exec python3 -c '{KEYS}'") as session:
        session.expect(b"ready\r\n")
        monitor = session.process.pid
        for columns, (keys, first) in enumerate(itertools.product([*typed] * 3, ["keys", "size"]), 100):
            os.kill(monitor, signal.SIGSTOP)
            until(lambda: state(monitor) == "T", "the monitor has stopped")
            for act in (first, *({"keys", "size"} - {first})):
                if act == "keys":
                    session.send(keys)
                else:
                    fcntl.ioctl(session.master, termios.TIOCSWINSZ, struct.pack("4H", 30, columns, 0, 0))
                    os.kill(monitor, signal.SIGWINCH)
            os.kill(monitor, signal.SIGCONT)
            shown = session.expect(typed[keys])
            size = b"size %d 30\r\n" % columns
            assert size in shown or session.expect(size)


def test_pushed_input_does_not_reach_the_outer_terminal(user: User) -> None:
    """TIOCSTI, also with high bits set (CVE-2019-10063), and TIOCLINUX (CVE-2023-28100)."""
    push = (
        "import ctypes, os; c = ctypes.CDLL(None, use_errno=True)\n"
        "for fd in (0, 1, 2, os.open('/dev/tty', os.O_RDWR)):\n"
        "  for call in (0x5412, 0x5412 | 7 << 32, 0x541c):\n"
        "    c.ioctl(fd, ctypes.c_ulong(call), b'\\x03')\n"
        "print('pushed')\n"
    )
    with outer(user, "-c", f'exec python3 -c "{push}"') as session:
        session.expect(b"pushed\r\n")
        session.ended()
        os.set_blocking(session.slave, False)
        settings = termios.tcgetattr(session.slave)
        settings[3] &= ~termios.ICANON
        termios.tcsetattr(session.slave, termios.TCSANOW, settings)
        with pytest.raises(BlockingIOError):
            os.read(session.slave, 100)


def test_a_terminal_for_output_only_is_a_private_one_too(user: User) -> None:
    """``su user -c COMMAND </dev/null`` on an administrator's terminal: nothing there can be read."""
    null = os.open("/dev/null", os.O_RDONLY)
    command = "test -t 1 && test ! -t 0 && ls -l /proc/self/fd/1 && sleep 0 && exec sleep 1000"
    with outer(user, "-c", command, stdin=null) as session:
        os.close(null)
        session.expect(b"/dev/pts/0")
        session.send(b"not for the session\r")
        assert termios.tcgetattr(session.slave) == session.before
        assert os.read(session.slave, 100) == b"not for the session\n"
        payload = children(children(session.process.pid)[0].pid)[0].pid
        assert os.stat(f"/proc/{payload}/fd/1").st_dev != os.fstat(session.slave).st_dev


def test_a_silent_hang_up_ends_the_session_at_once(user: User) -> None:
    """Nothing is written when the client goes; the payload ignores the signal."""
    session = Outer(user, "-c", "trap '' HUP; echo ready; while :; do sleep 1000; done")
    session.expect(b"ready")
    os.close(session.slave)
    os.close(session.master)
    until(lambda: session.process.poll() is not None, "the session ends")
    until(lambda: not processes(user.uid), "no process of the user is left")


def test_a_stalled_client_costs_no_processor_time(user: User) -> None:
    """The payload floods a terminal that nobody reads: the relay waits, it does not spin."""
    with outer(user, "-c", "exec yes") as session:
        counts: list[int] = []
        until(lambda: _is_full(session, counts), "the terminal is full")
        with traced([session.process.pid], "all") as calls:
            select.select([], [], [], 1)
        assert len(calls) <= 2, calls
        assert session.expect(b"y\r\ny\r\n")


def _is_full(session: Outer, counts: list[int]) -> bool:
    """Whether the monitor has written, and then has not for as long as ten looks took."""
    with open(f"/proc/{session.process.pid}/io", encoding="ascii") as file:
        counts.append(int(re.findall(r"wchar: (\d+)", file.read())[0]))
    return len(counts) > 10 and counts[-1] > 4096 and len(set(counts[-10:])) == 1

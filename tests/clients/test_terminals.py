"""Interactive logins through a real ssh with a real terminal."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pexpect
import pytest
from support.client import Client, Terminal
from support.host import processes, until
from support.sshd import Server
from support.users import MakeUser

PROMPT = "PROMPT-[0-9]+> "


@pytest.fixture
def terminal(client: Client) -> Iterator[Terminal]:
    """A login whose shell shows a prompt that nothing else prints."""
    with client.terminal() as session:
        session.expect(r"[$#] ")
        session.sendline("PS1='PROMPT-$?> '; bind 'set enable-bracketed-paste off'; stty -echo")
        session.expect("\n" + PROMPT)
        yield session


def ask(terminal: Terminal, line: str) -> str:
    """Type ``line`` and return what is shown before the next prompt."""
    terminal.sendline(line)
    terminal.expect(PROMPT)
    assert terminal.before is not None
    return terminal.before.decode().replace("\r\n", "\n")


def test_a_login_greets_with_a_usable_prompt(client: Client) -> None:
    with client.terminal() as session:
        session.expect(r"\$ ")
        shown = (session.before or b"").decode()
        assert f"{client.user.name}@" in shown
        assert "no job control" not in shown
        assert "cannot set terminal process group" not in shown
        assert "I have no name" not in shown
        session.sendline("exit 3")
        session.expect(pexpect.EOF)
        session.wait()
        assert session.exitstatus == 3


def test_the_shell_is_a_login_shell_on_its_terminal(terminal: Terminal) -> None:
    assert ask(terminal, "shopt -q login_shell && echo yes").strip() == "yes"
    assert re.fullmatch(r"/dev/(pts/\d+|console|tty)", ask(terminal, "tty").strip())
    assert ask(terminal, ": </dev/tty && echo opened").strip() == "opened"
    assert ask(terminal, "test -c $(tty) && test -w $(tty) && echo writable").strip() == "writable"
    assert ask(terminal, "echo $TERM; tput cols").split() == ["xterm-256color", "80"]
    assert ask(terminal, "ls -l $(tty) >/dev/null && echo listed").strip() == "listed"


def test_control_c_interrupts(terminal: Terminal) -> None:
    terminal.sendline("sh -c 'echo start\"ed\"; exec sleep 1000'")
    terminal.expect("started")
    terminal.sendintr()
    terminal.expect("PROMPT-130> ")


def test_control_backslash_quits(terminal: Terminal) -> None:
    terminal.sendline("sh -c 'echo start\"ed\"; exec sleep 1000'")
    terminal.expect("started")
    terminal.send("\x1c")
    terminal.expect("PROMPT-131> ")


def test_job_control(terminal: Terminal) -> None:
    terminal.sendline("cat")
    terminal.sendline("echoed")
    terminal.expect("echoed")
    terminal.send("\x1a")
    terminal.expect("Stopped")
    terminal.expect("PROMPT-148> ")
    assert "Stopped" in ask(terminal, "jobs")
    terminal.sendline("fg")
    terminal.expect("cat")
    terminal.sendline("again")
    terminal.expect("again")
    terminal.sendeof()
    terminal.expect("PROMPT-0> ")
    ask(terminal, "sleep 1000 &")
    assert "Running" in ask(terminal, "jobs")
    assert ask(terminal, "kill %1; wait; echo ended").strip().endswith("ended")


def test_resize_is_forwarded(terminal: Terminal) -> None:
    assert ask(terminal, "stty size").strip() == "24 80"
    ask(terminal, "trap 'echo resized to $(stty size)' WINCH")
    # Not at the prompt: bash's line editor would run the trap, and with a ^C that comes meanwhile it waits
    # for another key before it shows a prompt (bash 5.2 on a busy machine, without a container, too).
    terminal.sendline("echo loop''ing; while :; do read -t 0.1 x; done")
    terminal.expect("looping")
    terminal.setwinsize(50, 132)
    terminal.expect("resized to 50 132")
    terminal.sendintr()
    terminal.expect(PROMPT)
    assert ask(terminal, "stty size; tput cols; tput lines").split() == ["50", "132", "132", "50"]


def test_full_screen_programs(terminal: Terminal) -> None:
    terminal.sendline("seq 1000 | less")
    terminal.expect("\n23\r?\n?.*:")
    terminal.send("G")
    terminal.expect("1000")
    terminal.send("q")
    terminal.expect(PROMPT)
    terminal.sendline("vim -u NONE -N /tmp/file")
    terminal.expect("New")
    terminal.send("ihello from vim\x1b:wq\r")
    terminal.expect(PROMPT)
    assert ask(terminal, "cat /tmp/file").strip() == "hello from vim"


def test_top_runs(terminal: Terminal) -> None:
    terminal.sendline("top")
    terminal.expect("load average")
    terminal.send("q")
    terminal.expect(PROMPT)


@pytest.mark.parametrize("program", ["tmux -f /dev/null new-session", "script -q /dev/null", "screen -q"])
def test_programs_that_make_terminals(terminal: Terminal, program: str) -> None:
    """They need /dev/ptmx, devpts and, for tmux and screen, a directory in /tmp or /run."""
    if program.startswith("screen"):
        ask(terminal, "mkdir -m 700 ~/.screen; export SCREENDIR=~/.screen")
    terminal.sendline(program)
    terminal.expect(r"\$")
    terminal.sendline("echo inner-$((40 + 2)); tty")
    terminal.expect("inner-42")
    terminal.expect(r"/dev/pts/\d")
    terminal.sendline("exit")
    terminal.expect(PROMPT)


def test_a_terminal_for_a_command(client: Client) -> None:
    with client.terminal("-tt", "box", "tty; stty size; exit 5") as session:
        session.expect("/dev/")
        session.expect("24 80")
        session.expect(pexpect.EOF)
        session.wait()
        assert session.exitstatus == 5


def test_two_logins_have_terminals_apart(client: Client) -> None:
    with client.terminal() as one, client.terminal() as two:
        for session in (one, two):
            session.expect(r"\$ ")
        one.sendline("ls /dev/pts | tr '\\n' ' '; echo listed")
        one.expect("listed\r\n")
        two.sendline("echo for-two >/dev/pts/0; echo done-$((1 + 1))")
        two.expect("done-2")
        assert one.expect(["for-two", r"\$ "]) == 1


def test_hosts_terminals_are_not_seen(terminal: Terminal) -> None:
    listed = ask(terminal, "ls --color=never /dev/pts").split()
    assert set(listed) <= {"0", "ptmx"}


def test_a_signal_ends_the_shell_and_shows_as_one(client: Client) -> None:
    with client.terminal() as session:
        session.expect(r"\$ ")
        session.sendline("kill -KILL $$")
        session.expect(pexpect.EOF)
        session.wait()
        assert session.exitstatus == 255


def test_closing_the_terminal_ends_everything(client: Client) -> None:
    with client.terminal() as session:
        session.expect(r"\$ ")
        session.sendline("nohup sleep 1000 & disown; trap '' HUP; echo up-$((1 + 1))")
        session.expect("up-2")
        session.kill(signal.SIGKILL)
    until(lambda: not processes(client.user.uid), "no process of the user is left")


def test_eight_bit_input_and_control_characters_reach_a_raw_program(terminal: Terminal) -> None:
    terminal.sendline("stty raw; echo ready; head -c 6 | od -An -tx1; stty -raw")
    terminal.expect("ready")
    terminal.send(b"\x03\x1a\xff\x00\x11\x7f")
    terminal.expect("03 1a ff 00 11 7f")


def test_pasting_much_at_once(terminal: Terminal) -> None:
    terminal.sendline("wc -l <<'END'")
    for _ in range(300):
        terminal.sendline("x" * 60)
    terminal.sendline("END")
    terminal.expect("300")


def test_output_of_a_megabyte_arrives_whole(terminal: Terminal) -> None:
    terminal.sendline("head -c 1000000 /dev/zero | tr '\\0' z; echo; echo finished")
    size = 0
    while True:
        part = terminal.read_nonblocking(65536, 60)
        size += part.count(b"z")
        if b"finished" in part or size >= 1_000_000:
            break
    assert size == 1_000_000


def test_where_a_terminal_is_required_nothing_runs_unseen(make_user: MakeUser, sshd: Server) -> None:
    client = sshd.client(make_user("image: host\naccess: {terminal: required, message: ask me}\n"))
    for arguments in (("-T", "box"), ("-T", "box", "id"), ("box", "cat >/dev/null")):
        done = client.ssh(*arguments, stdin=b"id\n")
        assert done.status == 126
        assert "uid=" not in done.text  # sshd itself shows a motd
        assert "ssh -t" in done.errors
        assert "ask me" in done.errors
    assert client.ssh("-tt", "box", "tty").text.startswith("/dev/pts/")
    assert client.sftp("ls /").status == 0
    with client.terminal() as session:
        session.expect(r"[$#] ")
        session.sendline("exit 4")
        session.expect(pexpect.EOF)
        session.wait()
        assert session.exitstatus == 4


@pytest.mark.parametrize(
    ("typed", "shown"),
    [(b"hello\n\x04", b"hello\r\nhello\r\nend\r\n"), (b"abc\x04\x04", b"abcabcend\r\n")],
)
def test_input_that_comes_with_the_request(client: Client, typed: bytes, shown: bytes) -> None:
    """It is echoed once, and its end of file is one, whether or not the container is there already."""
    assert client.ssh("-tt", "box", "cat; echo end", stdin=typed).ok().out == shown

"""Programs that need a complete terminal: they start, work and end in an interactive login."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pexpect
import pytest
from support.client import Client, Terminal
from support.host import processes, until
from support.sshd import Server
from support.users import MakeUser, User

PROMPT = "READY-[0-9]+> "


@pytest.fixture
def terminal(client: Client) -> Iterator[Terminal]:
    with client.terminal() as session:
        session.expect(r"[$#] ")
        session.sendline("PS1='READY-$?> '; bind 'set enable-bracketed-paste off'; stty -echo; cd /tmp")
        session.expect("\n" + PROMPT)
        yield session


def test_htop(terminal: Terminal) -> None:
    terminal.sendline("htop")
    terminal.expect("Tasks")
    terminal.send("q")
    terminal.expect(PROMPT)


def test_gpg_asks_for_the_passphrase_on_the_terminal(terminal: Terminal) -> None:
    """pinentry-curses finds the terminal by its name, as it is inside."""
    terminal.sendline("export GNUPGHOME=$(mktemp -d) GPG_TTY=$(tty)")
    terminal.expect(PROMPT)
    terminal.sendline("echo pinentry-program /usr/bin/pinentry-curses >$GNUPGHOME/gpg-agent.conf")
    terminal.expect(PROMPT)
    terminal.sendline("echo secret | gpg --symmetric --armor -o /tmp/out.asc; echo left-$?")
    typed = "correct-horse-9-battery"
    terminal.expect("Enter passphrase")
    if terminal.expect(["Repeat:", "<Cancel>"]) == 0:
        # Since pinentry 1.3 one dialog has both fields; before, there was a second dialog.
        terminal.expect("<Cancel>")
        terminal.send(f"{typed}\t{typed}\r")
    else:
        terminal.send(f"{typed}\r")
        terminal.expect("re-enter this passphrase")
        terminal.expect("<Cancel>")
        terminal.send(f"{typed}\r")
    terminal.expect("left-0")
    terminal.expect(PROMPT)
    terminal.sendline("head -1 /tmp/out.asc; gpgconf --kill all")
    terminal.expect("BEGIN PGP MESSAGE")


def test_script_records_and_screen_detaches(terminal: Terminal) -> None:
    terminal.sendline("script -q -c 'tty; stty size' /tmp/typescript; cat /tmp/typescript | wc -l")
    terminal.expect("/dev/pts/1")
    terminal.expect("24 80")
    terminal.expect(PROMPT)
    terminal.sendline("mkdir -m 700 ~/.screen; export SCREENDIR=~/.screen; screen -q -S one")
    terminal.expect(r"\$ ")
    terminal.send("\x01d")
    terminal.expect("detached")
    terminal.sendline("screen -ls; screen -S one -X quit")
    terminal.expect("one")
    terminal.expect(PROMPT)


def test_tmux_survives_a_detach(terminal: Terminal) -> None:
    # To tmux a paste is what comes within a millisecond of the attachment or the key before: without that
    # option, a d after a ^B so soon may be cat's (without a container, too).
    quick = "set-option -g assume-paste-time 0"
    terminal.sendline(
        f"tmux -f /dev/null new-session -d 'echo kept; exec cat' \\; {quick}; tmux list-sessions"
    )
    terminal.expect("1 windows")
    terminal.expect(PROMPT)
    terminal.sendline("tmux attach")
    terminal.expect("kept")
    terminal.send("\x02d")
    terminal.expect("detached")
    terminal.expect(PROMPT)


def test_a_prompt_that_reads_from_the_terminal(terminal: Terminal) -> None:
    """As sudo and ssh ask for passwords: /dev/tty, without echo, whatever stdin is."""
    ask = "import getpass; print(getpass.getpass('Secret: ')[::-1])"
    terminal.sendline(f'python3 -c "{ask}" </dev/null')
    terminal.expect("Secret: ")
    terminal.sendline("abc")
    terminal.expect("cba")


def test_end_of_file_key_ends_the_shell(client: Client) -> None:
    with client.terminal() as session:
        session.expect(r"[$#] ")
        session.sendline("false")
        session.expect(r"[$#] ")
        session.sendeof()
        session.expect(pexpect.EOF)
        session.wait()
        assert session.exitstatus == 1


def test_who_is_empty_inside(terminal: Terminal) -> None:
    """A documented difference: there is no utmp of the host."""
    terminal.sendline("who | wc -l")
    terminal.expect("\r\n0\r\n|^0\r\n")


def test_the_first_login_shows_what_is_kept(make_user: MakeUser, sshd: Server) -> None:
    user = make_user()
    client = sshd.client(user)
    client.box("true").ok()  # a command is no login
    assert "Nothing is kept" in first_words(client)
    assert "Nothing is kept" not in first_words(client)
    with open(user.policy_file, "a", encoding="utf-8") as file:
        file.write("storage_opt: {size: 32m}\n")
    assert "(32 MiB at most)" in first_words(client), "what it says has changed"
    assert "Nothing is kept" not in first_words(client)


def first_words(client: Client) -> str:
    """What a login shows before its prompt."""
    with client.terminal() as session:
        session.expect(r"[$#] ")
        assert session.before is not None
        words: str = session.before if isinstance(session.before, str) else session.before.decode()
        session.sendline("exit")
        session.expect(pexpect.EOF)
        return words


GREETING = """\
image: host
banner: Authorised use only
motd: |
  Hello.
  Two lines.
welcome: false
"""


def test_banner_and_motd_are_for_terminals_only(make_user: MakeUser, sshd: Server) -> None:
    client = sshd.client(make_user(GREETING))
    with client.terminal() as session:
        session.expect("Authorised use only\r\nHello.\r\nTwo lines.\r\n")
        session.expect(r"[$#] ")
    done = client.box("echo only this")
    assert (done.out, done.err) == (b"only this\n", b"")
    with client.terminal("-tt", "box", "echo a command") as session:
        session.expect(pexpect.EOF)
        assert session.before == b"a command\r\n"
    login = client.ssh("-T", "box", stdin=b"echo from stdin\n")
    # sshd itself shows the host's motd at a login without a command.
    assert login.out.endswith(b"from stdin\n")
    assert b"Authorised" not in login.out + login.err


def test_a_hushed_home_shows_no_welcome(
    make_user: MakeUser, sshd: Server, host_directory: Callable[[User], str]
) -> None:
    user = make_user("image: host\nhome: {source: /srv/s2c-%USER%}\n")
    host_directory(user)
    client = sshd.client(user)
    with client.terminal() as session:
        session.expect(f"Kept:  what you write in {user.home}")
        session.expect(r"[$#] ")
        session.sendline("touch ~/.hushlogin; exit")
        session.expect(pexpect.EOF)
    with client.terminal("-tt", "box") as session:
        session.expect(r"[$#] ")
        assert b"Kept" not in (session.before or b"")


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_hang_up_reaches_the_foreground_program(client: Client, user: User, how: str) -> None:
    """The kernel sends SIGHUP to what runs in the foreground, as without a container."""
    with client.terminal() as session:
        session.expect(r"[$#] ")
        session.sendline("trap '' HUP; (trap 'kill -KILL $$' HUP; echo up-$((1 + 1)); sleep 1000 & wait)")
        session.expect("up-2")
        if how == "killed":
            session.kill(signal.SIGKILL)
        session.close(force=True)
    until(lambda: not processes(user.uid), "no process of the user is left")

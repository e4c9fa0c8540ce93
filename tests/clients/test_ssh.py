"""ssh against a real sshd: what the client sees is what it would see without a container."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable

import pytest
from support.client import Client
from support.data import EVERY_BYTE, digest, noise
from support.host import processes, until
from support.sshd import Server
from support.users import User

HUNDRED_MEGABYTES = 100 * 1024 * 1024


def test_a_command_runs_inside_and_nothing_else_reaches_the_client(client: Client) -> None:
    done = client.box("echo out; echo err >&2; readlink /proc/self/ns/mnt").ok()
    assert done.text.splitlines()[0] == "out"
    assert done.text.splitlines()[1] != os.readlink("/proc/self/ns/mnt")
    assert done.err == b"err\n"


def test_a_silent_command_gives_no_byte_on_either_stream(client: Client) -> None:
    done = client.box("true").ok()
    assert (done.out, done.err) == (b"", b"")


@pytest.mark.parametrize("status", [0, 1, 2, 125, 126, 127, 128, 200, 253])
def test_exit_statuses_arrive(client: Client, status: int) -> None:
    assert client.box(f"exit {status}").status == status


@pytest.mark.parametrize("name", ["HUP", "INT", "TERM", "KILL", "SEGV", "USR1", "PIPE", "ABRT"])
def test_death_by_signal_arrives_as_exit_signal(client: Client, sshd: Server, name: str) -> None:
    """ssh itself ends with 255 for an exit-signal; paramiko and asyncssh read its name (test_libraries)."""
    done = client.ssh("-o", "LogLevel=DEBUG", "box", f"kill -{name} $$")
    assert done.status == 255
    assert "exit-signal" in done.errors
    assert sshd.log()


def test_an_unknown_command_is_127(client: Client) -> None:
    done = client.box("/no/such/program")
    assert done.status == 127
    assert done.out == b""
    assert "/no/such/program" in done.errors


def test_ssh_n_runs_the_command(client: Client) -> None:
    """The recording shell of a peer ran nothing at all when stdin was /dev/null."""
    assert client.ssh("-n", "box", "echo ran; cat").ok().text == "ran\n"


def test_standard_input_half_close(client: Client) -> None:
    """End-of-file reaches the command, whose answer still reaches the client."""
    done = client.box("sort; echo end", stdin=b"b\na\n").ok()
    assert done.text == "a\nb\nend\n"


def test_stdin_stays_open_until_the_client_closes_it(client: Client) -> None:
    session = client.start("box", "head -n 1; head -n 1")
    assert session.stdin
    assert session.stdout
    session.stdin.write(b"one\n")
    session.stdin.flush()
    assert session.stdout.readline() == b"one\n"
    out, _ = session.communicate(b"two\n")
    assert out == b"two\n"
    assert session.returncode == 0


def test_early_end_of_file_of_stdout_reaches_the_client(client: Client) -> None:
    """A command that closes stdout and goes on: the client gets end-of-file while it still runs.

    ssh closes its own stdout only at the end; that the channel's end-of-file came shows in its debug log.
    """
    session = client.start("-o", "LogLevel=DEBUG3", "box", "echo before; exec >&- 2>&-; read line; exit 3")
    assert session.stderr
    assert session.stdin
    seen = b""
    while b"rcvd eof" not in seen:
        line = session.stderr.readline()
        assert line, seen
        seen += line
    assert session.poll() is None
    out, _ = session.communicate(b"go on\n")
    assert out == b"before\n"
    assert session.returncode == 3


@pytest.mark.parametrize("arguments", [(), ("-o", "Compression=yes")])
def test_every_byte_survives_both_ways(client: Client, arguments: tuple[str, ...]) -> None:
    assert client.ssh(*arguments, "box", "cat", stdin=EVERY_BYTE).ok().out == EVERY_BYTE


def test_a_hundred_megabytes_each_way_are_exact(client: Client) -> None:
    data = noise(HUNDRED_MEGABYTES)
    done = client.box("cat", stdin=data).ok()
    assert digest(done.out) == digest(data)
    assert done.err == b""


def test_a_command_of_the_longest_possible_length(client: Client) -> None:
    """MAX_ARG_STRLEN is 131072 bytes with the final NUL; nothing may lengthen the string."""
    tail = "; echo reached"
    command = "true " + "x" * (131071 - len("true ") - len(tail)) + tail
    assert len(command) == 131071
    assert client.box(command).ok().text == "reached\n"


def test_a_command_that_is_not_utf8(client: Client) -> None:
    assert client.box(b"printf '%s' '\xff\xfe\x80'").ok().out == b"\xff\xfe\x80"


def test_a_command_of_several_lines_and_quotes(client: Client) -> None:
    done = client.box("for i in 1 2\ndo\n  echo \"line $i\"\ndone\ncat <<'X'\n$HOME `id`\nX\n").ok()
    assert done.text == "line 1\nline 2\n$HOME `id`\n"


def test_the_environment_of_the_login(client: Client, user: User) -> None:
    done = client.box("echo $USER $LOGNAME $HOME; pwd; id -u; id -un; echo ${SSH_CONNECTION%% *}").ok()
    assert done.text.splitlines() == [
        f"{user.name} {user.name} {user.home}",
        user.home,
        str(user.uid),
        user.name,
        "127.0.0.1",
    ]


def test_without_a_terminal_there_is_none(client: Client) -> None:
    done = client.box("tty; test -t 0 || test -t 1 || test -t 2 || echo none; : </dev/tty || echo no tty")
    assert done.text.splitlines() == ["not a tty", "none", "no tty"]


def test_a_killed_client_ends_the_session_at_once(client: Client, user: User) -> None:
    """No terminal: sshd sends no signal; the monitor has to notice the hang-up itself."""
    session = client.start("box", "trap '' HUP TERM PIPE; echo started; while :; do read x </dev/zero; done")
    assert session.stdout
    assert session.stdout.readline() == b"started\n"
    session.kill()
    session.communicate()
    until(lambda: not processes(user.uid), "no process of the user is left")


def test_a_killed_client_with_a_terminal_ends_the_session(client: Client, user: User) -> None:
    with client.terminal("-tt", "box", "trap '' HUP TERM; echo started; exec sleep 1000") as terminal:
        terminal.expect("started")
        terminal.kill(signal.SIGKILL)
    until(lambda: not processes(user.uid), "no process of the user is left")


def test_a_client_that_only_closes_its_input_does_not_end_the_session(client: Client) -> None:
    done = client.box("cat >/dev/null; for i in 1 2 3; do echo $i; done", stdin=b"x")
    assert done.ok().text == "1\n2\n3\n"


def test_a_daemon_that_closed_its_descriptors_ends_with_the_session(client: Client, user: User) -> None:
    daemon = "setsid sh -c 'trap \"\" HUP TERM; exec sleep 1000' >/dev/null 2>&1 </dev/null &"
    done = client.box(f"{daemon} echo left")
    assert done.ok().text == "left\n"
    until(lambda: not processes(user.uid), "no process of the user is left")


def test_a_background_process_that_holds_stdout_does_not_keep_the_client(client: Client, user: User) -> None:
    """Plain sshd would hang here until the sleeper ends; with the container it ends with its session."""
    assert client.box("sleep 1000 & echo left").ok().text == "left\n"
    until(lambda: not processes(user.uid), "no process of the user is left")


def test_the_channel_is_usable_as_a_stream_for_programs(client: Client) -> None:
    """A request and an answer at a time over stdin and stdout, as git, borg and language servers do."""
    session = client.start(
        "box",
        "exec python3 -c 'import sys\nfor line in sys.stdin.buffer:\n"
        " sys.stdout.buffer.write(line.upper()); sys.stdout.flush()'",
    )
    assert session.stdin
    assert session.stdout
    for word in (b"one\n", b"two\n", b"three\n"):
        session.stdin.write(word)
        session.stdin.flush()
        assert session.stdout.readline() == word.upper()
    session.communicate()
    assert session.returncode == 0


def test_ssh_with_a_socket_as_its_streams(client: Client) -> None:
    """ProxyCommand-like callers hand one socket over as stdin and stdout."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            session = client.start("box", "cat; echo end", stdin=theirs, stdout=theirs)
        ours.sendall(b"through a socket\n")
        ours.shutdown(socket.SHUT_WR)
        received = b""
        while part := ours.recv(1000):
            received += part
    assert received == b"through a socket\nend\n"
    assert session.wait() == 0
    assert session.stderr
    session.stderr.close()


def test_pam_and_no_pam(make_sshd: Callable[..., Server], user: User) -> None:
    server = make_sshd(pam="no")
    assert server.client(user).box("echo without PAM").ok().text == "without PAM\n"


def test_output_larger_than_any_buffer_with_a_slow_reader(client: Client) -> None:
    session = client.start("box", "head -c 5000000 /dev/zero; echo end >&2", stdin=subprocess.DEVNULL)
    assert session.stdout
    size = 0
    while part := session.stdout.read(4096):
        size += len(part)
    assert size == 5_000_000
    assert session.stderr
    assert session.stderr.read() == b"end\n"
    session.stderr.close()
    assert session.wait() == 0

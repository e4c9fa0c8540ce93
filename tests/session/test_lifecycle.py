"""Beginning and end of a session: whoever dies, everything goes, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import pytest
from support.host import processes, until
from support.leaks import left_files, tidy_after_a_killed_monitor
from support.login import finish, inside, live, start
from support.syslog import Syslog
from support.users import User

STUBBORN = "trap '' HUP INT QUIT TERM USR1 USR2 PIPE; setsid sleep 1000 </dev/null >/dev/null 2>&1 &"


def gone(user: User) -> None:
    until(lambda: not processes(user.uid), "no process of the user is left")


def test_sigkill_of_the_monitor_ends_everything(user: User) -> None:
    with live(user) as session:
        session.ask(STUBBORN)
        inner = session.init().pid
        os.kill(session.monitor, signal.SIGKILL)
        assert session.ended() == -signal.SIGKILL
        gone(user)
        assert not os.path.exists(f"/proc/{inner}")
    tidy_after_a_killed_monitor(user)


def test_sigkill_of_pid_1_ends_the_session_with_our_status(user: User) -> None:
    with live(user) as session:
        os.kill(session.init().pid, signal.SIGKILL)
        assert session.ended() in (125, -signal.SIGKILL)
        gone(user)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM", "SIGINT"])
def test_signals_for_the_monitor_reach_the_payload(user: User, name: str) -> None:
    """sshd and admins signal the login shell's process; the payload has to hear of it."""
    with live(user) as session:
        session.ask(f"trap 'echo heard {name}; exit 5' {name.removeprefix('SIG')}")
        session.send("while :; do read -t 100 x || :; done")
        os.kill(session.monitor, getattr(signal, name))
        assert session.process.stdout
        assert session.process.stdout.readline().decode().strip() == f"heard {name}"
        assert session.ended() == 5


def test_a_payload_that_does_not_care_about_sigterm_dies_of_it(user: User) -> None:
    session = start(user, "-c", "echo ready; exec sleep 1000")
    assert session.stdout
    assert session.stdout.readline() == b"ready\n"
    session.terminate()
    assert finish(session).status == -signal.SIGTERM


def test_stdins_end_does_not_end_the_session(user: User) -> None:
    with live(user) as session:
        session.send("exec </dev/null; echo still here; kill -STOP $$; echo and here")
        assert session.process.stdin
        assert session.process.stdout
        session.process.stdin.close()
        assert session.process.stdout.readline() == b"still here\n"
        until(lambda: session.payload().state == "T", "the payload has stopped")
        os.kill(session.payload().pid, signal.SIGCONT)
        assert session.process.stdout.readline() == b"and here\n"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_client_that_is_gone_ends_the_session(user: User, kind: str) -> None:
    """sshd closes its ends of the pipes (or sockets) and sends no signal."""
    if kind == "pipe":
        reader, writer = os.pipe()
        session = start(
            user, "-c", f"{STUBBORN} echo ready; exec sleep 1000", stdin=reader, stdout=subprocess.PIPE
        )
        os.close(reader)
        assert session.stdout
        assert session.stdout.readline() == b"ready\n"
        session.stdout.close()
        assert session.stderr
        session.stderr.close()
        os.close(writer)
    else:
        ours, theirs = socket.socketpair()
        session = start(
            user, "-c", f"{STUBBORN} echo ready; exec sleep 1000", stdin=theirs, stdout=theirs, stderr=theirs
        )
        theirs.close()
        assert ours.recv(6) == b"ready\n"
        ours.close()
    until(lambda: session.poll() is not None, "the session ends")
    gone(user)


def test_early_end_of_file_of_stdout_reaches_the_reader(user: User) -> None:
    """The monitor holds no copy of stdout: the payload alone decides when it ends."""
    session = start(user, "-c", "echo before; exec >&-; read line; exit 4")
    assert session.stdout
    assert session.stdout.read() == b"before\n"
    assert session.poll() is None
    assert session.stdin
    session.stdin.write(b"go on\n")
    session.stdin.close()
    until(lambda: session.poll() is not None, "the session ends")
    assert session.returncode == 4
    assert session.stderr
    session.stderr.close()


def test_early_end_of_file_of_stderr_reaches_the_reader(user: User) -> None:
    session = start(user, "-c", "exec 2>&-; read line; echo after")
    assert session.stderr
    assert session.stderr.read() == b""
    assert session.poll() is None
    assert finish(session, b"go on\n").text == "after\n"


def test_a_daemon_ends_with_its_session(user: User) -> None:
    daemon = (
        "python3 -c 'import os, signal, time\nif os.fork(): os._exit(0)\nos.setsid()\n"
        "if os.fork(): os._exit(0)\nfor n in range(1, 32):\n"
        "    if n not in (9, 19): signal.signal(n, signal.SIG_IGN)\nos.closerange(0, 100)\n"
        "while True: time.sleep(1000)'"
    )
    inside(user, f"{daemon}; echo started").ok()
    gone(user)


def test_orphans_are_reaped(user: User) -> None:
    """A thousand orphans: pid 1 waits for each; no zombie stays."""
    done = inside(
        user,
        "for i in $(seq 1000); do (true &) ; done; "
        "until [ $(ps -eo stat= | grep -c Z) = 0 ]; do :; done; ps -e --no-headers | wc -l",
    )
    assert int(done.ok().text) <= 7


def test_kill_minus_one_stays_inside(user: User, other_user: User) -> None:
    with live(user) as witness, live(other_user) as stranger:
        done = inside(user, "trap '' TERM; kill -TERM -1; kill -TERM 0; echo survived; exit 9")
        assert (done.status, done.text) == (9, "survived\n")
        assert witness.ask("echo alive") == "alive\n"
        assert stranger.ask("echo alive") == "alive\n"


def test_kill_zero_does_not_reach_the_monitor(user: User) -> None:
    """kill(0) reached the monitor when both shared a process group; its death is SIGKILL's, not ours."""
    done = inside(user, "kill -KILL 0")
    assert done.status == -signal.SIGKILL
    with live(user) as session:
        assert os.getpgid(session.payload().pid) != os.getpgid(session.monitor)
        assert os.getpgid(session.init().pid) != os.getpgid(session.payload().pid)


def test_a_stopped_and_continued_session_goes_on(user: User) -> None:
    with live(user) as session:
        os.kill(session.payload().pid, signal.SIGSTOP)
        os.kill(session.payload().pid, signal.SIGCONT)
        assert session.ask("echo on") == "on\n"


def test_files_in_the_runtime_directory_are_gone_after_the_session(user: User) -> None:
    with live(user):
        assert all(path.startswith(user.runtime_directory + "/") for path in left_files(user))
    until(lambda: not left_files(user), "no file of the user is left")


def test_start_and_end_of_a_session_are_recorded(user: User, syslog: Syslog) -> None:
    mark = syslog.mark()
    inside(user, "exit 3")
    records = until(
        lambda: [r for r in syslog.of(user.name)[-2:] if len(syslog.of(user.name)) >= 2],
        "two records of the session",
    )
    assert syslog.mark() - mark >= 2
    assert "3" in records[-1]


def test_the_log_record_cannot_be_forged_by_the_command(user: User, syslog: Syslog) -> None:
    inside(user, b"true 'a\nssh2container[1]: forged \x1b[31m\xff'").ok()
    records = until(
        lambda: [r for r in syslog.of(user.name) if "forged" in r], "a record that names the command"
    )
    assert all(chr(27) not in record for record in records)
    assert all("\n" not in record.rstrip("\n") for record in records)

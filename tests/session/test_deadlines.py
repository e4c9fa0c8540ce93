"""Limits in time end real sessions, with a warning, a request and a kill; nobody is needed to watch."""

from __future__ import annotations

import functools
import os
import signal
import termios

from support.host import processes, until
from support.login import finish, live, start
from support.outer import outer
from support.syslog import Syslog
from support.users import MakeUser

SHORT = "image: host\nstop_grace_period: 1s\nsessions: {%s, warn_before: 2s}\n"
IDLE = "image: host\nstop_grace_period: %s\nsessions: {idle_timeout: 4s, warn_before: 2s}\n"
"""Between two of these moments two seconds may be lost: a busy machine does lose some."""


def test_an_idle_terminal_is_warned_and_ended(make_user: MakeUser, syslog: Syslog) -> None:
    # Time enough to obey, however busy the machine is.
    user = make_user(IDLE % "20s")
    with outer(user, "-c", "echo ready; exec sleep 1000") as session:
        session.expect(b"ready")
        session.expect(b"\a\r\nssh2container: this session ends in ")
        session.expect(b": nothing was typed or shown for ")
        session.expect(b"this session ends now")
        assert session.ended() == -signal.SIGHUP
        assert termios.tcgetattr(session.slave) == session.before
    records = [record for record in syslog.of(user.name) if "event=limit" in record]
    assert 'phase="warning"' in records[0]
    assert 'phase="end"' in records[1]
    syslog.wait(lambda r: user.name in r and "event=close" in r and 'reason="idle_timeout"' in r, "the end")


def test_typing_keeps_a_session(make_user: MakeUser) -> None:
    user = make_user(IDLE % "1s")
    with outer(user, "-c", "echo ready; read line; echo got $line; exec sleep 1000") as session:
        session.expect(b"ready")
        session.expect(b"press any key to keep it open")
        session.send(b"x")
        session.expect(b"press any key to keep it open")
        session.send(b"\r")
        session.expect(b"got x")
        session.expect(b"this session ends now")
        session.ended()


def test_output_keeps_a_session(make_user: MakeUser) -> None:
    user = make_user(IDLE % "1s")
    with outer(user, "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo tick-$i; sleep 0.6; done; exit 4") as session:
        assert b"this session ends now" not in session.expect(b"tick-9")
        assert session.ended() == 4


def test_a_long_session_ends_though_it_is_busy(make_user: MakeUser) -> None:
    user = make_user(SHORT % "max_duration: 4s")
    with outer(user, "-c", "while :; do echo busy; sleep 0.1; done") as session:
        session.expect(b": a session may last 4 seconds")
        session.expect(b"this session ends now")
        assert session.ended() in (-signal.SIGHUP, -signal.SIGTERM)


def test_the_last_line_is_not_shown_on_the_second_screen(make_user: MakeUser) -> None:
    """A program that uses it is there: what is written over it is gone with it."""
    user = make_user(SHORT % "max_duration: 4s")
    with outer(user, "-c", "printf '\\033[?1049hready'; exec sleep 1000") as session:
        session.expect(b"ready")
        session.expect(b"\x1b[?1047l")
        session.expect(b"this session ends now")
        session.ended()


def test_what_ignores_every_signal_is_killed_after_the_grace_period(make_user: MakeUser) -> None:
    user = make_user(SHORT % "max_duration: 4s")
    stubborn = "trap 'echo heard >/dev/tty' HUP TERM; while :; do sleep 1; done"
    with outer(user, "-c", stubborn) as session:
        session.expect(b"this session ends now")
        session.expect(b"heard")
        assert session.ended() == -signal.SIGKILL
    until(lambda: not processes(user.uid), "no process of the user is left")


def test_without_a_terminal_only_the_duration_counts(make_user: MakeUser, syslog: Syslog) -> None:
    """By standard error and the log; standard output stays the command's own."""
    user = make_user(SHORT % "max_duration: 4s, idle_timeout: 1s")
    done = finish(start(user, "-c", "echo out; echo err >&2; exec sleep 1000"))
    assert done.out == b"out\n"
    lines = done.errors.splitlines()
    assert lines[0] == "err"
    assert lines[1].startswith("ssh2container: this session ends in ")
    assert lines[1].endswith(": a session may last 4 seconds")
    assert lines[2] == "ssh2container: this session ends now: a session may last 4 seconds"
    assert done.status == -signal.SIGHUP
    assert any("event=limit" in record for record in syslog.of(user.name))


def test_a_full_standard_error_does_not_hold_up_the_end(make_user: MakeUser) -> None:
    user = make_user((SHORT % "max_duration: 2s").replace("1s\nsessions", "20s\nsessions"))
    session = start(user, "-c", "yes >&2")
    until(lambda: session.poll() is not None, "the session ends")
    assert session.returncode in (-signal.SIGHUP, -signal.SIGTERM)
    session.communicate()


def test_standard_error_is_kept_only_for_limits(make_user: MakeUser) -> None:
    """Its end comes at once without limits, at exit with them."""
    for policy, at_once in (("image: host\n", True), (SHORT % "max_duration: 1h", False)):
        with live(make_user(policy)) as session:
            session.ask("exec 2>&-")
            assert session.process.stderr
            descriptor = session.process.stderr.fileno()
            os.set_blocking(descriptor, False)
            if at_once:
                until(functools.partial(_ended, descriptor), "the end of standard error")
            else:
                assert not _ended(descriptor)


def _ended(descriptor: int) -> bool:
    try:
        return os.read(descriptor, 1) == b""
    except BlockingIOError:
        return False

"""A client that stops reading: its session is listed, counted, limited and ended like any other."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.host import DEADLINE_SECONDS, children, processes, run, until
from support.login import inside
from support.syslog import Syslog
from support.users import MakeUser, User

CTL = "ssh2containerctl"
FLOOD = "timeout 1 yes; exit 5"


@contextmanager
def stuck(user: User, command: str = FLOOD) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A session on a terminal that nobody reads, and which has ended but for what it still has to show."""
    master, slave = pty.openpty()
    os.fchown(slave, user.uid, -1)  # as sshd does
    with subprocess.Popen(
        ["setsid", "--ctty", user.shell, "-c", command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=user.environment(),
        cwd=user.home,
        user=user.uid,
        group=user.gid,
        extra_groups=user.groups(),
    ) as session:
        os.close(slave)
        try:
            until(lambda: ids(user), "the session is listed")
            until(lambda: _is_over(session), "nothing but the monitor is left")
            yield session, master
        finally:
            os.close(master)
            session.wait(DEADLINE_SECONDS)


def _is_over(session: subprocess.Popen[bytes]) -> bool:
    """Whether the payload has run and has ended: the monitor has no child any more."""
    return _shown(session.pid) and not children(session.pid)


def _shown(monitor: int) -> bool:
    """Whether the terminal has taken something: pid 1 sent the payload's terminal, which is a /dev/ptmx."""
    place = f"/proc/{monitor}/fd"
    try:
        return any(os.readlink(f"{place}/{name}").endswith("ptmx") for name in os.listdir(place))
    except FileNotFoundError:
        return False


def ids(user: User) -> list[str]:
    found = json.loads(run([CTL, "sessions", "--json", user.name]).ok().text)
    return [session["id"] for session in found["sessions"]]


def gone(user: User) -> None:
    until(lambda: not processes(user.uid), "nothing of it runs")
    assert os.listdir(user.runtime_directory) in ([], [".welcomed"])


def closed(user: User, syslog: Syslog) -> str:
    def records() -> list[str]:
        return [line for line in syslog.of(user.name) if "event=close" in line]

    return until(records, "a record of its end")[-1]


def test_it_is_listed_and_can_be_killed(make_user: MakeUser, syslog: Syslog) -> None:
    user = make_user()
    with stuck(user) as (session, _):
        (name,) = ids(user)
        assert not [line for line in syslog.of(user.name) if "event=close" in line]
        assert run([CTL, "kill", name]).ok().text == f"{name}: ended\n"
        assert session.wait(DEADLINE_SECONDS) == 5
        assert 'reason="exit"' in closed(user, syslog)
    gone(user)


def test_it_counts(make_user: MakeUser) -> None:
    user = make_user("image: host\nsessions: {max: 1}\n")
    with stuck(user) as (session, _):
        refused = inside(user, "true")
        assert refused.status == 126
        assert "too many sessions" in refused.errors
        session.terminate()
        session.wait(DEADLINE_SECONDS)
    inside(user, "true").ok()
    gone(user)


@pytest.mark.parametrize("limit", ["max_duration", "idle_timeout"])
def test_its_time_is_limited(make_user: MakeUser, syslog: Syslog, limit: str) -> None:
    user = make_user(f"image: host\nsessions: {{{limit}: 5s}}\nstop_grace_period: 1s\n")
    with stuck(user) as (session, _):
        session.wait(DEADLINE_SECONDS)
        assert f'reason="{limit}"' in closed(user, syslog)
    gone(user)


def test_it_gets_everything_once_it_reads_again(make_user: MakeUser) -> None:
    user = make_user()
    with stuck(user, FLOOD) as (session, master):
        got = b""
        while session.poll() is None or select.select([master], [], [], 0)[0]:
            try:
                got += os.read(master, 65536)
            except OSError:
                break  # the end: nobody has the other side open any more
        assert len(got) > 4096
        assert (got + b"y\r\n" * 3).startswith(b"y\r\n" * (len(got) // 3))
        assert session.wait(DEADLINE_SECONDS) == 5
    gone(user)


@pytest.mark.parametrize("container_per", ["session", "user"])
def test_its_hang_up_ends_it(make_user: MakeUser, container_per: str) -> None:
    user = make_user(f"image: host\ncontainer_per: {container_per}\n")
    with stuck(user) as (_, _):
        pass
    until(lambda: not processes(user.uid), "nothing of it runs")


def test_a_refusal_that_nobody_reads_is_listed_and_ends(make_user: MakeUser) -> None:
    user = make_user("image: host\naccess: {commands: []}\n")
    reader, writer = os.pipe()
    os.fchown(reader, user.uid, user.gid)
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    session = subprocess.Popen(
        [user.shell, "-c", "true"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writer,
        env=user.environment(),
        cwd=user.home,
        user=user.uid,
        group=user.gid,
        extra_groups=user.groups(),
        start_new_session=True,
    )
    os.close(writer)
    until(lambda: ids(user), "it is listed while it waits for its reader")
    session.send_signal(signal.SIGTERM)
    assert session.wait(DEADLINE_SECONDS) == -signal.SIGTERM
    os.close(reader)
    until(lambda: ids(user) == [], "it is not listed any more")

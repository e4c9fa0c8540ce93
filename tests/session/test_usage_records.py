"""What a session's last record says that it used, of real sessions that use processors and memory."""

from __future__ import annotations

import os
import shlex

import pytest
from support.host import until
from support.login import inside, live
from support.syslog import Syslog
from support.users import MakeUser, User

from ssh2container.admin.auditlog.read import parse

BURNT_S = 0.3
BURN = f"import time\nwhile time.process_time() < {BURNT_S}: pass\n"
BURN_AND_STAY = BURN + "import signal\nprint('burnt', flush=True)\nsignal.pause()\n"
STAYING = (
    f"mkfifo /tmp/burnt; setsid python3 -c {shlex.quote(BURN_AND_STAY)} >/tmp/burnt & read _ </tmp/burnt"
)
MIB = 1 << 20
SIGNAL_OF_A_LOST_CLIENT = 64


def last(syslog: Syslog, user: User, event: str = "close") -> dict[str, str]:
    """The latest record of an event; until it is there, as an owner writes after its logins have ended."""

    def found() -> list[dict[str, str]]:
        lines = [line.partition("]: ")[2] for line in syslog.of(f'uid="{user.uid}"')]
        return [parse(line) for line in lines if line.startswith(f"event={event} ")]

    until(found, f"the record {event}")
    return found()[-1]


def burnt(record: dict[str, str]) -> None:
    assert int(record["cpu_usec"]) >= BURNT_S * 1e6
    assert int(record["cpu_usec"]) == int(record["cpu_user_usec"]) + int(record["cpu_system_usec"])


def test_processor_time_of_what_ran(user: User, syslog: Syslog) -> None:
    inside(user, f"python3 -c {shlex.quote(BURN)}; exit 3")
    burnt(last(syslog, user))


def test_processor_time_of_what_the_session_left_running(user: User, syslog: Syslog) -> None:
    """Nobody collects what the kernel kills as pid 1 ends: it has to be collected before."""
    inside(user, STAYING).ok()
    burnt(last(syslog, user))


def test_processor_time_of_a_session_that_has_to_be_killed(user: User, syslog: Syslog) -> None:
    with live(user) as session:
        session.ask(f"trap '' HUP; {STAYING}")
        os.kill(session.monitor, SIGNAL_OF_A_LOST_CLIENT)
        session.ended()
    record = last(syslog, user)
    assert record["reason"] == "hangup"
    burnt(record)


FORKING = ("sh", "-c", '"$@"; exit', "sh")
"""Starts the login shell as a child of its own: the kernel counts what the process had before as ours."""


def test_the_largest_process(user: User, syslog: Syslog) -> None:
    inside(user, "python3 -c 'bytearray(60 << 20)' && :", before=FORKING).ok()
    assert 60 * MIB <= int(last(syslog, user)["memory_largest"]) < 120 * MIB


def test_memory_that_nobody_knows_is_not_told(user: User, syslog: Syslog) -> None:
    """A process that stays below what the monitor has leaves no trace: rather no figure than a wrong one."""
    inside(user, "exit 0", before=FORKING).ok()
    assert "memory_largest" not in last(syslog, user)


@pytest.mark.parametrize("left", [False, True])
def test_a_shared_container_has_the_account_of_its_logins(
    make_user: MakeUser, syslog: Syslog, *, left: bool
) -> None:
    user = make_user("image: host\ncontainer_per: user\n")
    inside(user, STAYING if left else f"python3 -c {shlex.quote(BURN)}").ok()
    burnt(last(syslog, user, "container-close"))
    login = last(syslog, user)
    assert "cpu_usec" not in login
    assert 0 < int(login["start_usec"]) <= float(login["duration"]) * 1e6
    assert "start_usec" not in last(syslog, user, "container-close")

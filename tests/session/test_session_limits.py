"""Limits of a session beside a service manager that is not there, says no, says nothing, or lies.

What happens beside one that does as it is asked is in tests/system, on a machine with control groups.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator

import pytest
from support import manager
from support.host import processes, run, until
from support.ledger import Ledger
from support.login import finish, login, start
from support.manager import LINE, reply
from support.syslog import Syslog
from support.users import MakeUser, User

from ssh2container.admin import cgroups
from ssh2container.run import dbus_answer

CTL = "/usr/bin/ssh2containerctl"
REFUSED = 126
LIMITS = "image: host\nstorage_opt: {size: 32m}\nmem_limit: 256m\npids_limit: 100\n"
AT_ONCE = 100
BEST = LIMITS + "limits: best\n"
SHARED = "container_per: user\n"
MOODS = {
    "declines": (manager.declines, r"AccessDenied: no \x1b[31mscope"),
    "hangs": (manager.hangs, "it does not answer"),
    "hangs after its welcome": (manager.hangs_after_welcome, "it does not answer"),
    "rejects": (manager.rejects, "it does not take us for the user"),
    "goes away": (manager.goes_away, "it closed the connection without an answer"),
    "chatters": (manager.chatters, "it says much and does not answer"),
    "no bus": (manager.says(b"\0" * 5000), "is not D-Bus"),
    "garbage": (manager.says(LINE + b"l\x02\x00\x01" + b"\xff" * 64), "its answer is too large"),
    "lies": (manager.accepts, "it said so and did not move process 1"),
}


class Runtime:
    """The user's /run/user/UID, with a manager's socket in it."""

    def __init__(self, user: User) -> None:
        self.directory = f"/run/user/{user.uid}"
        self.bus = f"{self.directory}/bus"
        self.private = f"{self.directory}/systemd/private"


MakeRuntime = Callable[[User], Runtime]


@pytest.fixture
def limited(make_user: MakeUser) -> User:
    return make_user(LIMITS)


@pytest.fixture
def patient(make_user: MakeUser) -> User:
    """One whose sessions go on without."""
    return make_user(BEST)


@pytest.fixture
def runtime_of(ledger: Ledger) -> Iterator[MakeRuntime]:
    made: list[str] = []

    def make(user: User) -> Runtime:
        runtime = Runtime(user)
        ledger.note_path(runtime.directory)
        os.makedirs(runtime.directory + "/systemd", mode=0o755)
        made.append(runtime.directory)
        return runtime

    yield make
    for directory in made:
        shutil.rmtree(directory)


def refusal(user: User, *, why: str) -> None:
    """A login that is refused in one line, with nothing run, nothing on standard output, nothing left."""
    done = login(user, "-c", "echo it ran")
    assert (done.status, done.text) == (REFUSED, "")
    (line,) = done.errors.splitlines()
    assert line.startswith(
        "ssh2container: cannot limit the session to what its policy allows (memory to 256 MiB"
    )
    assert why in line
    assert line.endswith("limits: best")
    until(lambda: not processes(user.uid), "an owner that could not make a container has ended")


def test_without_a_manager_a_login_is_refused(limited: User, syslog: Syslog) -> None:
    refusal(limited, why=f"/run/user/{limited.uid}/bus: No such file or directory")
    (record,) = [one for one in syslog.of(limited.name) if "event=refused" in one]
    assert 'status="126"' in record
    assert 'step="limits"' in record


def test_without_a_manager_best_goes_on_and_says_so(patient: User, syslog: Syslog) -> None:
    done = login(patient, "-c", "echo it ran").ok()
    assert (done.text, done.errors) == ("it ran\n", "")
    records = syslog.of(patient.name)
    (note,) = [one for one in records if "event=note" in one and "goes on without limits" in one]
    assert "that its policy asks for: the user's service manager is out of reach" in note
    (close,) = [one for one in records if "event=close" in one]
    assert 'limits="none: the user' in close
    assert 'exit="0"' in close


@pytest.mark.parametrize("mood", MOODS)
def test_a_manager_that_is_of_no_use(
    mood: str, limited: User, patient: User, runtime_of: MakeRuntime, syslog: Syslog
) -> None:
    """The call reaches it, whatever it makes of that; the wait is bounded."""
    behaves, why = MOODS[mood]
    for user in (limited, patient):
        with manager.manager(runtime_of(user).bus, behaves) as made:
            if user is limited:
                refusal(user, why=why)
            else:
                assert login(user, "-c", "echo it ran").ok().text == "it ran\n"
                assert any("event=note" in one and "goes on without" in one for one in syslog.of(user.name))
        assert b"StartTransientUnit" in made.callers[0].said


def test_what_the_manager_is_asked(limited: User, runtime_of: MakeRuntime) -> None:
    with manager.manager(runtime_of(limited).bus, manager.declines) as made:
        refusal(limited, why="declines")
    said = made.callers[0].said
    for word in (
        b"MemoryMax",
        b"MemorySwapMax",
        b"TasksMax",
        b"Delegate",
        b"inactive-or-failed",
        b".scope\0",
    ):
        assert word in said
    assert (256 << 20).to_bytes(8, "little") in said


@pytest.mark.parametrize("bus", ["absent", "silent", "without the manager"])
def test_the_managers_own_socket_is_asked_next(bus: str, limited: User, runtime_of: MakeRuntime) -> None:
    runtime = runtime_of(limited)
    refused = LINE + reply(1, dbus_answer.ERROR, "org.example.Own")
    with manager.manager(runtime.private, manager.says(refused)) as own:
        if bus != "absent":
            nobody = reply(2, dbus_answer.ERROR, "org.freedesktop.DBus.Error.NameHasNoOwner", "no such name")
            mood = manager.hangs if bus == "silent" else manager.says(LINE + reply(1) + nobody)
            with manager.manager(runtime.bus, mood):
                refusal(limited, why="org.example.Own")
        else:
            refusal(limited, why="org.example.Own")
    assert b"Hello" not in own.callers[0].said
    assert b"StartTransientUnit" in own.callers[0].said


def test_a_manager_that_hears_both_calls_at_once_is_waited_for(
    limited: User, runtime_of: MakeRuntime
) -> None:
    """It was busy for longer than one socket is waited for, and begins the scope after it has read all."""
    runtime = runtime_of(limited)
    exists = LINE + reply(
        1, dbus_answer.ERROR, "org.freedesktop.systemd1.UnitExists", "Unit was already loaded"
    )
    with manager.manager(runtime.bus, manager.hangs), manager.manager(runtime.private, manager.says(exists)):
        refusal(limited, why="org.freedesktop.systemd1.UnitExists")


def test_a_hundred_logins_at_once_are_refused_as_one_is(make_user: MakeUser, runtime_of: MakeRuntime) -> None:
    """One socket takes nobody in, the other says nothing: each login waits its second, whoever else does."""
    user = make_user(LIMITS + "sessions: {max: none}\n")
    runtime = runtime_of(user)
    with socket.socket(socket.AF_UNIX) as stuck, manager.manager(runtime.private, manager.hangs) as silent:
        stuck.bind(runtime.bus)
        os.chmod(runtime.bus, 0o666)
        stuck.listen(1)
        logins = [start(user, "-c", "echo it ran") for _ in range(AT_ONCE)]
        done = [finish(one, b"") for one in logins]
        until(lambda: len(silent.callers) == AT_ONCE, "each has asked at the other, too")
    assert {(one.status, one.text) for one in done} == {(REFUSED, "")}
    assert {one.errors.count("\n") for one in done} == {1}
    assert all(f"{runtime.bus}: it does not answer" in one.errors for one in done)
    until(lambda: not processes(user.uid), "nothing of them is left")


def test_a_shared_container_is_refused_for_the_same_reason(make_user: MakeUser, syslog: Syslog) -> None:
    refusal(make_user(LIMITS + SHARED), why="is out of reach")
    best = make_user(BEST + SHARED)
    assert login(best, "-c", "echo it ran").ok().text == "it ran\n"
    records = syslog.of(best.name) + [one for one in syslog.of(f'uid="{best.uid}"') if "container" in one]
    assert any("event=note" in one and "limits" in one for one in records)
    run(["ssh2containerctl", "kill", "--user", best.name, "--grace", "1"])


def test_a_policy_without_limits_asks_nobody(make_user: MakeUser, runtime_of: MakeRuntime) -> None:
    user = make_user("image: host\nlimits: required\n")
    with manager.manager(runtime_of(user).bus, manager.hangs) as made:
        login(user, "-c", "true").ok()
    assert made.callers == []


def test_explain_prints_what_is_asked(limited: User) -> None:
    done = run(["ssh2containerctl", "explain", limited.name, "--", "true"])
    text = " ".join(done.text.split())
    assert "have the user's service manager put process 1 into ssh2container-" in text
    for words in ("limit memory to 256 MiB", "limit swap to 0 KiB", "limit processes and threads to 100"):
        assert words in text
    assert "make that the root of the control groups that it sees" in text


@pytest.mark.skipif(os.path.isdir(cgroups.RUNS), reason="systemd runs here, and could limit sessions")
def test_every_verb_says_that_logins_are_refused_for_want_of_a_manager(limited: User, patient: User) -> None:
    assert login(limited, "-c", "echo it ran").status == REFUSED
    text = " ".join(run([CTL, "check"]).text.split())
    refused = f"logins are refused to {limited.name}: cannot limit sessions as the policy says"
    assert f"{limited.policy_file}:3:1: error: {refused}: systemd does not run here" in text
    assert f"refused to {patient.name}" not in text
    enabled = run([CTL, "enable", limited.name])
    assert enabled.status == REFUSED
    assert "systemd does not run here" in enabled.errors
    explained = run([CTL, "explain", limited.name, "--", "true"])
    assert explained.status == REFUSED
    assert "systemd does not run here" in explained.errors + explained.text
    assert run([CTL, "explain", patient.name, "--", "true"]).status == 0
    found = json.loads(run([CTL, "doctor", "--json", limited.name, patient.name]).out)["findings"]
    said = {(one["check"], one["level"], one["subject"]) for one in found}
    assert ("user.login", "problem", limited.name) in said
    assert ("user.login", "ok", patient.name) in said
    assert ("limits.manager", "warning", patient.name) in said
    assert ("limits.manager", "problem", limited.name) not in said, "one finding for one cause"
    (remedy,) = (one["remedy"] for one in found if one["check"] == "limits.manager")
    assert remedy == "run systemd with cgroups of version 2 here", "its policy says limits: best already"

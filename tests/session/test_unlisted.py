"""Sessions whose registry is gone: the kernel knows them, so the administrator does."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest
from support.collector import collecting, recordings_directory
from support.host import run, until
from support.login import live
from support.outer import outer
from support.users import MakeUser, User

from ssh2container.admin.sessions import kernel

CONTROL = "/usr/bin/ssh2containerctl"
SHARED = "image: host\ncontainer_per: user\nlinger: 1h\n"


def monitors(*names: str) -> set[int]:
    """The monitors and owners that ``sessions`` lists."""
    listed = json.loads(run([CONTROL, "sessions", "--json", *names]).ok().text)
    return {found["monitor"] for found in (*listed["sessions"], *listed["containers"])}


def remove_runtime(user: User) -> None:
    shutil.rmtree(user.runtime_directory)


def disable(user: User) -> None:
    run([CONTROL, "disable", user.name]).ok()


def delete(user: User) -> None:
    remove_runtime(user)
    run(["userdel", "--force", user.name])


@pytest.mark.parametrize("lose", [remove_runtime, disable, delete])
def test_it_is_listed_and_killed(lose: Callable[[User], None], make_user: MakeUser) -> None:
    """By name while the account is there, by its number afterwards."""
    user = make_user(policy="image: host\n")
    with live(user) as session:
        init = session.init().pid
        lose(user)
        name = str(user.uid) if lose is delete else user.name
        until(lambda: session.monitor in monitors(), "it is listed")
        assert monitors(name) == {session.monitor}
        listed = json.loads(run([CONTROL, "sessions", name, "--json"]).ok().text)["sessions"]
        assert [(one["user"], one["init"]) for one in listed] == [(name, init)]
        run([CONTROL, "kill", "--user", name]).ok()
        session.ended()
    if lose is delete:
        assert f"there is no user {name}" in run([CONTROL, "sessions", name]).errors
    else:
        assert monitors(name) == set()


def test_it_is_killed_by_the_id_that_is_shown(make_user: MakeUser) -> None:
    user = make_user(policy="image: host\n")
    with live(user) as session:
        remove_runtime(user)
        until(lambda: session.monitor in monitors(user.name), "it is listed")
        (shown,) = json.loads(run([CONTROL, "sessions", user.name, "--json"]).ok().text)["sessions"]
        run([CONTROL, "kill", shown["id"]]).ok()
        session.ended()


def test_the_owner_of_a_shared_container_is_found(make_user: MakeUser) -> None:
    """It has no client and no terminal, and outlives every login."""
    user = make_user(policy=SHARED)
    with live(user):
        before = monitors(user.name)
        assert len(before) == 2, "the login and the owner"
        remove_runtime(user)
        until(lambda: monitors(user.name) == before, "both are listed")
    run([CONTROL, "kill", "--user", user.name]).ok()
    assert monitors(user.name) == set()


def test_what_is_no_session_is_not_listed(make_user: MakeUser) -> None:
    """Neither a process of the user's outside a container, nor what runs inside one."""
    user = make_user(policy="image: host\n")
    outside = subprocess.Popen(
        ["setpriv", "--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups", "sleep", "600"]
    )
    try:
        with live(user) as session:
            session.send("sleep 600 &")
            remove_runtime(user)
            until(lambda: monitors(user.name) == {session.monitor}, "the monitor alone is listed")
    finally:
        outside.kill()
        outside.wait()


def test_the_collector_of_recordings_is_none(make_user: MakeUser) -> None:
    """It has our modules in memory, runs outside any container, and would end for a ``kill`` of all."""
    user = make_user(policy="image: host\nrecord: {terminal: true}\n")
    with recordings_directory() as directory, collecting(directory) as service:
        with outer(user, "-c", "echo ready; exec sleep 1000") as session:
            session.expect(b"ready")
            assert service.process
            collector = kernel.Process(service.process.pid)
            until(lambda: time.time() - collector.since > 3, "it is old enough for the list")
            assert service.process.pid not in monitors()
            run([CONTROL, "kill", "--user", user.name]).ok()
        assert service.process.poll() is None


def enabled(make_user: MakeUser) -> User:
    user = make_user(policy="image: host\n")
    run([CONTROL, "enable", user.name]).ok()
    return user


def test_disable_says_what_still_runs_and_keeps_it_listed(make_user: MakeUser) -> None:
    user = enabled(make_user)
    with live(user) as session:
        (before,) = json.loads(run([CONTROL, "sessions", user.name, "--json"]).ok().text)["sessions"]
        said = run([CONTROL, "disable", user.name]).ok().text
        assert before["id"] in said
        assert f"kill --user {user.name}" in said
        (after,) = json.loads(run([CONTROL, "sessions", user.name, "--json"]).ok().text)["sessions"]
        same = ("id", "monitor", "init", "kind", "command", "since")
        assert [after[key] for key in same] == [before[key] for key in same]
        assert session.ask("echo alive") == "alive\n"
        again = json.loads(run([CONTROL, "disable", user.name, "--json"]).ok().text)
        assert again["users"][0]["running"] == [before["id"]]


@pytest.mark.parametrize("policy", ["image: host\n", SHARED])
def test_disable_kill_ends_all(policy: str, make_user: MakeUser) -> None:
    user = make_user(policy=policy)
    run([CONTROL, "enable", user.name]).ok()
    with live(user) as session:
        said = run([CONTROL, "disable", "--kill", user.name]).ok().text
        session.ended()
    assert f"done: end the sessions of {user.name}" in said
    assert "still run" not in said
    assert f"done: remove {user.runtime_directory}" in said
    assert monitors(user.name) == set()

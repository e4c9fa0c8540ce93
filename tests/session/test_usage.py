"""What sessions use and may: of real sessions that take memory, processors, processes and room for files."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pexpect
import pytest
from support.hanging import served
from support.host import DEADLINE_SECONDS, run, until
from support.login import live, start
from support.users import MakeUser, User

from ssh2container.admin.sessions import hints
from ssh2container.admin.sessions.live import Listing

CTL = "ssh2containerctl"
MIB = 1 << 20
POLICY = "image: host\nulimits: {nproc: 77}\nstorage_opt: {size: 64m}\n"
SPIN = "while :; do :; done & echo $!"


def listed(*users: User) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run([CTL, "sessions", "--json", *(u.name for u in users)]).ok().text)
    return found


def only(user: User) -> dict[str, Any]:
    (session,) = listed(user)["sessions"]
    return dict(session)


@pytest.fixture
def limited(make_user: MakeUser) -> User:
    return make_user(POLICY)


def test_what_a_session_uses_is_shown_beside_what_it_may(limited: User) -> None:
    with live(limited) as session:
        before = only(limited)
        assert before["limits"] == {
            "memory": None, "swap": None, "cpus": None, "processes": 77, "writable": 64 * MIB,
        }  # fmt: skip
        assert before["measured"] == "processes"
        assert before["writable"] < MIB
        assert before["cpu"] is not None
        spinner = session.ask(SPIN).strip()
        session.ask("dd if=/dev/zero of=/tmp/file bs=1M count=20 status=none")
        session.ask("python3 -c 'import time; x = bytearray(30 << 20); time.sleep(1000)' & :")
        until(
            lambda: (
                (found := only(limited))["processes"] == before["processes"] + 2
                and found["memory"] > before["memory"] + 25 * MIB
                and found["cpu"] > 0
                and found["cpu_seconds"] > before["cpu_seconds"]
            ),
            "memory, processor and processes are counted",
        )
        assert 20 * MIB <= only(limited)["writable"] < 21 * MIB
        (row,) = run([CTL, "sessions", limited.name]).ok().text.splitlines()[1:]
        cells = row.split()
        assert f"{before['processes'] + 2}/77" in cells
        assert "20.0M/64.0M" in cells
        assert re.search(r" \d+% ", row)
        # What has ended keeps counting, and frees what it had.
        session.ask(f"kill {spinner}; wait {spinner}; rm /tmp/file")
        after = only(limited)
        assert after["cpu_seconds"] > before["cpu_seconds"]
        assert after["writable"] < MIB


def test_every_memory_file_system_of_its_own_counts_and_no_other(make_user: MakeUser) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        os.chmod(directory, 0o777)
        user = make_user(
            "image: host\nstorage_opt: {size: 64m}\n"
            f"volumes: [{directory}:/bound]\ntmpfs: ['/more:size=16m']\n"
        )
        with live(user) as session:
            for place in ("/bound", "/more", "/dev/shm", "~"):
                session.ask(f"dd if=/dev/zero of={place}/file bs=1M count=5 status=none")
            found = only(user)
            assert found["limits"]["writable"] == 80 * MIB
            assert 15 * MIB <= found["writable"] < 16 * MIB


def test_users_are_added_up_and_what_they_share_counts_once(make_user: MakeUser) -> None:
    alone = make_user("image: host\n")
    sharer = make_user("image: host\ncontainer_per: user\n")
    with live(alone) as first, live(alone), live(sharer) as shared, live(sharer):
        first.ask("sleep 1000 & sleep 1000 & :")
        shared.ask("dd if=/dev/zero of=/tmp/file bs=1M count=9 status=none")
        found = listed(alone, sharer)
        users = {user["user"]: user for user in found["users"]}
        processes = sum(one["processes"] for one in found["sessions"] if one["user"] == alone.name)
        assert (users[alone.name]["sessions"], users[alone.name]["containers"]) == (2, 0)
        assert users[alone.name]["processes"] == processes
        (container,) = found["containers"]
        assert (users[sharer.name]["sessions"], users[sharer.name]["containers"]) == (2, 1)
        assert users[sharer.name]["processes"] == container["processes"]
        assert users[sharer.name]["writable"] == container["writable"] >= 9 * MIB
        assert found["total"]["users"] == 2
        assert found["total"]["sessions"] == 4
        assert found["total"]["processes"] == processes + container["processes"]
        table = run([CTL, "sessions", "--by", "user", "--sort", "user", alone.name, sharer.name]).ok().text
        heading, *rows = [line.split() for line in table.splitlines()]
        assert heading == ["USER", "SESSIONS", "CPU", "TIME", "MEMORY", "PROC", "WRITABLE"]
        assert [row[0] for row in rows] == [*sorted((alone.name, sharer.name)), "(all)"]
        assert [row[1] for row in rows] == ["2", "2", "4"]
    until(lambda: not listed(sharer)["containers"], "the shared container has ended")


@pytest.mark.parametrize(
    "command", ["rm -rf /tmp/* ~/* ; ln -s / ~/x", "mkdir -p ~/a/deep; mv ~/a ~/b", "mount -t tmpfs x /tmp"]
)
def test_nothing_in_a_session_leads_the_question_elsewhere(command: str, limited: User) -> None:
    with live(limited) as session:
        session.ask(f"{{ {command}; }} 2>/dev/null; :")
        assert only(limited)["limits"]["writable"] == 64 * MIB


def test_a_parent_of_a_mount_point_may_get_another_name(make_user: MakeUser) -> None:
    user = make_user("image: host\nstorage_opt: {size: 64m}\ntmpfs: ['/tmp/a/b:size=16m']\n")
    with live(user) as session:
        assert session.ask("mv /tmp/a /tmp/other; ln -s /proc /tmp/a; ls /tmp/other") == "b\n"
        assert only(user)["limits"]["writable"] == 80 * MIB


def test_a_volume_whose_server_hangs_is_in_nobodys_way(
    limited: User, make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    user = make_user()
    place = host_directory(user)
    with served(place, user.uid, user.gid) as server:
        with open(user.policy_file, "w", encoding="utf-8") as file:
            file.write(f"image: host\nvolumes: [{place}:/served]\n")
        with live(user), live(limited):
            server.hang()
            found = {one["user"]: one for one in listed(user, limited)["sessions"]}
            assert found[user.name]["processes"] >= 2
            assert found[limited.name]["limits"]["writable"] == 64 * MIB
            server.end()


def test_a_second_look_reads_only_what_has_changed(limited: User, other_user: User) -> None:
    with live(limited) as session, live(other_user) as other:
        until(
            lambda: all(hints.state(user.uid) for user in (limited, other_user)), "nothing has just changed"
        )
        first = Listing([limited.name, other_user.name])
        found = {one.monitor.pid: one for one in first.sessions}
        assert {*found} == {session.monitor, other.monitor}
        with live(limited) as more:
            second = Listing([limited.name, other_user.name], first)
            now = {one.monitor.pid: one for one in second.sessions}
            assert {*now} == {session.monitor, other.monitor, more.monitor}
            assert now[other.monitor] is found[other.monitor], "nobody asked for what cannot have changed"
            assert now[session.monitor] is not found[session.monitor]
            more.process.kill()  # it cannot say that it has ended
            more.process.wait()
            third = Listing([limited.name, other_user.name], second)
            assert {one.monitor.pid for one in third.sessions} == {session.monitor, other.monitor}
            third.close()


def test_more_sessions_than_descriptors_are_listed(limited: User) -> None:
    """The limit that a login of the administrator begins with is raised as far as it may be."""
    with ExitStack() as stack:
        monitors = {stack.enter_context(live(limited)).monitor for _ in range(6)}
        few = ["prlimit", "--nofile=40:4096", CTL, "sessions", "--json", limited.name]
        assert {one["monitor"] for one in json.loads(run(few).ok().text)["sessions"]} == monitors
        done = run(["prlimit", "--nofile=36:36", CTL, "sessions", limited.name])
        assert (done.status, done.out) == (125, b"")
        assert "ulimit -n" in done.errors


@pytest.fixture
def watching(limited: User) -> Iterator[Callable[..., pexpect.spawn[Any]]]:
    """Start ``sessions --watch`` on a terminal whose modes can be compared."""
    children: list[pexpect.spawn[Any]] = []

    def begin(*arguments: str, size: tuple[int, int] = (20, 160)) -> pexpect.spawn[Any]:
        words = [CTL, "sessions", "--watch", *arguments, limited.name]
        watch = f"{shlex.join(words)}; echo status=$?"
        child: pexpect.spawn[Any] = pexpect.spawn(
            "/bin/sh",
            ["-c", f"trap : INT; stty -a; echo started; {watch}; stty -a; echo over"],
            timeout=DEADLINE_SECONDS,
            dimensions=size,
            encoding="utf-8",
            env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        children.append(child)
        child.expect("started\r\n")
        return child

    yield begin
    for child in children:
        child.close(force=True)


def is_restored(child: pexpect.spawn[Any], before: str, status: int) -> None:
    child.expect(r"status=(\d+)\r\n")
    shown = child.before or ""
    assert isinstance(child.match, re.Match)
    assert int(child.match[1]) == status
    assert shown.rfind("\x1b[?1049l") > shown.rfind("\x1b[?1049h"), "the other screen is back"
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l"), "the cursor is back"
    child.expect("over\r\n")
    assert (child.before or "").split() == before.split()


@pytest.mark.parametrize("way", ["q", "\x03", "\x04", signal.SIGTERM, signal.SIGHUP])
def test_watch_leaves_the_terminal_as_it_was(
    way: str | int, limited: User, watching: Callable[..., pexpect.spawn[Any]]
) -> None:
    with live(limited):
        child = watching()
        before = child.before or ""
        child.expect("1 session of 1 user")
        child.expect("q quit")
        if isinstance(way, str):
            child.send(way)
            is_restored(child, before, 0)
        else:
            (pid,) = [int(p) for p in os.listdir("/proc") if p.isdigit() and _parent(p) == child.pid]
            os.kill(pid, way)
            is_restored(child, before, 128 + way)


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_watch_sorts_by_keys_and_fits_every_window(
    limited: User, watching: Callable[..., pexpect.spawn[Any]]
) -> None:
    with live(limited) as session:
        child = watching("--interval", "0.2")
        child.expect("by cpu")
        for key, name in zip(
            "mpwisuc", ("memory", "processes", "writable", "idle", "since", "user", "cpu"), strict=True
        ):
            child.send(key)
            child.expect(f"processes, by {name}")
        child.send("mb")  # faster than it draws
        child.expect("SESSIONS")
        child.send("b")
        child.expect("COMMAND")
        session.ask("sleep 1000 & sleep 1000 & sleep 1000 & :")
        child.expect("5/77")
        child.setwinsize(5, 40)
        child.expect("too narrow for")
        child.setwinsize(20, 160)
        child.expect("exec bash -s")
        session.send("exit")
        session.ended()
        child.expect("0 sessions of 0 users")
        child.send("q")
        child.expect("status=0")


def test_a_stopped_watch_gives_the_terminal_back_and_goes_on(limited: User) -> None:
    with live(limited):
        child: pexpect.spawn[Any] = pexpect.spawn(
            "/bin/bash", ["--norc", "-i"], timeout=DEADLINE_SECONDS, dimensions=(20, 100), encoding="utf-8",
            env={**os.environ, "TERM": "xterm", "PS1": "P> "},
        )  # fmt: skip
        try:
            child.sendline(f"{CTL} sessions --watch {limited.name}")
            child.expect("q quit")
            child.send("\x1a")
            child.expect("Stopped")
            assert "\x1b[?1049l" in (child.before or "")
            child.sendline("fg")
            child.expect(r"\x1b\[\?1049h")
            child.expect("q quit")
            child.send("q")
            child.expect("P> ")
        finally:
            child.close(force=True)


def test_what_a_user_chose_does_not_reach_a_watching_terminal(
    watching: Callable[..., pexpect.spawn[Any]], limited: User
) -> None:
    command = "exec sleep 1000 # \x1b]0;title\x07\x9b31m[red]"
    process = start(limited, "-c", command)
    try:
        until(lambda: listed(limited)["sessions"], "the session is listed")
        child = watching()
        child.expect(re.escape(r"# \x1b]0;title\x07\x9b31m[red]"))
        child.send("q")
        child.expect("status=0")
    finally:
        process.kill()
        process.communicate()
    until(lambda: not listed(limited)["sessions"], "it has ended")


def repeated(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [CTL, "sessions", "--watch", "--interval", "0.2", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_without_a_terminal_watch_prints_a_table_each_time(limited: User) -> None:
    with live(limited):
        process = repeated(limited.name)
        assert process.stdout
        for _ in range(3):
            headline, heading, row = (process.stdout.readline().decode() for _ in range(3))
            assert "1 session of 1 user" in headline
            assert heading.startswith("ID ")
            assert limited.name in row
            assert "\x1b" not in headline + heading + row
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert (process.returncode, errors) == (0, b"")


def test_watch_as_json_is_a_document_a_line(limited: User) -> None:
    with live(limited) as session:
        session.ask(SPIN)
        process = repeated("--json", limited.name)
        assert process.stdout
        lines = iter(process.stdout.readline, b"")
        first = json.loads(next(lines))
        assert set(first) == {"time", "sessions", "containers", "users", "total", "strange"}
        (before,) = first["sessions"]
        for line in lines:
            (now,) = json.loads(line)["sessions"]
            if now["cpu_seconds"] > before["cpu_seconds"] and now["cpu"] > 0:
                break
        process.stdout.close()  # a reader that has had enough ends it
        process.wait(DEADLINE_SECONDS)


@pytest.mark.parametrize(
    "arguments",
    [["--interval", "2"], ["--watch", "--interval", "0"], ["--watch", "--interval", "nan"],
     ["--sort", "nothing"], ["--by", "x"], ["--json", "--sort", "cpu"], ["--json", "--by", "user"]],
)  # fmt: skip
def test_wrong_options_are_said(arguments: list[str]) -> None:
    done = run([CTL, "sessions", *arguments])
    assert (done.status, done.out) == (2, b"")
    assert arguments[-2] in done.errors or "--sort and --by" in done.errors

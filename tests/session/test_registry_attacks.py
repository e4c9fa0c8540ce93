"""Attacks on root's tools through what the user's uid can write: the runtime directory and its sockets.

They are made by processes of the user on the host, which a session has not: the second line of defence.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.host import Done, processes, run, until
from support.login import live
from support.users import MakeUser, User

from ssh2container.admin.sessions import impersonate
from ssh2container.errors import SessionError
from ssh2container.record import registry

CTL = "ssh2containerctl"
FORGER = """
import fcntl, os, socket, sys, time
os.chdir(sys.argv[1])
name = sys.argv[2]
entry = open(name, "wb", 0)
fcntl.flock(entry, fcntl.LOCK_EX)
entry.write(sys.stdin.buffer.read())
if len(sys.argv) > 3:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(name + ".socket")
    listener.listen()
print(flush=True)
if len(sys.argv) > 3:
    end, _ = listener.accept()
    end.recv(65536)
    for answer in sys.argv[3:]:
        if answer == "silence":
            time.sleep(1000)
        elif answer == "file":
            socket.send_fds(end, [b"T"], [os.open("/etc/passwd", os.O_RDONLY)])
        else:
            end.send(bytes.fromhex(answer))
        if answer == "41":
            end.recv(65536)
time.sleep(1000)
"""


@pytest.fixture
def guest(make_user: MakeUser) -> Iterator[User]:
    """A user in whose runtime directory the tests leave what they like."""
    user = make_user()
    yield user
    until(lambda: not processes(user.uid), "nothing of the user runs")
    shutil.rmtree(user.runtime_directory)
    os.mkdir(user.runtime_directory)


@contextmanager
def forged(user: User, name: str, content: bytes, *answers: str) -> Iterator[subprocess.Popen[bytes]]:
    """A live entry of a process that is the user and no session."""
    process = subprocess.Popen(
        ["/usr/bin/python3", "-ISc", FORGER, user.runtime_directory, name, *answers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=user.uid,
        group=user.gid,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(content)
    process.stdin.close()
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def claim(pid: int, **fields: str) -> bytes:
    lines = ["format 1", f"monitor {pid} {registry.started(pid)}"]
    return "\n".join([*lines, *(f"{key} {value}" for key, value in fields.items()), ""]).encode()


def listing(user: User) -> tuple[dict[str, Any], Done]:
    table = run([CTL, "sessions", user.name])
    assert table.status == 0, table
    assert "Traceback" not in table.errors
    return json.loads(run([CTL, "sessions", "--json", user.name]).ok().text), table


def test_a_forged_pid_is_no_session_and_is_not_signalled(guest: User, other_user: User) -> None:
    with live(other_user) as witness, live(guest) as honest:
        for pid in (1, os.getpid(), witness.monitor, witness.init().pid, 4_000_000, 10**30):
            content = claim(pid) if pid < 10**9 else b"monitor %d 1\n" % pid
            with forged(guest, "00000000aa", content):
                found, _ = listing(guest)
                assert [session["monitor"] for session in found["sessions"]] == [honest.monitor]
                assert "00000000aa" in "".join(found["strange"])
                assert run([CTL, "kill", "00000000aa"]).status == 125
                assert run([CTL, "exec", "00000000aa", "--", "id"]).status == 125
        assert witness.ask("echo alive") == "alive\n"


def test_a_number_that_was_used_again_is_no_session(guest: User) -> None:
    with live(guest) as session, forged(guest, "00000000aa", b"monitor %d 12345\n" % session.monitor):
        found, _ = listing(guest)
        assert len(found["sessions"]) == 1
        assert "00000000aa" in "".join(found["strange"])


def test_only_the_users_own_process_can_be_hit(guest: User) -> None:
    """An entry may name any process of its user; root then does to it what the user could."""
    with forged(guest, "00000000aa", b"") as process:
        path = f"{guest.runtime_directory}/00000000aa"
        with open(path, "wb") as entry:
            entry.write(claim(process.pid))
        assert run([CTL, "kill", "--grace", "2", "00000000aa"]).ok().text == "00000000aa: ended\n"
        assert process.wait() == -signal.SIGTERM


def test_the_same_id_in_two_users_directories_is_named_by_user(guest: User, other_user: User) -> None:
    with live(other_user) as session:
        (name,) = [entry for entry in os.listdir(other_user.runtime_directory) if "." not in entry]
        with forged(guest, name, b"") as process:
            with open(f"{guest.runtime_directory}/{name}", "wb") as entry:
                entry.write(claim(process.pid))
            done = run([CTL, "kill", name])
            assert done.status == 125
            assert f"{other_user.name}/{name}" in done.errors
            run([CTL, "kill", f"{other_user.name}/{name}"]).ok()
            session.ended()
            assert process.poll() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        os.urandom(5000),
        b"monitor\n",
        b"monitor -1 x\n",
        b"monitor 1e3 5\n",
        b"monitor " + b"9" * 60_000,
        b"x" * (10 << 20),
        b"monitor 1 1\n" * 4000,
    ],
    ids=["empty", "zeros", "noise", "short", "negative", "float", "long", "huge", "many"],
)
def test_nonsense_in_an_entry_is_named_and_left_out(guest: User, content: bytes) -> None:
    with live(guest), forged(guest, "00000000aa", content):
        found, _ = listing(guest)
        assert len(found["sessions"]) == 1


def test_escape_codes_reach_no_terminal(guest: User) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r[bold]"
    with forged(guest, "00000000aa", b"") as process:
        path = f"{guest.runtime_directory}/00000000aa"
        with open(path, "wb") as entry:
            entry.write(claim(process.pid, command=evil, client=evil, image=evil, kind=evil, container=evil))
        done = run(
            ["script", "-qec", f"{CTL} sessions {guest.name}; {CTL} exec 00000000aa -- id", "/dev/null"]
        )
        for bad in (b"\x1b]", b"\x1b[2J", b"\x9b", "\u202e".encode(), b"\x07"):
            assert bad not in done.out
        assert b"[bold]" in done.out


def plant(guest: User, make: Callable[[str], object]) -> None:
    """Make something in the guest's directory that looks like an entry, as the guest."""
    path = f"{guest.runtime_directory}/00000000bb"
    make(path)
    os.chown(path, guest.uid, guest.gid, follow_symlinks=False)


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory", "socket", "loop"])
def test_what_is_not_a_file_neither_leads_nor_holds_up(guest: User, kind: str) -> None:
    def bind(path: str) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)

    makers: dict[str, Callable[[str], object]] = {
        "link": lambda path: os.symlink("/etc/shadow", path),
        "dangling": lambda path: os.symlink("/nonexistent", path),
        "loop": lambda path: os.symlink(path, path),
        "fifo": os.mkfifo,
        "directory": os.mkdir,
        "socket": bind,
    }
    before = os.stat("/etc/shadow").st_atime_ns
    plant(guest, makers[kind])
    found, table = listing(guest)
    assert "00000000bb" in "".join(found["strange"])
    assert "root:" not in table.out.decode()
    assert os.stat("/etc/shadow").st_atime_ns == before
    assert run([CTL, "kill", "00000000bb"]).status == 125


def test_strange_names_are_shown_harmlessly(guest: User) -> None:
    for name in (b"\x1b[31m", b"a\nb", b"\xff\xfe", b"x" * 255):
        with open(os.fsencode(guest.runtime_directory) + b"/" + name, "wb"):
            pass
    found, table = listing(guest)
    assert found["sessions"] == []
    assert b"\x1b" not in table.err
    assert len(table.errors.splitlines()) == 4


def test_ten_thousand_entries_do_not_stop_the_others(guest: User, other_user: User) -> None:
    for number in range(10_000):
        open(f"{guest.runtime_directory}/x{number}", "wb").close()
    with live(other_user):
        found = json.loads(run([CTL, "sessions", "--json"]).ok().text)
        assert [s["user"] for s in found["sessions"]] == [other_user.name]
        assert any("only 4096 are looked at" in line for line in found["strange"])


def test_a_directory_that_is_not_the_users_own_is_nobodys(guest: User) -> None:
    with live(guest):
        odd = f"{registry.DIRECTORY}/{guest.uid + 100_000}"
        os.symlink(guest.runtime_directory, odd)
        try:
            found = json.loads(run([CTL, "sessions", "--json"]).ok().text)
            assert len([s for s in found["sessions"] if s["user"] == guest.name]) == 1
        finally:
            os.unlink(odd)


@pytest.mark.parametrize(
    "answers",
    [("ff",), ("41", "ff"), ("41", "45ffffff"), ("41", "58"), ("41", "file"), ("41", "53", "580100")],
    ids=["no", "nonsense", "error", "status", "file", "short-status"],
)
def test_a_false_pid_1_gets_nowhere(guest: User, answers: tuple[str, ...]) -> None:
    with forged(guest, "00000000aa", b"", *answers) as process:
        with open(f"{guest.runtime_directory}/00000000aa", "wb") as entry:
            entry.write(claim(process.pid))
        done = run([CTL, "exec", "00000000aa", "--", "id"])
        assert done.status in (0, 125, -signal.SIGHUP)
        assert done.out == b""
        assert "Traceback" not in done.errors


def test_a_pid_1_that_does_not_answer_can_be_given_up(guest: User) -> None:
    with forged(guest, "00000000aa", b"", "41", "silence") as process:
        with open(f"{guest.runtime_directory}/00000000aa", "wb") as entry:
            entry.write(claim(process.pid))
        waiting = subprocess.Popen([CTL, "exec", "00000000aa", "--", "id"], stderr=subprocess.PIPE)

        def insist() -> bool:
            waiting.send_signal(signal.SIGINT)
            return waiting.poll() is not None

        until(lambda: _children(waiting.pid), "it waits")
        until(insist, "it gives up")
        _, errors = waiting.communicate()
        assert b"Traceback" not in errors


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def test_the_child_is_the_user_and_nothing_more(guest: User) -> None:
    def look() -> dict[str, Any]:
        import prctl

        found: dict[str, Any] = {
            "ids": [*os.getresuid(), *os.getresgid()],
            "groups": os.getgroups(),
            "fds": sorted(os.listdir("/proc/self/fd")) if os.access("/proc/self/fd", os.R_OK) else [],
            "session": os.getsid(0) == os.getpid(),
            "dumpable": prctl.get_dumpable(),
            "no_new_privs": prctl.get_no_new_privs(),
            "shadow": os.access("/etc/shadow", os.R_OK),
        }
        try:
            os.close(os.open("/dev/tty", os.O_RDWR))
            found["tty"] = True
        except OSError:
            found["tty"] = False
        try:
            os.setresuid(0, 0, 0)
            found["back"] = True
        except PermissionError:
            found["back"] = False
        return found

    who = impersonate.Identity.of(guest.uid, guest.gid)
    found = impersonate.ask(who, look)
    assert found.pop("ids") == [guest.uid] * 3 + [guest.gid] * 3
    assert found.pop("groups") == guest.groups()
    assert len(found.pop("fds")) <= 5
    assert found == {
        "session": True,
        "dumpable": 0,
        "no_new_privs": 1,
        "shadow": False,
        "tty": False,
        "back": False,
    }


def test_an_answer_that_is_too_long_or_too_late_is_none(guest: User, monkeypatch: pytest.MonkeyPatch) -> None:
    who = impersonate.Identity.of(guest.uid, guest.gid)
    monkeypatch.setattr(impersonate, "LONGEST_ANSWER", 1 << 16)
    with pytest.raises(SessionError):
        impersonate.ask(who, lambda: "x" * (1 << 20))
    monkeypatch.setattr(impersonate, "_PATIENCE_S", 0.2)
    with pytest.raises(SessionError):
        impersonate.ask(who, signal.pause)
    with pytest.raises(SessionError):
        impersonate.ask(who, lambda: sys.exit(0))
    with pytest.raises(SessionError):
        impersonate.Identity.of(0, 0)

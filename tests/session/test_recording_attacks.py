"""Whoever floods the collector harms himself: others are recorded and log in meanwhile.

The floods are sent by processes of the attacker's uid outside of any container, which can say whatever
they like; what a contained process can make its monitor send is less.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.collector import SOCKET, Collecting, collecting, recordings_directory
from support.host import DEADLINE_SECONDS, run, until
from support.outer import outer
from support.users import MakeUser, User

POLICY = "image: host\nwelcome: false\nrecord: {terminal: true}\n"
CODE = "/usr/lib/ssh2container/current"
"""What is installed: users of the tests may not be able to reach this checkout."""
MEMORY_KIB = 100 << 10
"""What the collector may take at its worst; its unit allows 256 MiB."""

_FLOOD = f"""
import contextlib, os, socket, sys
sys.path.insert(0, {CODE!r})
from ssh2container.record.keeper import BEGIN, DIGEST, GREETING, LARGEST, OUTPUT, begin, head

HEADER = begin(80, 24, 1700000000, "flood", {{}})
BEGUN = head(BEGIN, len(HEADER), 0) + HEADER

def connection():
    end = socket.socket(socket.AF_UNIX)
    end.settimeout({DEADLINE_SECONDS})
    end.connect({SOCKET!r})
    return end

def recording():
    end = connection()
    end.send(GREETING + os.urandom(5).hex().encode() + b"\\n")
    said = end.recv(4096)
    if not said.startswith(b"ok "):
        raise ConnectionError(said)
    return end

def ready():
    print("ready", flush=True)

def begun(count):
    # So many recordings that have begun; what is sent to them waits for nothing.
    ends = [recording() for _ in range(count)]
    for end in ends:
        end.send(BEGUN)
        end.setblocking(False)
    return ends

def send_frames(end, kind):
    # Many empty ones, as far as they are taken.
    with contextlib.suppress(BlockingIOError):
        end.send(head(kind, 0, 0) * 4000)
"""
FLOODS = {
    "digests": """
ends = begun(200)
ready()
while True:
    for end in ends:
        send_frames(end, DIGEST)
        with contextlib.suppress(BlockingIOError):
            while end.recv(1 << 16):
                pass
""",
    "empty frames": """
ends = begun(200)
ready()
while True:
    for end in ends:
        send_frames(end, OUTPUT)
""",
    "half frames": """
ends = [recording() for _ in range(200)]
for end in ends:
    end.settimeout(10)
    with contextlib.suppress(OSError):
        end.sendall(BEGUN + head(OUTPUT, LARGEST, 0) + b"x" * (LARGEST - 1))
with contextlib.suppress(OSError):
    for end in ends[:100]:
        end.sendall(b"x" + head(BEGIN, 1 << 14, 0) + b"y" * 16000)
ready()
sys.stdin.read()
""",
    "connections": """
ready()
ends = []
while True:
    with contextlib.suppress(OSError):
        ends.append(connection())
    if len(ends) >= 300:
        ends.clear()
""",
    "ends": """
ready()
while True:
    with contextlib.suppress(OSError):
        ends = [recording() for _ in range(50)]
        for end in ends:
            end.send(BEGUN + head(OUTPUT, 1 << 16, 0) + b"z" * (1 << 16))
            end.shutdown(socket.SHUT_WR)
""",
}
TRY = "try:\n    recording()\nexcept OSError as error:\n    print(error)\n"
EMPTY = """
made = 0
try:
    while True:
        end = recording()
        end.send(BEGUN + head(OUTPUT, 1, 0) + b"x")
        end.shutdown(socket.SHUT_WR)
        while said := end.recv(4096):
            if said.startswith(b"error "):
                raise ConnectionError(said)
        made += 1
except OSError as error:
    print(made, error)
"""
NULS = """
end = recording()
end.send(BEGUN)
sent = 0
try:
    while True:
        end.sendall(head(OUTPUT, 1 << 16, 0) + bytes(1 << 16))
        sent += 1 << 16
except OSError:
    print(sent, end.recv(4096).decode())
"""


@contextlib.contextmanager
def flood(user: User, program: str) -> Iterator[subprocess.Popen[str]]:
    """``program`` as the user, outside of any container, for the length of a ``with`` block."""
    process = subprocess.Popen(
        [sys.executable, "-c", _FLOOD + program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        cwd="/",
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answer(user: User, program: str) -> str:
    """What ``program`` prints, run as the user to its end."""
    with flood(user, program) as process:
        assert process.stdout
        return process.stdout.read()


def assert_recorded(user: User, service: Collecting) -> None:
    """A whole session of ``user``, with something to record all along, is recorded to its end."""
    before = service.files(user.name)
    with outer(user, "-c", "for i in 1 2 3 4 5; do seq 2000; sleep 0.3; done; exit 3") as session:
        for _ in range(5):
            session.expect(b"2000\r\n")
        assert session.ended() == 3, session.shown
    (path,) = sorted({*service.files(user.name)} - {*before})
    with open(path, encoding="utf-8") as file:
        events = [json.loads(line) for line in file.readlines()[1:]]
    shown = "".join(data for _, code, data in events if code == "o")
    assert shown == "".join(f"{number}\r\n" for number in range(1, 2001)) * 5
    assert events[-1][1:] == ["x", "3"]


def most_memory_kib(service: Collecting) -> int:
    """The most that the collector has had in memory."""
    assert service.process
    with open(f"/proc/{service.process.pid}/status", encoding="utf-8") as file:
        return int(re.findall(r"VmHWM:\s+(\d+)", file.read())[0])


@pytest.fixture
def collector() -> Iterator[Collecting]:
    with recordings_directory() as directory, collecting(directory) as service:
        yield service


@contextlib.contextmanager
def small(options: str) -> Iterator[Collecting]:
    """A collector on a file system of its own."""
    with recordings_directory() as directory:
        run(["mount", "-t", "tmpfs", "-o", options, "small", directory]).ok()
        try:
            with collecting(directory) as service:
                yield service
        finally:
            run(["umount", directory]).ok()


@pytest.mark.parametrize("kind", sorted(FLOODS))
def test_others_are_recorded_during_a_flood(make_user: MakeUser, collector: Collecting, kind: str) -> None:
    attacker, user = make_user(POLICY), make_user(POLICY)
    with flood(attacker, FLOODS[kind]) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert_recorded(user, collector)
        assert process.poll() is None, "the flood goes on"
    assert most_memory_kib(collector) < MEMORY_KIB


def test_who_is_not_recorded_is_turned_away(make_user: MakeUser, collector: Collecting) -> None:
    """Nobody's policy, an ordinary shell: such a uid gets nothing, whatever it tries, and stops nobody."""
    outsider, user = make_user(None, "/bin/sh"), make_user(POLICY)
    said = answer(outsider, TRY)
    assert f"there is no policy for {outsider.name}" in said
    assert not os.path.exists(f"{collector.directory}/{outsider.name}")
    with flood(outsider, FLOODS["connections"]) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert_recorded(user, collector)
        assert process.poll() is None


def test_who_is_admitted_but_keeps_a_shell_is_turned_away(make_user: MakeUser, collector: Collecting) -> None:
    """A policy that records nobody is no right to fill the disk."""
    user = make_user("image: host\n", "/bin/sh")
    said = answer(user, TRY)
    assert f"no policy has sessions of {user.name} recorded" in said
    assert os.listdir(collector.directory) == []


def test_a_full_queue_is_waited_for(make_user: MakeUser) -> None:
    """While nobody takes connections, a login waits for its place; it does not fail at once."""
    user = make_user(POLICY)
    with recordings_directory() as directory, contextlib.ExitStack() as stack:
        service = stack.enter_context(collecting(directory, backlog=1, activate=False))
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.connect(SOCKET)
        session = stack.enter_context(outer(user, "-c", "echo in; exit 4"))
        until(lambda: _is_connecting(session.process.pid), "the login waits for a place")
        service.activate()
        session.expect(b"in")
        assert session.ended() == 4


def _is_connecting(pid: int) -> bool:
    with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
        return "unix_wait_for_peer" in file.read()


def test_empty_recordings_use_up_nobody_elses_files(make_user: MakeUser) -> None:
    attacker, user = make_user(POLICY), make_user(POLICY)
    with small("size=64m,nr_inodes=400") as service:
        made, said = answer(attacker, EMPTY).split(" ", 1)
        assert f"the recordings of {attacker.name} take {made} files" in said
        assert int(made) == len(service.files(attacker.name))
        room = os.statvfs(service.directory)
        assert room.f_favail >= 100
        assert_recorded(user, service)


def test_nuls_fill_nobody_elses_disk(make_user: MakeUser) -> None:
    """Six bytes each in JSON: what counts is what is written, not what was sent."""
    attacker, user = make_user(POLICY), make_user(POLICY)
    with small("size=48m") as service:
        sent, said = answer(attacker, NULS).split(" ", 1)
        assert f"the recordings of {attacker.name} take " in said
        assert int(sent) < 8 << 20
        written = sum(os.stat(path).st_size for path in service.files(attacker.name))
        room = os.statvfs(service.directory)
        assert written < room.f_bavail * room.f_frsize + (4 << 20), "as much is left for others"
        assert_recorded(user, service)
        # His own are over until somebody removes some of them; then they go on.
        assert "take " in answer(attacker, TRY)


def test_what_was_there_before_counts(make_user: MakeUser) -> None:
    """The collector ends when it is idle: the next one knows what it finds."""
    attacker = make_user(POLICY)
    with small("size=16m") as service:
        place = f"{service.directory}/{attacker.name}"
        os.mkdir(place)
        with open(f"{place}/old.cast", "wb") as file:
            file.write(bytes(9 << 20))
        said = answer(attacker, TRY)
        assert f"the recordings of {attacker.name} take 9.0 MiB" in said

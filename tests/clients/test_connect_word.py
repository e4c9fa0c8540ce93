"""``ssh2container-connect``: standard input and output joined to a place inside, as for a ProxyCommand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from support.client import Client
from support.data import noise
from support.host import Done, processes, run, until
from support.inside import CTL
from support.login import login, start
from support.sshd import Server
from support.users import MakeUser, User, Users

POLICY = "image: host\nallow_forwarding: true\ncontainer_per: user\nlinger: 1h\nstop_grace_period: 1s\n"
WORD = "ssh2container-connect"
SERVE = r"""exec python3 -c '
import os, socket, sys, threading
def serve(place):
    if isinstance(place, str):
        s = socket.socket(socket.AF_UNIX)
        s.bind(place)
    else:
        s = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET)
        s.bind(place)
    s.listen()
    def answer():
        while 1:
            end, _ = s.accept()
            threading.Thread(target=talk, args=(end,)).start()
    threading.Thread(target=answer).start()
def talk(end):
    first = end.recv(4)
    if first == b"last":
        end.sendall(b"bye")
        end.shutdown(socket.SHUT_WR)
        with open("/tmp/told", "wb") as file:
            while part := end.recv(65536):
                file.write(part)
        os.rename("/tmp/told", "/tmp/told-all")
    elif first == b"gone":
        end.close()
    else:
        data = first
        while part := end.recv(65536):
            data += part
        end.sendall(data[::-1])
    end.close()
serve(("127.0.0.1", 6001)); serve(("::1", 6002)); serve("/tmp/served")
print("up", flush=True)
'"""
"""On all three kinds of places; what it is told first decides what it does."""


@pytest.fixture(scope="module")
def served(users: Users) -> Iterator[User]:
    """A user in whose container a server listens."""
    user = users.make(POLICY)
    server = start(user, "-c", SERVE)
    assert server.stdout
    assert server.stdout.readline() == b"up\n"
    yield user
    run([CTL, "kill", "--user", user.name, "--grace", "1"])
    server.communicate()
    until(lambda: not processes(user.uid), "the container is gone")
    users.remove(user)


def connected(user: User, place: str, stdin: bytes) -> Done:
    return login(user, "-c", f"{WORD} {place}", stdin=stdin)


@pytest.mark.parametrize(
    "place", ["6001", "6002", "127.0.0.1:6001", "localhost:6001", "[::1]:6002", "/tmp/served"]
)
def test_a_question_and_its_answer(served: User, place: str) -> None:
    """The end of what we say is passed on, and all of the answer arrives."""
    data = noise(3_000_000, seed=1)
    done = connected(served, place, data).ok()
    assert done.out == data[::-1]


def test_the_other_side_ends_first(served: User) -> None:
    """Its end is ours to read at once, and what we say after it still arrives."""
    session = start(served, "-c", f"{WORD} /tmp/served")
    assert session.stdin
    assert session.stdout
    session.stdin.write(b"last")
    session.stdin.flush()
    assert session.stdout.read() == b"bye"
    session.stdin.write(b"x" * 100_000)
    session.stdin.close()
    assert session.wait() == 0
    told = "until [ -e /tmp/told-all ]; do :; done; wc -c </tmp/told-all"
    assert login(served, "-c", told).ok().text.strip() == "100000"


def test_a_place_that_hangs_up(served: User) -> None:
    """A ProxyCommand ends with its connection, though nobody has closed its input."""
    session = start(served, "-c", f"{WORD} /tmp/served")
    assert session.stdin
    assert session.stdout
    session.stdin.write(b"gone")
    session.stdin.flush()
    assert session.stdout.read() == b""
    assert session.wait() == 0


@pytest.mark.parametrize(
    ("place", "status", "says"),
    [
        ("1", 1, "cannot connect to 1: Connection refused"),
        ("192.0.2.1:80", 1, "unreachable"),
        ("nowhere.invalid:80", 1, "cannot connect to nowhere.invalid:80"),
        ("/tmp/missing", 1, "No such file or directory"),
        ("/etc/passwd", 1, "Permission denied"),
        ("/" + "x" * 200, 1, "too long"),
        ("0", 2, "usage"),
        ("65536", 2, "usage"),
        ("::1:80", 2, "usage"),
        ("host:", 2, "usage"),
        (":80", 2, "usage"),
        ("relative/path", 2, "usage"),
        ("a" * 300 + ":80", 2, "usage"),
    ],
)
def test_what_cannot_be_reached_is_said(served: User, place: str, status: int, says: str) -> None:
    done = connected(served, place, b"")
    assert (done.status, done.out) == (status, b"")
    assert says in done.errors


def test_nothing_of_the_host_is_reached(served: User, exposing_sshd: Server) -> None:
    """Neither a port of its loopback nor a socket of its file tree."""
    assert "refused" in connected(served, str(exposing_sshd.port), b"").errors
    assert "No such file" in connected(served, "/run/systemd/journal/socket", b"").errors


def test_an_ssh_over_it(exposing_sshd: Server, served: User) -> None:
    """As plain ProxyCommand: an sshd that a user runs inside on a port of their own."""
    client = exposing_sshd.client(served)
    words = client.command("-o", "ExitOnForwardFailure=yes", "box", f"{WORD} 6001")
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.communicate(b"over ssh")[0] == b"hss revo"
    assert process.returncode == 0


def test_a_client_that_goes_away_leaves_nothing(exposing_sshd: Server, make_user: MakeUser) -> None:
    user = make_user("image: host\nallow_forwarding: true\n")
    client: Client = exposing_sshd.client(user)
    process = client.start("box", f"{WORD} 1")
    process.communicate()
    until(lambda: not processes(user.uid), "nothing is left")
    assert not os.path.exists(f"/proc/{process.pid}")

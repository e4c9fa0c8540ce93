"""Everything that ssh forwards, and every program on top of ssh, through the sshd inside the container."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.client import ENVIRONMENT, Client
from support.host import processes, run, until
from support.inside import CTL, Inside
from support.material import busybox_tree
from support.sshd import Server, free_port
from support.users import MakeUser, User, Users

SHARED = "image: host\nallow_forwarding: true\ncontainer_per: user\nlinger: 1h\nstop_grace_period: 1s\n"
SERVE = (
    "exec python3 -c 'import socket,sys;p=sys.argv[1];"
    's=socket.create_server(("127.0.0.1",int(p))) if p.isdigit() else socket.socket(socket.AF_UNIX);'
    'p.isdigit() or (s.bind(p),s.listen());print("up",flush=True)\n'
    'while 1:\n c,_=s.accept();d=b""\n while x:=c.recv(99):d+=x\n c.sendall(d.upper());c.close()\' '
)
"""Says what it was told, in capitals, once the other side has ended its own."""


@pytest.fixture(scope="module")
def lingerer(users: Users) -> Iterator[User]:
    """A user whose logins share one container for all tests here."""
    user = users.make(SHARED)
    yield user
    run([CTL, "kill", "--user", user.name, "--grace", "3"])
    until(lambda: not processes(user.uid), "the container is gone")
    users.remove(user)


@pytest.fixture
def inside(exposing_sshd: Server, lingerer: User) -> Inside:
    return Inside(exposing_sshd.client(lingerer))


@contextmanager
def started(client: Client, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh whose program has said "up"."""
    process = client.start("-o", "ExitOnForwardFailure=yes", *arguments)
    assert process.stdout
    try:
        assert process.stdout.readline() == b"up\n", process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def asked(end: socket.socket, text: bytes) -> bytes:
    """The answer to ``text``, which is all that we have to say."""
    with end:
        end.sendall(text)
        end.shutdown(socket.SHUT_WR)
        answer = b""
        while part := end.recv(99):
            answer += part
        return answer


def to(place: int | str) -> socket.socket:
    if isinstance(place, int):
        return socket.create_connection(("127.0.0.1", place))
    end = socket.socket(socket.AF_UNIX)
    end.connect(place)
    return end


def by_socks(proxy: int, port: int) -> socket.socket:
    """A connection through a SOCKS proxy, as browsers and editors make it (RFC 1928)."""
    end = to(proxy)
    end.sendall(b"\5\1\0")
    assert end.recv(2) == b"\5\0"
    end.sendall(b"\5\1\0\3\x09localhost" + port.to_bytes(2, "big"))
    if end.recv(10)[:2] != b"\5\0":
        end.close()
        raise ConnectionError("the proxy refuses")
    return end


def test_ports_and_sockets_of_the_container_are_brought_out(inside: Inside, tmp_path: Path) -> None:
    """-L of both kinds, -D as a browser uses it, and -W."""
    with started(inside, "box", SERVE + "5001"), started(inside, "box", SERVE + "/tmp/served"):
        port, dynamic, local = free_port(), free_port(), f"{tmp_path}/local"
        forwarded = ("-L", f"{port}:127.0.0.1:5001", "-L", f"{local}:/tmp/served", "-D", str(dynamic))
        with started(inside, *forwarded, "box", "echo up; cat"):
            assert asked(to(port), b"port") == b"PORT"
            assert asked(to(local), b"socket") == b"SOCKET"
            assert asked(by_socks(dynamic, 5001), b"browser") == b"BROWSER"
            with pytest.raises(ConnectionError):
                by_socks(dynamic, 5002)
        assert inside.ssh("-W", "127.0.0.1:5001", "box", stdin=b"standard").ok().out == b"STANDARD"


def test_ports_and_sockets_of_the_client_are_brought_in(inside: Inside, tmp_path: Path) -> None:
    """-R of both kinds listens in the container, and nobody sees the port on the host."""
    ours = f"{tmp_path}/ours"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(ours)
        listening.listen()

        def answer() -> None:
            for _ in range(2):
                end, _ = listening.accept()
                with end:
                    end.sendall(end.recv(99) + b" of the client")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with started(inside, "-R", f"5003:{ours}", "-R", f"/tmp/brought:{ours}", "box", "echo up; cat"):
            with pytest.raises(ConnectionRefusedError):
                to(5003)
            connect = "import socket,sys;s=socket.socket({});s.connect({});s.send(b'word');print(s.recv(99))"
            for family, place in (
                ("socket.AF_INET", "('127.0.0.1',5003)"),
                ("socket.AF_UNIX", "'/tmp/brought'"),
            ):
                done = inside.box(f'python3 -c "{connect.format(family, place)}"').ok()
                assert done.text == "b'word of the client'\n"
        thread.join()


def test_the_agent_of_the_client_signs_inside(inside: Inside, tmp_path: Path) -> None:
    place = f"{tmp_path}/agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    try:
        until(lambda: os.path.exists(place), "the agent listens")
        key = f"{tmp_path}/key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of-the-client", "-f", key]).ok()
        run(["ssh-add", key], env={**ENVIRONMENT, "SSH_AUTH_SOCK": place}).ok()
        done = inside.ssh("-A", "-o", f"IdentityAgent={place}", "box", "ssh-add -L; echo $SSH_AUTH_SOCK").ok()
        assert "of-the-client" in done.text
        assert not os.path.exists(done.text.split()[-1]), "the socket is in the container"
    finally:
        agent.terminate()
        agent.wait()


def test_files_git_and_tmux(inside: Inside, tmp_path: Path) -> None:
    """What is built on ssh meets in the one container, without an option but the block's."""
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(os.urandom(300_000))
    inside.scp(str(sent), "box:/tmp/by-scp").ok()
    inside.scp("-O", str(sent), "box:/tmp/by-old-scp").ok()
    inside.rsync(str(sent), "box:/tmp/by-rsync").ok()
    inside.sftp(f"put {sent} /tmp/by-sftp", "chmod 600 /tmp/by-sftp").ok()
    inside.box("cd /tmp && cmp by-scp by-rsync && cmp by-sftp by-old-scp").ok()
    inside.scp("box:/tmp/by-sftp", str(back)).ok()
    assert back.read_bytes() == sent.read_bytes()
    inside.box("git init -q --bare /tmp/work.git").ok()
    environment = {**ENVIRONMENT, "GIT_SSH_COMMAND": inside.remote_shell()}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    for words in (
        ["init", "-q"],
        ["commit", "-q", "--allow-empty", "-m", "one"],
        ["push", "-q", "box:/tmp/work.git", "HEAD:refs/heads/main"],
    ):
        run([*git, *words], env=environment).ok()
    assert inside.box("git -C /tmp/work.git log --format=%s main").ok().text == "one\n"
    with inside.terminal("-t", "box", "tmux new-session -s work") as first:
        first.expect(r"\$ ")
        first.sendline("echo before-$((40 + 2))")
        first.expect("before-42")
    with inside.terminal("-t", "box", "tmux attach -t work") as second:
        second.expect("before-42")
        second.sendline("exit")


def test_a_jump_ends_in_the_container(inside: Inside, exposing_sshd: Server) -> None:
    """-J box leads on from inside: this container has no network, so it can lead nowhere but to itself."""
    done = inside.ssh("-J", "box", "-p", str(exposing_sshd.port), "127.0.0.1", "true")
    assert done.status == 255
    assert "stdio forwarding failed" in done.errors
    assert f"port {exposing_sshd.port}" not in exposing_sshd.log().splitlines()[-1]


def test_one_connection_for_many_sessions(inside: Inside) -> None:
    """ControlMaster, as the block suggests: a session of ours, and any number in it."""
    with inside.master() as shared:
        before = listed(inside.user)
        namespaces = {shared.box("readlink /proc/self/ns/pid").ok().text for _ in range(3)}
        assert len(namespaces) == 1
        assert listed(inside.user) == before == ["sshd"]


def test_a_container_of_one_connection(exposing_sshd: Server, make_user: MakeUser, tmp_path: Path) -> None:
    """What one connection outside starts, and the sshd inside that goes through it, are in one container."""
    user = make_user("image: host\nallow_forwarding: true\ncontainer_per: connection\n")
    which, port, ours = "readlink /proc/self/ns/pid", free_port(), f"{tmp_path}/s"
    with exposing_sshd.client(user).master() as outside:
        client = Inside(outside)
        assert outside.box(which).ok().text == client.box(which).ok().text
        with (
            started(outside, "box", f"{SERVE}{port}"),
            started(client, "-L", f"{ours}:127.0.0.1:{port}", "box", "echo up; cat"),
        ):
            assert asked(to(ours), b"from inside") == b"FROM INSIDE"
        client.box("nohup sleep 1000 </dev/null >/dev/null 2>&1 &").ok()
        assert outside.box("pgrep -x sleep").ok().text
    until(lambda: not processes(user.uid), "the container ends with its connection")
    # Without a shared connection, each has one of its own.
    alone = Inside(exposing_sshd.client(user))
    alone.box("touch /tmp/here").ok()
    assert alone.box("test -e /tmp/here").status == 1
    until(lambda: not processes(user.uid), "the containers end with their connections")


def listed(user: User) -> list[str]:
    """The kinds of the user's sessions, as ``sessions`` shows them."""
    import json

    report = json.loads(run([CTL, "sessions", "--json"]).ok().text)
    return [one["kind"] for one in report["sessions"] if one["user"] == user.name]


COOKIE = """#!/bin/sh
while read -r verb display kind cookie; do [ "$verb" = add ] && echo "$display $cookie" >/tmp/cookie; done
exit 0
"""
"""In place of xauth(1), which no image here has."""
WINDOW = """
read -r display cookie </tmp/cookie; display=${DISPLAY#*:}; port=$((6000 + ${display%.*}))
hex=$(echo $cookie | sed 's/../\\\\x&/g')
{ printf 'l\\0\\013\\0\\0\\0\\022\\0\\020\\0\\0\\0MIT-MAGIC-COOKIE-1\\0\\0'; printf "$hex"; sleep 1000; } |
    nc 127.0.0.1 $port
"""
"""What an X client says first (X Window System Protocol, chapter 8): the cookie that it was given."""


def test_windows_of_the_container(
    exposing_sshd: Server, make_user: MakeUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-Y: a program inside reaches the display of the client, by the cookie that ssh made for it."""
    tree = busybox_tree(f"{tmp_path}/tree")
    os.makedirs(f"{tree}/usr/bin", exist_ok=True)
    xauth = Path(tree, "usr/bin/xauth")
    xauth.write_text(COOKIE)
    xauth.chmod(0o755)
    name = f"s2c-test-{os.getpid()}/windows"
    run([CTL, "image", "import", name, tree]).ok()
    try:
        user = make_user(f"image: {name}\nshell: [/bin/sh]\nallow_forwarding: true\n")
        client = Inside(exposing_sshd.client(user))
        with socket.create_server(("127.0.0.1", 6099)) as display:
            monkeypatch.setitem(ENVIRONMENT, "DISPLAY", "127.0.0.1:99")
            process = client.start("-Y", "box", WINDOW)
            try:
                end, _ = display.accept()
                with end:
                    assert end.recv(99)[:2] == b"l\0"
            finally:
                process.kill()
                process.communicate()
    finally:
        run([CTL, "image", "rm", "--force", name])

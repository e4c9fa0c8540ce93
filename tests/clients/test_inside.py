"""What a client forwards lives in the container: ssh to the sshd inside, by the block of client-config."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from support.client import Client
from support.host import run, until
from support.inside import CTL, Inside
from support.login import login
from support.material import busybox_tree
from support.sshd import Server, free_port
from support.users import MakeUser, User

POLICY = "image: host\nallow_forwarding: true\n"
ECHO = (
    "import os,socket,sys;s=socket.create_server(('127.0.0.1',int(sys.argv[1])));"
    "print('up',flush=True);c,_=s.accept();c.sendall(c.recv(99).upper())"
)


@pytest.fixture
def forwarder(make_user: MakeUser) -> User:
    return make_user(POLICY)


@pytest.fixture
def inside(exposing_sshd: Server, forwarder: User) -> Inside:
    return Inside(exposing_sshd.client(forwarder))


@contextmanager
def tunnel(client: Client, *options: str, remote: str = "echo up; cat") -> Iterator[subprocess.Popen[bytes]]:
    """An ssh with forwardings, which are there once it has said something."""
    process = client.start("-o", "ExitOnForwardFailure=yes", *options, "box", remote)
    assert process.stdout
    try:
        assert process.stdout.readline() == b"up\n", process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def asked(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as end:
        end.sendall(text)
        return end.recv(99)


def echoed(place: str) -> bytes:
    """What comes back over a socket from a server that says what it is told, b"" while there is none."""
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(place)
            end.sendall(b"ping")
            return end.recv(9)
        except ConnectionError:
            return b""


def test_a_command_a_terminal_and_a_status(inside: Inside, forwarder: User) -> None:
    done = inside.box("id -un; readlink /proc/self/ns/pid; exit 7")
    name, namespace = done.text.split()
    assert (done.status, name, done.err) == (7, forwarder.name, b"")
    assert namespace != run(["readlink", "/proc/self/ns/pid"]).text.strip()
    with inside.terminal("-tt", "box") as terminal:
        terminal.expect(r"\$ ")
        terminal.sendline("tty; hostname")
        terminal.expect("/dev/pts/0")
        terminal.expect("container-")


def test_local_forwarding_reaches_the_container_and_not_the_host(inside: Inside) -> None:
    """The same port on the host's loopback is somebody else's."""
    port, ours = free_port(), free_port()
    with socket.create_server(("127.0.0.1", port)) as of_host:
        of_host.settimeout(0)
        with tunnel(inside, "-L", f"{ours}:127.0.0.1:{port}", remote=f'exec python3 -c "{ECHO}" {port}'):
            assert asked(ours, b"inside") == b"INSIDE"
        with pytest.raises(BlockingIOError):
            of_host.accept()


def test_forwarding_stays_closed_outside(inside: Inside) -> None:
    done = inside.outside.ssh("-o", "ExitOnForwardFailure=yes", "-W", "127.0.0.1:22", "box")
    assert done.status == 255


def test_it_is_refused_without_the_key(exposing_sshd: Server, make_user: MakeUser) -> None:
    user = make_user()
    client = exposing_sshd.client(user)
    for request in ("ssh2container-sshd", "ssh2container-connect 22"):
        done = client.box(request)
        assert (done.status, done.out) == (126, b"")
        assert b"allow_forwarding is false" in done.err
        assert b"allow_forwarding: true" in done.err


def test_a_connection_to_a_place_inside(forwarder: User) -> None:
    """One of the container's own; nothing of the host's loopback."""
    done = login(forwarder, "-c", "ssh2container-connect 1")
    assert done.status == 1
    assert b"Connection refused" in done.err


IMAGES = {
    "single": "user: self\n",
    "single as root": "user: root\nuserns_mode: single\n",
    "range": "user: self\nuserns_mode: range\n",
    "range as root": "user: root\nuserns_mode: range\n",
    "own_range": "user: self\nuserns_mode: own_range\n",
    "own_range as root, of one connection": "user: root\nuserns_mode: own_range\ncontainer_per: connection\n",
}
"""Whom it serves: one id, root without rights, one or root of many, of a range of their own too."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A busybox with a range of ids, and nothing of OpenSSH."""
    tree = busybox_tree(str(tmp_path_factory.mktemp("image") / "tree"))
    name = f"s2c-test-{os.getpid()}/inside"
    run([CTL, "image", "import", "--range", name, tree]).ok()
    yield name
    run([CTL, "image", "rm", "--force", name]).ok()


@pytest.mark.parametrize("how", IMAGES)
def test_an_image_without_an_sshd(
    image: str, how: str, exposing_sshd: Server, make_user: MakeUser, tmp_path: Path
) -> None:
    user = make_user(f"{POLICY}image: {image}\nshell: [/bin/sh]\n{IMAGES[how]}".replace("image: host\n", ""))
    run([CTL, "enable", user.name]).ok()
    try:
        client = Inside(exposing_sshd.client(user))
        done = client.box("id -u; echo $HOME").ok()
        uid, home = done.text.split()
        assert (uid == "0") == ("root" in how)
        assert done.err == b""
        tools = "/run/ssh2container/tools"
        for word in (f"rm {tools}/lib/inside-sshd.so", f"touch {tools}/new", f"mount -o remount,rw {tools}"):
            assert client.box(word).status != 0, "nobody inside changes what the next client gets"
        sent = tmp_path / "sent"
        sent.write_text("text")
        client.sftp(f"put {sent} {home}/new", f"get {home}/new {tmp_path}/back").ok()
        assert (tmp_path / "back").read_text() == "text"
        with client.terminal("-tt", "box") as terminal:
            terminal.expect("[#$] ")
            terminal.sendline("tty; exit 3")
            terminal.expect("/dev/pts/")
            terminal.expect(pexpect.EOF)
        place = f"{tmp_path}/s"
        with tunnel(client, "-L", f"{place}:127.0.0.1:4444", remote="echo up; nc -ll -p 4444 -e cat"):
            until(lambda: echoed(place) == b"ping", "a server of the container answers")
    finally:
        run([CTL, "disable", user.name]).ok()

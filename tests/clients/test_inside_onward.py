"""A contained bastion: from the container onward, as far as its network leads and no further."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support import internet as of
from support.host import until
from support.inside import Inside
from support.internet import Internet, internet
from support.outward import on_the_host_of
from support.sshd import SUBSYSTEM, Server
from support.users import PLAIN, MakeUser, User

EXPOSING = SUBSYSTEM + "ExposeAuthInfo yes\n"
BASTION = f"""
image: host
allow_forwarding: true
access: {{interactive: false, commands: none, sftp: false}}
network_mode: private
egress: ["{of.PUBLIC4}:22/tcp", "{of.PUBLIC4}:2222/tcp", "[{of.PUBLIC6}]:22", "www.example:443/tcp"]
"""
TARGET = """\
Port 2222
ListenAddress {address}
HostKey {directory}/host_key
PidFile none
AuthorizedKeysFile {directory}/user_key.pub
UsePAM yes
StrictModes no
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    with internet(str(tmp_path_factory.mktemp("internet"))) as made, on_the_host_of(made):
        yield made


@pytest.fixture
def bastion(net: Internet, make_user: MakeUser, make_sshd: Callable[..., Server]) -> Inside:
    assert net.host, "the sshd listens on its loopback"
    return Inside(make_sshd(EXPOSING).client(make_user(BASTION)))


def led(client: Inside, place: str) -> str:
    """Where -W leads: servers say at once which of their addresses was reached."""
    return client.ssh("-W", place, "box").text.partition(" from")[0]


def test_the_listed_hosts_and_no_other(bastion: Inside) -> None:
    assert led(bastion, f"{of.PUBLIC4}:22") == f"reached {of.PUBLIC4} 22"
    assert led(bastion, f"[{of.PUBLIC6}]:22") == f"reached {of.PUBLIC6} 22"
    assert led(bastion, "www.example:443") == f"reached {of.OTHER4} 443"
    for place in (
        f"{of.PUBLIC4}:443",
        f"{of.OTHER4}:22",
        f"{of.METADATA4}:80",
        f"{of.HOST4}:22",
        f"{of.HOST_PUBLIC4}:22",
        "127.0.0.1:22",
        f"127.0.0.1:{bastion.port}",
    ):
        assert led(bastion, place) == "", place
    assert bastion.box("true").status == 255, "nothing runs on the bastion itself"


def test_the_word_reaches_the_same(bastion: Inside) -> None:
    done = bastion.outside.box(f"ssh2container-connect {of.PUBLIC4}:22")
    assert done.text.startswith(f"reached {of.PUBLIC4} 22")
    done = bastion.outside.box(f"ssh2container-connect {of.OTHER4}:22")
    assert (done.status, done.out) == (1, b"")


@contextmanager
def target(net: Internet, directory: str, server: Server) -> Iterator[None]:
    """An sshd out there that knows the key of the client."""
    os.chmod(os.path.dirname(directory), 0o755)  # sshd reads the keys as the user
    shutil.copytree(server.directory, directory)
    with open(f"{directory}/target", "w", encoding="utf-8") as file:
        file.write(TARGET.format(address=of.PUBLIC4, directory=directory))
    words = [*net.prefix(net.internet), "/usr/sbin/sshd", "-D", "-e", "-f", f"{directory}/target"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE)
    try:
        assert process.stderr
        until(lambda: b"listening" in process.stderr.readline(), "the target listens")  # type: ignore[union-attr]
        yield
    finally:
        process.terminate()
        process.communicate()


def test_a_jump_over_the_bastion(
    net: Internet,
    make_user: MakeUser,
    make_sshd: Callable[..., Server],
    server_directory: Callable[[], str],
) -> None:
    """-J, with the keys of the client and an end-to-end connection to the target."""
    server = make_sshd(EXPOSING)
    somebody: User = make_user(PLAIN, "/bin/bash")
    client = Inside(server.client(make_user(BASTION)))
    place = server_directory()
    with target(net, f"{place}/target", server):
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        options += ["-i", client.key, "-o", "IdentitiesOnly=yes"]
        done = client.ssh(
            *options,
            "-J",
            "box",
            "-p",
            "2222",
            f"{somebody.name}@{of.PUBLIC4}",
            "id -un; echo $SSH_CONNECTION",
        )
    name, connection = done.ok().text.splitlines()
    assert name == somebody.name
    assert connection.split()[2:] == [of.PUBLIC4, "2222"]
    shutil.rmtree(place)


def test_on_the_hosts_network(make_user: MakeUser, make_sshd: Callable[..., Server]) -> None:
    """network_mode: host leads to what the host reaches, its own loopback included."""
    client = Inside(
        make_sshd(EXPOSING).client(make_user("image: host\nallow_forwarding: true\nnetwork_mode: host\n"))
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        process = client.start("-W", f"127.0.0.1:{port}", "box")
        end, _ = listening.accept()
        with end:
            end.sendall(b"of the host")
        assert process.communicate()[0] == b"of the host"
    assert client.box("id -un").ok().text.strip() == client.user.name

"""Real clients that need a container to outlive a login: tmux, ansible, mosh, many sessions at once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

import pexpect
import pytest
from support.client import ENVIRONMENT, Client
from support.host import DEADLINE_SECONDS, processes, run, until
from support.outward import tun
from support.sshd import Server
from support.users import MakeUser, User

CTL = "ssh2containerctl"
LINGERING = "image: host\ncontainer_per: user\nlinger: 1h\nstop_grace_period: 1s\n"
NAMESPACE = "readlink /proc/self/ns/pid"


@pytest.fixture
def lingerer(make_user: MakeUser) -> Iterator[User]:
    user = make_user(LINGERING)
    yield user
    run([CTL, "kill", "--user", user.name, "--grace", "3"])
    until(lambda: not processes(user.uid), "the container is gone")


def test_every_client_meets_in_one_container(sshd: Server, lingerer: User, tmp_path: object) -> None:
    client = sshd.client(lingerer)
    with open(f"{tmp_path}/sent", "wb") as file:
        file.write(os.urandom(300_000))
    client.scp(f"{tmp_path}/sent", "box:/tmp/by-scp").ok()
    client.scp("-O", f"{tmp_path}/sent", "box:/tmp/by-old-scp").ok()
    client.rsync(f"{tmp_path}/sent", "box:/tmp/by-rsync").ok()
    client.sftp(f"put {tmp_path}/sent /tmp/by-sftp").ok()
    done = client.box("cd /tmp && cmp by-scp by-rsync && cmp by-sftp by-old-scp && ls").ok()
    assert done.text.split() == ["by-old-scp", "by-rsync", "by-scp", "by-sftp"]
    client.scp("box:/tmp/by-sftp", f"{tmp_path}/back").ok()
    run(["cmp", f"{tmp_path}/sent", f"{tmp_path}/back"]).ok()


def test_tmux_survives_a_lost_connection(sshd: Server, lingerer: User) -> None:
    client = sshd.client(lingerer)
    with client.terminal("-t", "box", "tmux new-session -s work") as first:
        first.expect(r"\$ ")
        first.sendline("echo before-$((40 + 2)); witness=kept")
        first.expect("before-42")
    # The terminal was closed, as when the connection is lost.
    with client.terminal("-t", "box", "tmux attach -t work") as second:
        second.expect("before-42")
        second.sendline("echo $witness-$((40 + 3))")
        second.expect("kept-43")
        second.sendline("exit")
        second.expect(pexpect.EOF)


def test_a_login_that_ends_leaves_its_background_jobs(sshd: Server, lingerer: User) -> None:
    client = sshd.client(lingerer)
    client.box("nohup sleep 4711 >/dev/null 2>&1 &").ok()
    assert "sleep 4711" in client.box("ps axo args").ok().text


def test_terminals_have_numbers_of_their_own(sshd: Server, lingerer: User) -> None:
    client = sshd.client(lingerer)
    seen = []
    with client.terminal() as first, client.terminal() as second:
        for terminal in (first, second):
            terminal.expect(r"\$ ")
            terminal.sendline('test "$(tty)" = "$SSH_TTY" && echo "on:$SSH_TTY:"')
            terminal.expect(r"on:(/dev/pts/\d+):")
            seen.append(str(terminal.match))
        for terminal in (first, second):
            terminal.sendline("exit")
            terminal.expect(pexpect.EOF)
    assert len(set(seen)) == 2


def test_the_sessions_of_a_connection_share(sshd: Server, make_user: MakeUser) -> None:
    guest = make_user("image: host\ncontainer_per: connection\n")
    client = sshd.client(guest)
    with client.master() as shared:
        first = shared.box(f"{NAMESPACE}; touch /tmp/kept").ok().text
        assert shared.box(f"{NAMESPACE}; ls /tmp").ok().text == first + "kept\n"
        shared.sftp("get /tmp/kept /dev/null").ok()
        assert client.box(NAMESPACE).ok().text != first
        assert len(processes(guest.uid)) > 0
    until(lambda: not processes(guest.uid), "the container ends with its connection")
    assert os.listdir(guest.runtime_directory) == []


def test_a_killed_connection_ends_its_container(sshd: Server, make_user: MakeUser) -> None:
    guest = make_user("image: host\ncontainer_per: connection\n")
    with sshd.client(guest).master() as shared:
        shared.box("(setsid sleep 1000 >/dev/null 2>&1 &)").ok()
        assert shared.connection
        shared.connection.kill()
        until(lambda: not processes(guest.uid), "the container ends with its connection")


@pytest.mark.parametrize("sharing", ["container_per: connection\n", "container_per: user\nlinger: 1h\n"])
def test_ansible_without_pipelining(
    sshd: Server, make_user: MakeUser, tmp_path: object, sharing: str
) -> None:
    """It copies each module with one session and runs it with the next."""
    if not shutil.which("ansible"):
        pytest.fail("ansible is missing: install ansible-core")
    guest = make_user("image: host\nstop_grace_period: 1s\n" + sharing)
    client = sshd.client(guest)
    control = tempfile.mkdtemp(prefix="c")  # a path of a socket may have 107 characters
    environment = {
        **ENVIRONMENT,
        "HOME": str(tmp_path),
        "ANSIBLE_PIPELINING": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_SSH_ARGS": f"-F {client.configuration} -o ControlMaster=auto -o ControlPersist=30 "
        f"-o ControlPath={control}/%C",
    }
    inventory = f"{tmp_path}/hosts"
    with open(inventory, "w", encoding="utf-8") as file:
        file.write(f"box ansible_python_interpreter=/usr/bin/python3 ansible_user={guest.name}\n")

    def ansible(*arguments: str) -> str:
        return run(["ansible", "box", "-i", inventory, *arguments], env=environment).ok().text

    try:
        assert "SUCCESS" in ansible("-m", "ping")
        assert "CHANGED" in ansible("-m", "copy", "-a", "content=hello dest=/tmp/it")
        assert "hello" in ansible("-m", "command", "-a", "cat /tmp/it")
    finally:
        run(["ssh", "-F", client.configuration, "-o", f"ControlPath={control}/%C", "-O", "exit", "box"])
        shutil.rmtree(control)
        run([CTL, "kill", "--user", guest.name, "--grace", "3"])
        until(lambda: not processes(guest.uid), "the container is gone")


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("network_mode: host\n", []),
        (
            'network_mode: private\nports: ["127.0.0.1:60007:60007/udp"]\n',
            ["-p", "60007", "--bind-server=any"],
        ),
    ],
    ids=["the host's", "private"],
)
def test_mosh_needs_a_container_that_lingers_and_a_port_of_the_hosts(
    sshd: Server, make_user: MakeUser, network: str, options: list[str]
) -> None:
    """mosh-server goes on after the login that started it; its UDP port has to be the host's."""
    with tun():
        guest = make_user(LINGERING + network)
        client = sshd.client(guest)
        child = pexpect.spawn(
            "mosh",
            [f"--ssh=ssh -F {client.configuration}", *options, "--experimental-remote-ip=remote", "box"],
            env={**ENVIRONMENT, "LC_ALL": "C.UTF-8"},
            timeout=DEADLINE_SECONDS,
            dimensions=(24, 80),
        )
        try:
            child.expect(r"\$ ")
            child.sendline("echo over-$((40 + 2))")
            child.expect("over-42")
            child.sendline("exit")
            child.expect(pexpect.EOF)
        finally:
            child.close(force=True)
            run([CTL, "kill", "--user", guest.name, "--grace", "3"])
            until(lambda: not processes(guest.uid), "the container is gone")


def test_mosh_fails_where_the_session_takes_its_server_along(client: Client) -> None:
    """The reason, documented in docs/sharing.md: with container_per: session nothing outlives the login."""
    done = client.box("mosh-server new -l LC_ALL=C.UTF-8 -s; pgrep -c mosh-server").ok()
    assert "MOSH CONNECT" in done.text
    until(lambda: not processes(client.user.uid), "the server ended with its session")

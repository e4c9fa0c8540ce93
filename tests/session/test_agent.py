"""The client's agent: the one socket that our own sshd made for this login, and nothing in its place."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import pytest
from support.client import Client
from support.host import Done, run, until
from support.login import inside
from support.sshd import SUBSYSTEM, Server
from support.syslog import Syslog
from support.users import MakeUser, User

POLICY = "image: host\nallow_agent_forwarding: true\n"
INSIDE = "/run/ssh2container/agent"


@pytest.fixture
def guest(make_user: MakeUser) -> User:
    return make_user(POLICY)


@pytest.fixture
def agent(sshd: Server) -> Iterator[str]:
    """A real ssh-agent that holds the test user's key; the value is its socket."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/agent"
        process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
        try:
            until(lambda: os.path.exists(path), "the agent listens")
            run(["ssh-add", "-q", f"{sshd.directory}/user_key"], env={"SSH_AUTH_SOCK": path}).ok()
            yield path
        finally:
            process.terminate()
            process.wait()


def forwarded(client: Client, agent: str, command: str, *options: str) -> Done:
    return client.ssh("-o", f"IdentityAgent={agent}", "-A", *options, "box", command)


def listening(path: str, owner: User | None = None) -> socket.socket:
    """A socket at ``path`` at which this process, the parent of the sessions of :func:`inside`, listens."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    os.chmod(path, 0o600)
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)
    return listener


@pytest.fixture
def place(guest: User) -> Iterator[str]:
    """A directory that the guest may enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chown(directory, guest.uid, guest.gid)
        yield directory


def test_the_agents_keys_are_listed_inside(sshd: Server, guest: User, agent: str) -> None:
    client = sshd.client(guest)
    done = forwarded(client, agent, "ssh-add -l; echo $SSH_AUTH_SOCK; ls -A /tmp").ok()
    assert "ED25519" in done.text
    assert done.text.splitlines()[-1] == INSIDE


def test_each_session_of_a_connection_has_the_agent(sshd: Server, guest: User, agent: str) -> None:
    client = sshd.client(guest)
    control = f"{os.path.dirname(agent)}/control"
    holder = client.start("-o", f"IdentityAgent={agent}", "-A", "-M", "-S", control, "-N", "box")
    try:
        until(lambda: os.path.exists(control), "the connection is up")
        for _ in range(2):
            assert "ED25519" in client.ssh("-A", "-S", control, "box", "ssh-add -l").ok().text
    finally:
        holder.kill()
        holder.communicate()


def test_git_pushes_through_the_agent(
    sshd: Server, make_user: MakeUser, agent: str, host_directory: Callable[[User], str]
) -> None:
    developer = make_user(POLICY + "network_mode: host\n")
    forge = make_user(None, shell="/bin/sh")  # noqa: S604 - the user's login shell
    sshd.client(forge)
    repository = f"{host_directory(forge)}/it.git"
    run(["git", "init", "-q", "--bare", repository], user=forge.uid, group=forge.gid, env={}).ok()
    push = (
        "git init -q it && cd it && git -c user.name=n -c user.email=e commit -q --allow-empty -m pushed && "
        "GIT_SSH_COMMAND='ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR' "
        f"git push -q ssh://{forge.name}@127.0.0.1:{sshd.port}{repository} HEAD:refs/heads/main"
    )
    forwarded(sshd.client(developer), agent, push).ok()
    log = run(["git", "log", "--format=%s", "main"], cwd=repository, user=forge.uid, env={"HOME": "/"})
    assert log.ok().text == "pushed\n"


def test_without_the_key_there_is_no_agent(sshd: Server, user: User, agent: str) -> None:
    done = forwarded(sshd.client(user), agent, f"echo [$SSH_AUTH_SOCK]; ls -A {INSIDE}")
    assert done.text == "[]\n"
    assert done.status != 0


def test_without_forwarding_there_is_no_agent(sshd: Server, guest: User) -> None:
    done = sshd.client(guest).box(f"echo [$SSH_AUTH_SOCK]; test -e {INSIDE}")
    assert (done.status, done.text) == (1, "[]\n")


def test_a_socket_that_the_client_names_itself_is_not_bound(
    make_sshd: Callable[..., Server], guest: User, place: str, syslog: Syslog
) -> None:
    """A broad AcceptEnv lets the client name any socket, say the user manager's bus."""
    server = make_sshd(SUBSYSTEM + "AcceptEnv *\n")
    path = f"{place}/bus"
    with listening(path, guest):
        done = server.client(guest).ssh("-o", f"SetEnv=SSH_AUTH_SOCK={path}", "box", f"test -e {INSIDE}")
    assert done.status == 1
    until(
        lambda: [record for record in syslog.of(guest.name) if "not the sshd of this session" in record],
        "a record that says why",
    )


def test_a_socket_of_our_parent_is_bound_and_of_nobody_else(guest: User, place: str) -> None:
    path = f"{place}/agent"
    look = f"test -S {INSIDE} && echo $SSH_AUTH_SOCK"
    with listening(path, guest):
        assert inside(guest, look, environment={"SSH_AUTH_SOCK": path}).ok().text == INSIDE + "\n"
    os.unlink(path)
    script = f"import socket, time; s = socket.socket(1); s.bind('{path}'); s.listen(); print(flush=True); "
    script += "time.sleep(99)"
    stranger = subprocess.Popen(
        ["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, user=guest.uid, group=guest.gid
    )
    try:
        assert stranger.stdout
        stranger.stdout.readline()
        assert inside(guest, look, environment={"SSH_AUTH_SOCK": path}).status == 1
    finally:
        stranger.kill()
        stranger.communicate()


@pytest.mark.parametrize("kind", ["foreign", "link", "file", "fifo", "directory", "missing", "long", "deaf"])
def test_what_is_no_agent_of_ours_is_left_out(guest: User, place: str, kind: str) -> None:
    path = f"{place}/agent"
    real = listening(f"{place}/real", None if kind == "foreign" else guest)
    if kind in ("foreign", "link"):
        os.symlink("real", path) if kind == "link" else os.rename(f"{place}/real", path)
    elif kind == "file":
        open(path, "w", encoding="ascii").close()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        os.mkdir(path)
    elif kind == "long":
        path += "x" * 200
    elif kind == "deaf":
        os.rename(f"{place}/real", path)
        real.close()
    done = inside(guest, f"echo [$SSH_AUTH_SOCK]; test -e {INSIDE}", environment={"SSH_AUTH_SOCK": path})
    real.close()
    assert (done.status, done.text) == (1, "[]\n")


def test_the_agent_cannot_be_replaced_inside(guest: User, place: str) -> None:
    path = f"{place}/agent"
    with listening(path, guest):
        done = inside(
            guest,
            f"rm -f {INSIDE}; mv {INSIDE} /tmp; chmod 777 {INSIDE}; :",
            environment={"SSH_AUTH_SOCK": path},
        )
        assert done.errors.count("\n") == 3
        assert os.lstat(path).st_mode & 0o777 == 0o600


def test_a_shared_container_has_no_agent(make_user: MakeUser) -> None:
    guest = make_user(POLICY + "container_per: user\n")
    done = inside(guest, "true")
    assert done.status == 126
    assert "allow_agent_forwarding" in done.errors


def test_the_drop_in_makes_the_exception(guest: User) -> None:
    text = run(["ssh2containerctl", "sshd-config"]).ok().text
    block = text.partition("AllowAgentForwarding yes")[0].rpartition("Match ")[2]
    assert guest.name in block

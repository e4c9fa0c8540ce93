"""Every way around a login shell that sshd offers: open on a careless server, closed by our drop-in alone."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
from support.client import ENVIRONMENT, Client
from support.host import DEADLINE_SECONDS, run, until
from support.sshd import SFTP_SERVER, Server, free_port
from support.users import PLAIN, SHELL, MakeUser, User

GROUP = "ssh2container"
CARELESS = """\
{include}
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
AllowAgentForwarding yes
X11Forwarding yes
XAuthLocation {directory}/xauth
PermitTunnel yes
GatewayPorts clientspecified
PermitUserRC yes
PermitUserEnvironment yes
AcceptEnv *
Subsystem sftp internal-sftp
"""
BANNER = b"this is the host's own network"


@pytest.fixture(params=["open", "closed"])
def closed(request: pytest.FixtureRequest) -> bool:
    """Whether the drop-in is in place."""
    value: bool = request.param == "closed"
    return value


@pytest.fixture
def marks(server_directory: Callable[[], str]) -> Iterator[str]:
    """A directory of the host in which everybody may write: what appears there was done outside."""
    directory = server_directory()
    os.chmod(directory, 0o777)
    with open(f"{directory}/xauth", "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nid -u >{directory}/xauth-ran\n")
    os.chmod(f"{directory}/xauth", 0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def server(marks: str, make_sshd: Callable[..., Server], checkout: str, *, closed: bool) -> Server:
    """A server that allows everything, with or without the drop-in before its own settings."""
    include = f"Include {checkout}/etc/sshd_config.d/10-ssh2container.conf" if closed else ""
    return make_sshd(CARELESS.format(include=include, directory=marks))


@pytest.fixture(params=[SHELL, "/usr/sbin/nologin"], ids=["enabled", "disabled"])
def victim(request: pytest.FixtureRequest, make_user: MakeUser) -> User:
    """A user of the login shell, and one from whom ``disable`` has taken it."""
    return make_user(PLAIN, request.param, (GROUP,))


@pytest.fixture
def route(server: Server, victim: User) -> Client:
    return server.client(victim)


@pytest.fixture
def contained(server: Server, make_user: MakeUser) -> Client:
    """A client of a user of the login shell, whose container gets every variable that sshd hands on."""
    return server.client(make_user(PLAIN + 'accept_env: ["*"]\n', groups=(GROUP,)))


class Service:
    """A service on the host that says its banner to whoever connects."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(BANNER)

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(DEADLINE_SECONDS)


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a service that only this host can reach."""
    service = Service(socket.create_server(("127.0.0.1", 0)))
    number: int = service.listener.getsockname()[1]
    yield number
    service.stop()


@pytest.fixture
def local_socket(marks: str) -> Iterator[str]:
    """The path of a service on a unix socket that the user may connect to."""
    listener = socket.socket(socket.AF_UNIX)
    path = f"{marks}/service"
    listener.bind(path)
    os.chmod(path, 0o777)
    listener.listen()
    service = Service(listener)
    yield path
    service.stop()


@contextlib.contextmanager
def forwarding(client: Client, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh that only forwards."""
    process = client.start("-N", "-o", "ExitOnForwardFailure=yes", *options, "box", stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()  # ssh misses a SIGTERM that comes just before it begins to wait
        process.communicate(timeout=DEADLINE_SECONDS)


def read_all(address: tuple[str, int] | str, before: bytes = b"") -> bytes:
    """What a service says; empty when nobody listens or the connection is closed."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(DEADLINE_SECONDS)
        try:
            connection.connect(address)
            connection.sendall(before)
            said = b""
            while data := connection.recv(4096):
                said += data
        except (ConnectionError, FileNotFoundError):
            return b""
        return said


def listens(address: tuple[str, int] | str) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        try:
            connection.connect(address)
        except (ConnectionError, FileNotFoundError):
            return False
        return True


def answered(process: subprocess.Popen[bytes], address: tuple[str, int] | str) -> bool:
    """Wait until ssh listens at ``address`` or has given up; tell which."""
    until(lambda: process.poll() is not None or listens(address), "ssh listens or ends")
    return process.poll() is None


def test_w_reaches_a_service_of_the_host(route: Client, port: int, *, closed: bool) -> None:
    said = route.ssh("-W", f"127.0.0.1:{port}", "box").out
    assert said == (b"" if closed else BANNER)


def test_l_reaches_a_service_of_the_host(route: Client, port: int, *, closed: bool) -> None:
    here = ("127.0.0.1", free_port())
    with forwarding(route, "-L", f"{here[1]}:127.0.0.1:{port}") as process:
        assert answered(process, here)
        assert read_all(here) == (b"" if closed else BANNER)


def test_l_reaches_a_unix_socket_of_the_host(route: Client, local_socket: str, *, closed: bool) -> None:
    here = ("127.0.0.1", free_port())
    with forwarding(route, "-L", f"{here[1]}:{local_socket}") as process:
        assert answered(process, here)
        assert read_all(here) == (b"" if closed else BANNER)


def test_d_reaches_a_service_of_the_host(route: Client, port: int, *, closed: bool) -> None:
    here = ("127.0.0.1", free_port())
    socks4 = b"\4\1" + port.to_bytes(2, "big") + bytes((127, 0, 0, 1)) + b"\0"
    with forwarding(route, "-D", str(here[1])) as process:
        assert answered(process, here)
        assert (BANNER in read_all(here, socks4)) is not closed


def test_r_listens_on_the_host(route: Client, port: int, *, closed: bool) -> None:
    there = ("127.0.0.1", free_port())
    with forwarding(route, "-R", f"{there[1]}:127.0.0.1:{port}") as process:
        assert answered(process, there) is not closed
        assert read_all(there) == (b"" if closed else BANNER)


def test_r_makes_a_unix_socket_on_the_host(route: Client, marks: str, port: int, *, closed: bool) -> None:
    there = f"{marks}/made-by-r"
    with forwarding(route, "-R", f"{there}:127.0.0.1:{port}") as process:
        assert answered(process, there) is not closed
        assert os.path.exists(there) is not closed


def test_internal_sftp_reads_files_of_the_host(route: Client, marks: str, *, closed: bool) -> None:
    """With the drop-in, sftp is the container's (or nologin's refusal): the host's file is not there."""
    with open(f"{marks}/of-the-host", "w", encoding="utf-8") as file:
        file.write("secret")
    done = route.sftp(f"get {marks}/of-the-host {marks}/stolen")
    assert os.path.exists(f"{marks}/stolen") is not closed
    assert (done.status == 0) is not closed


def test_tunnel_device(route: Client, marks: str, *, closed: bool) -> None:
    """The server says whether it would have opened a device of the host."""
    script = (
        f"mkdir -p {marks}/net && mount -t tmpfs none {marks}/net && mknod {marks}/net/tun c 10 200 && "
        f'mkdir -p /dev/net && mount --bind {marks}/net /dev/net && exec "$@"'
    )
    command = ["unshare", "--mount", "sh", "-c", script, "sh"]
    ssh = route.command(
        "-o", "LogLevel=DEBUG1", "-N", "-w", "any:any", "-o", "ExitOnForwardFailure=yes", "box"
    )
    process = subprocess.Popen(
        [*command, *ssh], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    said = b""
    try:
        assert process.stderr
        for line in process.stderr:
            said += line
            if b"tunnel device" in line or b"Tunnel device open failed" in line:
                break
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)
    if b"Tunnel device open failed" in said:
        pytest.skip("this machine's kernel has no tun device: ssh itself cannot open one")
    assert (b"Server has rejected tunnel device forwarding" in said) is closed, said


@contextlib.contextmanager
def session(
    client: Client, *options: str, variables: dict[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """A session that is held open; gives the environment that sshd handed to the login shell.

    The launcher leaves no trace of it in /proc: the policy lets all of it into the container.
    """
    process = subprocess.Popen(
        client.command(*options, "box", "env -0 | base64 -w0; echo; cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**ENVIRONMENT, **(variables or {})},
    )
    try:
        assert process.stdout
        variables_inside = base64.b64decode(process.stdout.readline())
        pairs = (item.split(b"=", 1) for item in variables_inside.split(b"\0") if b"=" in item)
        yield {os.fsdecode(name): os.fsdecode(value) for name, value in pairs}
    finally:
        process.communicate(timeout=DEADLINE_SECONDS)


def test_agent_socket(contained: Client, marks: str, *, closed: bool) -> None:
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", f"{marks}/agent"], stdout=subprocess.DEVNULL)
    try:
        until(lambda: os.path.exists(f"{marks}/agent"), "the agent listens")
        options = ("-o", "ForwardAgent=yes", "-o", f"IdentityAgent={marks}/agent")
        with session(contained, *options) as given:
            assert ("SSH_AUTH_SOCK" in given) is not closed
    finally:
        agent.terminate()
        agent.wait(DEADLINE_SECONDS)


def test_x11_runs_xauth_on_the_host(contained: Client, marks: str, *, closed: bool) -> None:
    options = ("-o", "ForwardX11=yes", "-o", "ForwardX11Trusted=yes")
    with session(contained, *options, variables={"DISPLAY": "127.0.0.1:77"}) as given:
        assert ("DISPLAY" in given) is not closed
    assert os.path.exists(f"{marks}/xauth-ran") is not closed


def test_environment_of_the_client(contained: Client, *, closed: bool) -> None:
    """A broad AcceptEnv lets a client set what the loader reads before our first line."""
    options = ("-o", "SendEnv=LD_DEBUG_OUTPUT", "-o", "SendEnv=GIT_PROTOCOL")
    variables = {"LD_DEBUG_OUTPUT": "/nowhere", "GIT_PROTOCOL": "version=2"}
    with session(contained, *options, variables=variables) as given:
        assert ("LD_DEBUG_OUTPUT" in given) is not closed
        assert given["GIT_PROTOCOL"] == "version=2"


def test_environment_file_of_the_user(contained: Client, *, closed: bool) -> None:
    put_into_home(contained.user, ".ssh/environment", "LD_DEBUG_OUTPUT=/nowhere\n")
    with session(contained) as given:
        assert ("LD_DEBUG_OUTPUT" in given) is not closed


def test_rc_file_of_the_user(server: Server, make_user: MakeUser, marks: str, *, closed: bool) -> None:
    """sshd runs ~/.ssh/rc by the login shell: seen with a shell of the host, which obeys it."""
    user = make_user(None, "/bin/bash", (GROUP,))
    put_into_home(user, ".ssh/rc", f"id -u >{marks}/rc-ran\n")
    server.client(user).box("true")
    assert os.path.exists(f"{marks}/rc-ran") is not closed


def put_into_home(user: User, name: str, text: str) -> None:
    path = f"{user.home}/{name}"
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    run(["chown", "-R", user.name, os.path.dirname(path)]).ok()


def test_the_session_itself_works_on_both(server: Server, make_user: MakeUser, *, closed: bool) -> None:
    """The container works on both servers: what is closed is closed by sshd, not by a broken login."""
    client = server.client(make_user(PLAIN, groups=(GROUP,)))
    assert client.box("echo $((6 * 7))").ok().out == b"42\n", closed


class TestWithoutForceCommand:
    """The other way: sftp is external, and keys may force a command and clients send signals."""

    @pytest.fixture
    def contained(self, make_sshd: Callable[..., Server], make_user: MakeUser, marks: str) -> Client:
        path = f"{marks}/drop-in.conf"
        with open(path, "w", encoding="utf-8") as file:
            file.write(run(["ssh2containerctl", "sshd-config", "--without-force-command"]).ok().text)
        rest = CARELESS.format(include=f"Include {path}", directory=marks)
        self.server = make_sshd(rest.replace("internal-sftp", SFTP_SERVER))
        return self.server.client(make_user(PLAIN, groups=(GROUP,)))

    def test_forwarding_is_closed(self, contained: Client, port: int) -> None:
        assert contained.ssh("-W", f"127.0.0.1:{port}", "box").out == b""

    def test_sftp_is_the_container_s(self, contained: Client, marks: str) -> None:
        with open(f"{marks}/of-the-host", "w", encoding="utf-8") as file:
            file.write("secret")
        assert contained.sftp(f"get {marks}/of-the-host {marks}/stolen").status != 0
        assert contained.sftp("ls /etc/passwd").ok()

    def test_a_key_forces_its_command(self, contained: Client) -> None:
        client = self.server.client(contained.user, 'command="echo forced; echo $SSH_ORIGINAL_COMMAND"')
        assert client.box("asked").ok().out == b"forced\nasked\n"

    def test_the_user_s_rc_file_is_not_run(self, contained: Client, marks: str) -> None:
        put_into_home(contained.user, ".ssh/rc", f"id -u >{marks}/rc-ran; echo stray\n")
        assert contained.box("echo only").ok().out == b"only\n"

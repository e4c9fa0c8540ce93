"""What a policy or a key forbids outside cannot be had through the sshd inside."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.host import processes, run, until
from support.inside import CTL, Inside
from support.login import login
from support.sshd import SUBSYSTEM, Server, free_port
from support.syslog import Syslog
from support.users import HOST_KEYS, MakeUser, User

POLICY = "image: host\nallow_forwarding: true\n"
SERVER, CONNECT = "ssh2container-sshd", "ssh2container-connect"


def refused(done_status: int, errors: bytes, *words: str) -> None:
    assert done_status == 126
    for word in words:
        assert word.encode() in errors, errors


@pytest.mark.parametrize(
    "rule",
    [
        "access: {commands: [rsync]}",
        "access: {commands: none}",
        "access: {interactive: false}",
        "access: {interactive: /bin/true}",
        "record: {transfers: names}",
    ],
)
def test_where_not_everything_may_run_it_only_forwards(
    exposing_sshd: Server, make_user: MakeUser, tmp_path: Path, rule: str
) -> None:
    """No command, shell, terminal or sftp: a list of commands would be worth nothing beside it."""
    client = Inside(exposing_sshd.client(make_user(POLICY + rule + "\n")))
    for arguments in (["box", "echo got in"], ["-tt", "box"], ["-s", "box", "sftp"]):
        done = client.ssh(*arguments)
        assert (done.status, done.out) == (255, b""), arguments
    listening = client.ssh("-N", "-o", "ExitOnForwardFailure=yes", "-R", "/tmp/new:127.0.0.1:1", "box")
    assert listening.status == 255, "no file is made or replaced"
    place = f"{tmp_path}/s"
    control = f"{tmp_path}/c"
    with client.start("-N", "-M", "-S", control, "-L", f"{place}:127.0.0.1:1", "box") as process:
        until(lambda: os.path.exists(place), "the forwarding is there")
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(place)
            assert end.recv(9) == b"", "nothing listens inside"
        process.kill()


def test_a_recorded_user_gets_no_terminal_that_nobody_records(
    exposing_sshd: Server, make_user: MakeUser
) -> None:
    client = Inside(exposing_sshd.client(make_user(POLICY + "record: {terminal: true, on_failure: go_on}\n")))
    assert "PTY allocation request failed" in client.ssh("-tt", "-o", "LogLevel=INFO", "box", "tty").errors
    assert client.box("echo unseen, as outside").ok().text == "unseen, as outside\n"


@pytest.mark.parametrize(
    ("rule", "works", "fails"),
    [
        ("access: {sftp: false}", "", "ls /usr"),
        ("access: {sftp: {overwrite: false}}", "", "ls /usr"),
        ("access: {sftp: {read_only: true}}", "ls /usr", "mkdir /tmp/new"),
        ("access: {sftp: {deny: [mkdir]}}", "ls /usr", "mkdir /tmp/new"),
        ('access: {sftp: {umask: "027"}}', "mkdir /tmp/new", "chmod 777 /tmp"),
    ],
)
def test_sftp_keeps_to_its_rules(
    exposing_sshd: Server, make_user: MakeUser, rule: str, works: str, fails: str
) -> None:
    client = Inside(exposing_sshd.client(make_user(POLICY + rule + "\n")))
    assert client.sftp(fails).status != 0
    if works:
        client.sftp(works).ok()


class TestKeys:
    @pytest.fixture
    def with_key(self, exposing_sshd: Server, make_user: MakeUser) -> Callable[[str], Inside]:
        def make(options: str) -> Inside:
            return Inside(exposing_sshd.client(make_user(POLICY), options))

        return make

    @pytest.mark.parametrize("options", ["restrict", "no-port-forwarding", "restrict,pty,agent-forwarding"])
    def test_a_key_that_may_not_forward(self, with_key: Callable[[str], Inside], options: str) -> None:
        client = with_key(options)
        for request in (SERVER, f"{CONNECT} 22"):
            done = client.outside.box(request)
            refused(done.status, done.err, "the key that was used forbids it")
        assert client.box("true").status == 255

    def test_a_key_that_may_connect_to_one_place(self, with_key: Callable[[str], Inside]) -> None:
        client = with_key('permitopen="127.0.0.1:1",permitlisten="127.0.0.1:7"')
        done = client.outside.box(f"{CONNECT} 1")
        refused(done.status, done.err, "permitopen")
        for port, why in ((1, "Connection refused"), (2, "administratively prohibited")):
            assert why in client.ssh("-o", "LogLevel=INFO", "-W", f"127.0.0.1:{port}", "box").errors
        assert (
            client.ssh("-o", "ExitOnForwardFailure=yes", "-R", "5001:127.0.0.1:1", "box", "true").status
            == 255
        )

    def test_a_key_without_a_terminal_or_an_agent(self, with_key: Callable[[str], Inside]) -> None:
        client = with_key("no-pty,no-agent-forwarding")
        assert (
            "PTY allocation request failed" in client.ssh("-tt", "-o", "LogLevel=INFO", "box", "true").errors
        )
        assert client.box("echo command").ok().text == "command\n"

    def test_a_key_that_forces_a_command(
        self, with_key: Callable[[str], Inside], make_sshd: Callable[..., Server]
    ) -> None:
        """The command is what runs; one that forces the word is a key for forwarding."""
        client = with_key('command="echo forced"')
        assert client.outside.box(SERVER).ok().text == "forced\n"

    def test_an_sshd_that_does_not_say_which_key_it_was(self, sshd: Server, make_user: MakeUser) -> None:
        client = Inside(sshd.client(make_user(POLICY), "restrict"))
        done = client.outside.box(SERVER)
        refused(done.status, done.err, "ExposeAuthInfo")

    @pytest.mark.parametrize("permitted", [True, False])
    def test_a_certificate_says_what_it_permits(
        self, make_sshd: Callable[..., Server], make_user: MakeUser, *, permitted: bool
    ) -> None:
        server = make_sshd(SUBSYSTEM + "ExposeAuthInfo yes\n")
        user = make_user(POLICY)
        client = Inside(server.client(user))
        public, lines = f"{server.directory}/user_key.pub", f"{server.directory}/keys/{user.name}"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{server.directory}/ca"]).ok()
        options = [
            "-O",
            "clear",
            "-O",
            "permit-pty",
            *(["-O", "permit-port-forwarding"] if permitted else []),
        ]
        run(
            ["ssh-keygen", "-q", "-s", f"{server.directory}/ca", "-I", "t", "-n", user.name, *options, public]
        ).ok()
        with (
            open(f"{server.directory}/ca.pub", encoding="utf-8") as file,
            open(lines, "w", encoding="utf-8") as to,
        ):
            to.write(f"cert-authority {file.read()}")
        done = client.box("echo through")
        assert (done.status, done.text) == ((0, "through\n") if permitted else (255, ""))
        if not permitted:
            refused(
                client.outside.box(SERVER).status, client.outside.box(SERVER).err, "the key that was used"
            )

    def test_a_key_that_may_do_nothing_else(self, exposing_sshd: Server, make_user: MakeUser) -> None:
        client = Inside(exposing_sshd.client(make_user(POLICY), f'command="{SERVER}"'))
        assert client.box("echo through").ok().text == "through\n"


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (f"{SERVER} -o PermitTunnel=yes", "usage"),
        (CONNECT, "usage"),
        (f"{CONNECT} 22 23", "usage"),
    ],
)
def test_the_words_take_what_they_take(make_user: MakeUser, request_: str, word: str) -> None:
    done = login(make_user(POLICY), "-c", request_)
    refused(done.status, done.err, word)


def test_a_terminal_is_no_way_in(exposing_sshd: Server, make_user: MakeUser) -> None:
    """Neither one that is recorded, where nobody could read it, nor none where one is required."""
    client = exposing_sshd.client(make_user(POLICY))
    done = client.ssh("-tt", "box", SERVER)
    assert (done.status, b"no use on a terminal" in done.out) == (126, True)
    client = exposing_sshd.client(make_user(POLICY + "access: {terminal: required}\n"))
    for request in (SERVER, f"{CONNECT} 1"):
        done = client.box(request)
        refused(done.status, done.err, "access.terminal is required")


def test_a_user_without_a_host_key_is_told(exposing_sshd: Server, make_user: MakeUser) -> None:
    user = make_user(POLICY)
    done = exposing_sshd.client(user).box(SERVER)
    refused(done.status, done.err, "no host key", f"ssh2containerctl enable {user.name}")


def test_the_key_is_the_users_and_roots(exposing_sshd: Server, make_user: MakeUser, other_user: User) -> None:
    """It is stable, another user cannot read it, and neither what runs inside nor explain shows it."""
    user = make_user(POLICY)
    words = [CTL, "client-config", user.name, "--json"]
    first, second = (json.loads(run(words).ok().text)["known_host"] for _ in range(2))
    assert first == second
    private = f"{HOST_KEYS}/{user.uid}"
    assert os.stat(private).st_uid == 0
    others = run(["cat", private], user=other_user.uid, group=other_user.gid, extra_groups=[user.gid])
    own = run(["cat", private], user=user.uid, group=other_user.gid, extra_groups=[])
    assert (others.status, own.status) == (1, 0)
    explained = run([CTL, "explain", user.name, "--json", "--no-terminal", "--", SERVER]).ok()
    secret = Path(private).read_text(encoding="ascii").splitlines()[3]
    assert secret not in explained.text
    assert json.loads(explained.text)["program_key"] == "allow_forwarding"
    environment = Inside(exposing_sshd.client(user)).box("env; ls -l /run/ssh2container").ok().text
    assert "LD_PRELOAD" not in environment
    assert "SSH2CONTAINER" not in environment


def test_it_is_a_session_as_any_other(exposing_sshd: Server, make_user: MakeUser, syslog: Syslog) -> None:
    """Listed by its kind, counted, in the trail, ended by kill with all that runs in it."""
    user = make_user(POLICY + "sessions: {max: 1}\n")
    client = Inside(exposing_sshd.client(user))
    process = client.start("box", "echo up; trap '' HUP TERM; sleep 1000 & wait; wait")
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    report = json.loads(run([CTL, "sessions", "--json", user.name]).ok().text)
    assert [one["kind"] for one in report["sessions"]] == ["sshd"]
    assert client.outside.box("true").status == 126, "there is one session already"
    run([CTL, "kill", "--user", user.name, "--grace", "1"]).ok()
    process.communicate()
    until(lambda: not processes(user.uid), "nothing is left")
    (opened,) = (line for line in syslog.of(user.name) if "event=open" in line)
    assert 'kind="sshd"' in opened


def test_the_whole_login_is_the_same_with_force_command(
    make_sshd: Callable[..., Server], make_user: MakeUser
) -> None:
    """With the drop-in as it is installed, for a member of its group."""
    text = run([CTL, "sshd-config", "--with-force-command"]).ok().text
    user = make_user(POLICY, groups=("ssh2container",))
    client = Inside(make_sshd(SUBSYSTEM + text).client(user))
    port = free_port()
    assert client.box("id -un").ok().text.strip() == user.name
    done = client.outside.ssh("-o", "ExitOnForwardFailure=yes", "-R", f"{port}:127.0.0.1:1", "box", "true")
    assert done.status == 255, "outside, it stays closed"


def test_what_runs_inside_does_not_look_into_the_server(exposing_sshd: Server, make_user: MakeUser) -> None:
    """Not at its memory, descriptors or environment: with them it had the client's connection and the key."""
    client = Inside(exposing_sshd.client(make_user(POLICY)))
    look = """
    for part in mem fd/ environ; do
        for process in $PPID $$; do (: </proc/$process/$part) 2>/dev/null && echo "$part of $process"; done
    done
    echo $$
    """
    *seen, own = client.box(look).ok().text.splitlines()
    assert seen == [f"{part} of {own}" for part in ("mem", "fd/", "environ")]

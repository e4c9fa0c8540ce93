"""ForceCommand, command= keys, and our sentinel, which runs the client's own command inside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.data import noise
from support.host import run
from support.sshd import SFTP_SERVER, SUBSYSTEM, Server
from support.users import User

MakeServer = Callable[..., Server]
SENTINEL = "ForceCommand ssh2container-session\n"
INTERNAL = "Subsystem sftp internal-sftp\n"


@pytest.mark.parametrize("original", ["rm -rf /", "echo 'two  words' \"$HOME\"", ""])
def test_a_forced_command_runs_inside_with_the_clients_in_a_variable(
    make_sshd: MakeServer, user: User, original: str
) -> None:
    server = make_sshd(
        SUBSYSTEM + "ForceCommand printf '%s|' \"$SSH_ORIGINAL_COMMAND\"; readlink /proc/self/ns/mnt\n"
    )
    client = server.client(user)
    done = client.box(original).ok() if original else client.ssh("-T", "box").ok()
    seen, namespace = done.text.rsplit("|", 1)
    assert seen == original
    assert namespace.strip() != os.readlink("/proc/self/ns/mnt")


def test_a_forced_commands_status_arrives(make_sshd: MakeServer, user: User) -> None:
    client = make_sshd("ForceCommand exit 9\n").client(user)
    assert client.box("exit 3").status == 9


def test_a_keys_command_runs_inside(sshd: Server, user: User) -> None:
    client = sshd.client(
        user, 'command="echo forced: $SSH_ORIGINAL_COMMAND; ls -d /etc/ssh2container",restrict'
    )
    done = client.box("cat /etc/shadow")
    assert done.text == "forced: cat /etc/shadow\n"
    assert done.status == 2


def test_a_keys_command_counts_for_subsystems_too(sshd: Server, user: User) -> None:
    """sshd puts the subsystem's command into SSH_ORIGINAL_COMMAND."""
    client = sshd.client(
        user, f'command="test $SSH_ORIGINAL_COMMAND = {SFTP_SERVER} || exit 5; exec {SFTP_SERVER} -R"'
    )
    client.sftp("ls /usr").ok()
    assert client.sftp("mkdir new").status == 1
    assert client.box("true").status == 5


def test_a_keys_command_that_serves_rsync(sshd: Server, user: User, tmp_path: Path) -> None:
    """The usual backup key: whatever the client asks, rsync in read-only sender mode of one directory."""
    client = sshd.client(user, 'command="rsync --server --sender -logDtpre.iLsfxCIvu . /etc/passwd",restrict')
    client.rsync("-a", "box:/etc/passwd", f"{tmp_path}/got").ok()
    assert user.name in (tmp_path / "got").read_text()


def test_the_clients_own_ssh_original_command_does_not_count(make_sshd: MakeServer, user: User) -> None:
    """AcceptEnv SSH_* lets a client set it: only our sentinel reads it, and then sshd has set it itself."""
    server = make_sshd(SUBSYSTEM + "AcceptEnv SSH_*\n")
    client = server.client(user)
    done = run(
        client.command("-o", "SetEnv=SSH_ORIGINAL_COMMAND=false", "box", "echo mine"),
        env={"PATH": "/usr/bin:/bin", "HOME": "/root"},
    )
    assert done.ok().text == "mine\n"


@pytest.mark.parametrize("subsystem", [INTERNAL, SUBSYSTEM])
class TestSentinel:
    """``ForceCommand ssh2container-session``: the client notices nothing, internal-sftp is no way round."""

    def test_commands(self, make_sshd: MakeServer, user: User, subsystem: str) -> None:
        client = make_sshd(subsystem + SENTINEL).client(user)
        done = client.box('echo "$0 a  b"; cat; exit 4', stdin=b"input\n")
        assert (done.status, done.text.splitlines()[-1]) == (4, "input")
        assert client.box("echo ${SSH_ORIGINAL_COMMAND-unset}").ok().text == "unset\n"
        assert client.box(b"printf '\xff'").ok().out == b"\xff"

    def test_a_login(self, make_sshd: MakeServer, user: User, subsystem: str) -> None:
        client = make_sshd(subsystem + SENTINEL).client(user)
        assert (
            client.ssh("-T", "box", stdin=b"shopt -q login_shell && echo login; exit 6\n").text == "login\n"
        )
        with client.terminal() as terminal:
            terminal.sendline("echo $((6 * 7)); exit 7")
            terminal.expect("42")
            terminal.wait()
            assert terminal.exitstatus == 7

    def test_transfers(self, make_sshd: MakeServer, user: User, tmp_path: Path, subsystem: str) -> None:
        client = make_sshd(subsystem + SENTINEL).client(user)
        (tmp_path / "a").write_bytes(noise(300_000))
        client.sftp(f"put {tmp_path}/a a", f"get a {tmp_path}/b").ok()
        assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
        for options in ((), ("-O",)):
            client.scp("-q", *options, "box:/etc/passwd", f"{tmp_path}/passwd").ok()
            assert user.name in (tmp_path / "passwd").read_text()
            client.scp("-q", *options, f"{tmp_path}/a", "box:a").ok()
        client.rsync("-a", "box:/etc/hostname", f"{tmp_path}/hostname").ok()
        assert client.sftp("ls /etc/ssh2container").status == 1
        assert client.scp("-q", "box:/etc/shadow", f"{tmp_path}/shadow").status == 1

    def test_signals_and_statuses(self, make_sshd: MakeServer, user: User, subsystem: str) -> None:
        client = make_sshd(subsystem + SENTINEL).client(user)
        assert client.box("exit 200").status == 200
        assert client.box("kill -TERM $$").status == 255
        assert client.box("/no/such").status == 127


def test_internal_sftp_as_a_forced_command_never_reaches_the_shell_and_is_why_the_sentinel_exists(
    make_sshd: MakeServer, user: User, tmp_path: Path
) -> None:
    """The control of TestSentinel: without it, internal-sftp serves the host's files."""
    client = make_sshd(INTERNAL).client(user)
    client.sftp(f"get /etc/passwd {tmp_path}/passwd").ok()
    with open("/etc/passwd", encoding="utf-8") as file:
        assert (tmp_path / "passwd").read_text() == file.read()

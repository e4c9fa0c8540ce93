"""What a key or a certificate restricts stays restricted, with the drop-in's ForceCommand and without it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.client import Client
from support.host import Done, run
from support.ledger import Ledger, remove_path
from support.sshd import SFTP_SERVER, Server
from support.users import PLAIN, MakeUser, User

from ssh2container.admin.account import find
from ssh2container.admin.doctor import keys
from ssh2container.admin.sshd.effective import effective

GROUP = "ssh2container"
MakeServer = Callable[..., Server]


@pytest.fixture
def member(make_user: MakeUser) -> User:
    return make_user(PLAIN, groups=(GROUP,))


@pytest.mark.parametrize(
    "options",
    [
        'restrict,command="echo forced; echo $SSH_ORIGINAL_COMMAND"',
        'command="echo \\"forced\\"; echo $SSH_ORIGINAL_COMMAND",from="127.0.0.1,::1"',
        'no-pty,COMMAND="echo forced; echo $SSH_ORIGINAL_COMMAND" ',
    ],
)
def test_a_keys_command_is_what_runs(make_sshd: MakeServer, rest: str, member: User, options: str) -> None:
    client = make_sshd(rest).client(member, options)
    assert client.box("asked").ok().out == b"forced\nasked\n"


def test_a_key_without_options_runs_what_is_asked(make_sshd: MakeServer, rest: str, member: User) -> None:
    client = make_sshd(rest).client(member)
    assert client.box("echo $((6 * 7)); echo ${SSH_ORIGINAL_COMMAND-unset}").ok().text == "42\nunset\n"
    assert client.sftp("ls /etc/passwd").ok()


def test_sftp_with_a_forced_command_is_not_served(make_sshd: MakeServer, rest: str, member: User) -> None:
    client = make_sshd(rest).client(member, 'command="echo no"')
    assert client.sftp("ls /").status != 0
    assert client.ssh("-T", "box").ok().out == b"no\n"


def test_internal_sftp_as_a_keys_command_is_the_containers(make_sshd: MakeServer, member: User) -> None:
    """With ForceCommand only: without, sshd serves it itself, which the doctor calls a problem."""
    text = run(["ssh2containerctl", "sshd-config", "--with-force-command"]).ok().text
    server = make_sshd("Subsystem sftp internal-sftp\n" + text)
    client = server.client(member, 'command="internal-sftp"')
    assert client.sftp("ls /etc/passwd").ok()
    assert client.sftp("ls /etc/ssh2container").status != 0


class TestCertificates:
    @pytest.fixture
    def authority(self, server_directory: Callable[[], str]) -> Iterator[str]:
        """A directory with the key of an authority."""
        directory = server_directory()
        os.chmod(directory, 0o755)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/ca"]).ok()
        yield directory
        shutil.rmtree(directory)

    def signed(self, server: Server, authority: str, user: User, *options: str) -> Client:
        """A client with a certificate for its key."""
        client = server.client(user)
        key = f"{server.directory}/user_key.pub"
        run(["ssh-keygen", "-q", "-s", f"{authority}/ca", "-I", "t", "-n", user.name, *options, key]).ok()
        os.unlink(f"{server.directory}/keys/{user.name}")
        return client

    def test_a_certificates_command_is_what_runs(
        self, make_sshd: MakeServer, rest: str, member: User, authority: str
    ) -> None:
        server = make_sshd(rest + f"Match all\nTrustedUserCAKeys {authority}/ca.pub\n")
        command = "force-command=echo forced; echo $SSH_ORIGINAL_COMMAND"
        client = self.signed(server, authority, member, "-O", command)
        assert client.box("asked").ok().out == b"forced\nasked\n"

    def test_one_without_runs_what_is_asked(
        self, make_sshd: MakeServer, rest: str, member: User, authority: str
    ) -> None:
        server = make_sshd(rest + f"Match all\nTrustedUserCAKeys {authority}/ca.pub\n")
        assert self.signed(server, authority, member).box("echo mine").ok().out == b"mine\n"

    def test_the_authoritys_line_may_force_a_command(
        self, make_sshd: MakeServer, rest: str, member: User, authority: str
    ) -> None:
        server = make_sshd(rest)
        client = self.signed(server, authority, member)
        with open(f"{authority}/ca.pub", encoding="utf-8") as file:
            line = f'cert-authority,command="echo forced" {file.read()}'
        with open(f"{server.directory}/keys/{member.name}", "w", encoding="utf-8") as file:
            file.write(line)
        assert client.box("asked").ok().out == b"forced\n"

    def test_a_principal_may_force_a_command(
        self, make_sshd: MakeServer, rest: str, member: User, authority: str
    ) -> None:
        os.makedirs(f"{authority}/principals")
        with open(f"{authority}/principals/{member.name}", "w", encoding="utf-8") as file:
            file.write(f'# who\ncommand="echo forced" {member.name}\n')
        server = make_sshd(
            rest + f"Match all\nTrustedUserCAKeys {authority}/ca.pub\n"
            f"AuthorizedPrincipalsFile {authority}/principals/%u\n"
        )
        assert self.signed(server, authority, member).box("asked").ok().out == b"forced\n"


class TestKeysOfACommand:
    """AuthorizedKeysCommand, as directories have it."""

    SHOWN = "/run/keys-of-a-command"

    @pytest.fixture
    def program(self, ledger: Ledger) -> Iterator[str]:
        """A program of root's that prints the file SHOWN."""
        path = "/usr/local/bin/keys-of-a-command"
        for made in (path, self.SHOWN):
            ledger.note_path(made)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\ntest "$1" != "" && cat {self.SHOWN}\n')
        os.chmod(path, 0o755)
        yield path
        for made in (path, self.SHOWN):
            remove_path(made)

    def test_its_options_hold_too(self, make_sshd: MakeServer, rest: str, member: User, program: str) -> None:
        server = make_sshd(
            rest + f"Match all\nAuthorizedKeysCommand {program} %u\nAuthorizedKeysCommandUser nobody\n"
        )
        client = server.client(member)
        shutil.move(f"{server.directory}/keys/{member.name}", self.SHOWN)
        assert client.box("echo mine").ok().out == b"mine\n"
        with open(self.SHOWN, encoding="utf-8") as file:
            key = file.read()
        with open(self.SHOWN, "w", encoding="utf-8") as file:
            file.write(f'restrict,command="echo forced" {key}')
        assert client.box("asked").ok().out == b"forced\n"


def test_a_key_that_cannot_be_found_again_is_refused(make_sshd: MakeServer, member: User) -> None:
    """sshd has accepted it and dropped its options; the file it stood in is gone."""
    text = run(["ssh2containerctl", "sshd-config", "--with-force-command"]).ok().text
    server = make_sshd("Subsystem sftp internal-sftp\n" + text)
    client = server.client(member)
    control = f"{server.directory}/control"
    holder = client.start("-M", "-S", control, "-N", "box")
    try:
        assert client.ssh("-S", control, "-o", "ConnectionAttempts=3", "box", "true").status == 0
        os.unlink(f"{server.directory}/keys/{member.name}")
        done = client.ssh("-S", control, "box", "true")
        assert done.status == 126
        assert b"cannot determine whether the key is restricted" in done.err
    finally:
        holder.kill()
        holder.communicate()


class TestLoginsWithoutTheDropIn:
    """A session notices that sshd has not applied the drop-in to it."""

    @pytest.fixture
    def outside(self, make_sshd: MakeServer, user: User, checkout: str) -> Iterator[Client]:
        """A client of a user whom the drop-in, as shipped, does not cover."""
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o755)  # a login reads sshd's files as the user, who may not reach this checkout
            shutil.copy(f"{checkout}/etc/sshd_config.d/10-ssh2container.conf", place)
            rest = f"Include {place}/10-ssh2container.conf\nSubsystem sftp {SFTP_SERVER}\n"
            yield make_sshd(rest).client(user)

    def test_a_user_whom_it_does_not_cover_is_refused(self, outside: Client) -> None:
        done = outside.box("true")
        assert done.status == 126
        assert b"sshd has not applied its drop-in" in done.err
        assert outside.sftp("ls /").status != 0

    def test_the_mark_cannot_be_sent_by_the_client(self, outside: Client) -> None:
        assert outside.ssh("-o", "SetEnv=SSH2CONTAINER_SSHD=x", "box", "true").status == 126

    def test_whom_a_policy_admits_is_covered_by_what_is_rendered(
        self, make_sshd: MakeServer, rest: str, user: User
    ) -> None:
        server = make_sshd(rest)
        client = server.client(user)
        assert client.box("echo in").ok().out == b"in\n"
        assert client.ssh("-W", f"127.0.0.1:{server.port}", "box").out == b""

    def test_su_in_a_login_of_an_administrators_is_no_login_by_sshd(self, user: User) -> None:
        """The variables of the administrator's own login are still there."""
        environment = {"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22", "PATH": "/usr/bin:/bin"}
        assert run(["su", user.name, "-c", "echo in"], env=environment).ok().out == b"in\n"


class TestSshCopyId:
    """It has to fail where the key would never be used."""

    @pytest.mark.parametrize("policy", [PLAIN, PLAIN + "home: {source: /srv/s2c-%u}\n"])
    def test_it_says_why(
        self,
        make_sshd: MakeServer,
        make_user: MakeUser,
        host_directory: Callable[[User], str],
        tmp_path: Path,
        policy: str,
    ) -> None:
        user = make_user(policy)
        host_directory(user)
        server = make_sshd()
        client = server.client(user)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{tmp_path}/new"]).ok()
        command = ["ssh-copy-id", "-f", "-i", f"{tmp_path}/new.pub", "-F", client.configuration, "box"]
        (tmp_path / ".ssh").mkdir()
        done = run(command, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
        assert done.status != 0
        assert b"sshd does not look for keys in the home that a session sees" in done.err
        assert b"key(s) added" not in done.out + done.err


OWN = PLAIN + "home: {source: '/srv/s2c-%u'}\nauthorized_keys: home\n"
STRANGER = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


class TestOwnKeys:
    """``authorized_keys: home``: the user writes inside what sshd reads outside."""

    @pytest.fixture
    def owner(self, make_user: MakeUser, host_directory: Callable[[User], str]) -> tuple[User, Path]:
        user = make_user(OWN, groups=(GROUP,))
        return user, Path(host_directory(user))

    @pytest.fixture
    def server(self, owner: tuple[User, Path], make_sshd: MakeServer) -> Server:
        """An sshd with what is rendered for the policies, and with other keys where those of tests are."""
        server = make_sshd("Subsystem sftp internal-sftp\n")
        server.stop()
        text = run(["ssh2containerctl", "sshd-config", "--with-force-command"]).ok().text
        rendered = "    AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /srv/s2c-%u/"
        assert rendered in text, owner
        server.rest += text.replace(
            rendered, f"    AuthorizedKeysFile {server.directory}/keys/%u /srv/s2c-%u/"
        )
        os.unlink(f"{server.directory}/log")
        server.start()
        return server

    @pytest.fixture
    def new(self) -> Iterator[str]:
        """A key beside the .ssh of a client, whose path has to be short: ssh-copy-id makes a socket there."""
        with tempfile.TemporaryDirectory(prefix="k", dir="/tmp") as place:
            os.mkdir(f"{place}/.ssh", 0o700)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{place}/new"]).ok()
            yield f"{place}/new"

    def by_key(self, server: Server, user: User, key: str, *words: str, stdin: bytes = b"") -> Done:
        """What ssh, or sftp, does with that key alone."""
        program, *rest = words
        options = [
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={server.directory}/known_hosts",
            "BatchMode=yes",
        ]
        given = [word for option in (*options, f"Port={server.port}") for word in ("-o", option)]
        batch = ["-b", "-"] if program == "sftp" else []
        address = f"{user.name}@127.0.0.1"
        command = [program, "-F", "none", "-i", key, *given, *batch]
        if rest[:1] == ["-W"]:
            return run([*command, *rest, address], stdin, env=STRANGER)
        return run([*command, address, *rest], stdin, env=STRANGER)

    def copied(self, server: Server, user: User, key: str, *options: str) -> Done:
        client = server.client(user)
        command = ["ssh-copy-id", *options, "-i", f"{key}.pub", "-F", client.configuration, "box"]
        return run(command, env={**STRANGER, "HOME": os.path.dirname(key)})

    @pytest.mark.parametrize("options", [("-f",), ("-f", "-s")])
    def test_ssh_copy_id(
        self, owner: tuple[User, Path], server: Server, new: str, options: tuple[str, ...]
    ) -> None:
        user, home = owner
        server.client(user)
        assert self.by_key(server, user, new, "ssh", "true").status == 255
        done = self.copied(server, user, new, *options)
        assert done.status == 0, done.errors
        assert (home / ".ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
        os.unlink(f"{server.directory}/keys/{user.name}")
        assert self.by_key(server, user, new, "ssh", "echo $((6 * 7))").ok().text == "42\n"
        assert self.by_key(server, user, new, "ssh", "ls -d /etc/ssh2container").status == 2

    def test_what_the_user_writes_there_only_restricts(
        self, owner: tuple[User, Path], server: Server, new: str
    ) -> None:
        user, home = owner
        server.client(user)
        key = Path(f"{new}.pub").read_text(encoding="ascii")
        (home / ".ssh").mkdir(mode=0o700)
        file = home / ".ssh/authorized_keys"
        for options, words, said in (
            ('command="internal-sftp"', ("sftp",), "/etc/ssh2container"),
            ('command="echo forced"', ("ssh", "id"), "forced"),
            ('environment="LD_PRELOAD=/x",port-forwarding,agent-forwarding', ("ssh", "env"), "HOME="),
        ):
            file.write_text(f"{options} {key}", encoding="ascii")
            run(["chown", "-R", user.name, str(home)]).ok()
            done = self.by_key(server, user, new, *words, stdin=b"ls /etc/ssh2container/users\n")
            assert said in done.text + done.errors
            assert "LD_PRELOAD" not in done.text
            assert done.status == (1 if words == ("sftp",) else 0), done
        done = self.by_key(server, user, new, "ssh", "-W", f"127.0.0.1:{server.port}")
        assert b"SSH-2.0" not in done.out

    def test_a_file_in_the_home_of_somebody_else_admits_nobody(
        self,
        make_user: MakeUser,
        host_directory: Callable[[User], str],
        owner: tuple[User, Path],
        server: Server,
        new: str,
    ) -> None:
        """Whoever has the same home and not the key in the policy is not looked for there."""
        other = make_user(OWN.replace("authorized_keys: home\n", ""), groups=(GROUP,))
        home = Path(host_directory(other))
        (home / ".ssh").mkdir()
        (home / ".ssh/authorized_keys").write_text(Path(f"{new}.pub").read_text(encoding="ascii"), "ascii")
        run(["chown", "-R", other.name, str(home)]).ok()
        client = server.client(other)
        assert self.by_key(server, other, new, "ssh", "true").status == 255
        assert client.box("true").ok()
        assert self.copied(server, other, new, "-f").status != 0
        assert owner[0].name != other.name

    def test_before_sshd_looks_there_a_key_is_not_taken(
        self, owner: tuple[User, Path], make_sshd: MakeServer, new: str
    ) -> None:
        done = self.copied(make_sshd(), owner[0], new, "-f")
        assert done.status != 0
        assert "sshd does not look for keys in the kept home yet" in done.errors
        assert "sshd-config --write --reload" in done.errors

    def test_the_doctor(
        self, owner: tuple[User, Path], server: Server, make_sshd: MakeServer, new: str
    ) -> None:
        """That the user can write the file is meant; that sshd does not look there, or runs it, is not."""
        user, home = owner
        account, pattern = find(user.name), "/srv/s2c-%u/.ssh/authorized_keys"
        (home / ".ssh").mkdir()
        file = home / ".ssh/authorized_keys"
        file.write_text('command="id" ' + Path(f"{new}.pub").read_text(encoding="ascii"), encoding="ascii")
        run(["chown", "-R", user.name, str(home)]).ok()
        found = list(keys.examine(account, effective(user.name, config=server.configuration), pattern))
        assert [(one.level, one.check) for one in found] == [("note", "keys.command")]
        assert f"{file}:1" in found[0].text
        file.unlink()
        file.symlink_to("/etc/shadow")
        (told,) = keys.examine(account, effective(user.name, config=server.configuration), pattern)
        assert (told.level, told.check) == ("warning", "keys.unreadable")
        plain = effective(user.name, config=make_sshd().configuration)
        found = [one for one in keys.examine(account, plain, pattern) if one.check == "keys.home"]
        assert [one.level for one in found] == ["problem", "warning"]

    def test_not_without_force_command(self, owner: tuple[User, Path]) -> None:
        """sshd itself would run internal-sftp for a key that says so."""
        done = run(["ssh2containerctl", "sshd-config", "--without-force-command"])
        assert done.status != 0
        assert f"the policy of {owner[0].name} has authorized_keys: home" in done.errors

    @pytest.mark.parametrize(
        ("rest", "why"),
        [
            ("", "there is no kept home"),
            ("home: {source: /srv/%g}\n", "sshd cannot replace"),
            ("home: {source: /srv/%u}\nimage: some\nuser: root\n", "belongs to another id"),
        ],
    )
    def test_a_policy_in_which_it_cannot_work_is_refused(
        self, make_user: MakeUser, rest: str, why: str
    ) -> None:
        user = make_user(f"authorized_keys: home\n{rest}")
        done = run(["ssh2containerctl", "check", user.policy_file])
        assert done.status == 1
        assert f"{user.policy_file}:1" in done.text + done.errors
        assert why in done.text + done.errors

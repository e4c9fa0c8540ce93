"""Policies for keys, by real sshds: which policy a login has by the key, and what it may not become."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.client import ENVIRONMENT, Client
from support.host import Done, run
from support.ledger import Ledger, remove_path
from support.sshd import Server
from support.syslog import Syslog
from support.users import MakeUser, User

from ssh2container.admin.account import find
from ssh2container.admin.doctor import keys
from ssh2container.admin.sshd.effective import effective

GROUP = "ssh2container"
PROFILES = "/etc/ssh2container/profiles"
MakeServer = Callable[..., Server]
FORCED = "access: {command: \"sh -c 'echo forced; echo $SSH_ORIGINAL_COMMAND'\"}\nhostname: by-key\n"
CTL = "/usr/bin/ssh2containerctl"
PASSWORD = "correct horse"  # noqa: S105 - of a user who is gone after the test


class Keyed:
    """A user with a rule for one key, and a server with two of the user's keys.

    directory: with ``ruled``, the key that the rule is about, and ``plain``.
    """

    def __init__(self, user: User, directory: str, profile: str, write: Callable[[User, str], None]) -> None:
        self.user = user
        self.directory = directory
        self.profile = profile
        self.fingerprint = run(["ssh-keygen", "-l", "-f", f"{directory}/ruled.pub"]).ok().text.split()[1]
        self._write = write
        self.rule(f'fingerprint: "{self.fingerprint}"')

    def rule(self, by: str, profile: str = FORCED, own: str = "") -> None:
        """Write the rule, what its profile says, and what the user's own file says beside it."""
        with open(f"{PROFILES}/{self.profile}.yaml", "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(profile)
        self._write(self.user, f"image: host\nkeys: [{{{by}, extends: {self.profile}}}]\n{own}")

    def serve(self, server: Server, options: str = "") -> Client:
        """Let ``server`` take both keys; ``options`` stand before the one with the rule."""
        client = server.client(self.user)
        keys = {name: Path(self.directory, f"{name}.pub").read_text() for name in ("ruled", "plain")}
        with open(f"{server.directory}/keys/{self.user.name}", "w", encoding="utf-8") as file:
            file.write(f"{options} {keys['ruled']}".lstrip() + keys["plain"])
        return client

    def ssh(self, client: Client, key: str, *words: str) -> Done:
        """``ssh`` with one of the keys alone."""
        return client.ssh("-o", f"IdentityFile={self.directory}/{key}", "-o", "LogLevel=ERROR", *words)


@pytest.fixture
def keyed(make_user: MakeUser, ledger: Ledger, server_directory: Callable[[], str]) -> Iterator[Keyed]:
    directory = server_directory()
    for name in ("ruled", "plain", "ca"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/{name}"]).ok()
    user = make_user(groups=(GROUP,))
    os.makedirs(PROFILES, mode=0o755, exist_ok=True)
    path = f"{PROFILES}/{user.name}.yaml"
    ledger.note_path(path)

    def write(user: User, text: str) -> None:
        temporary = f"{os.path.dirname(user.policy_file)}/.{user.name}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        os.rename(temporary, user.policy_file)

    yield Keyed(user, directory, user.name, write)
    remove_path(path)
    shutil.rmtree(directory)


def last_opened(syslog: Syslog, user: User) -> str:
    """The record of the last session that began."""
    return [line for line in syslog.of(user.name) if "]: event=open" in line][-1]


def test_each_key_has_its_policy(make_sshd: MakeServer, rest: str, keyed: Keyed, syslog: Syslog) -> None:
    client = keyed.serve(make_sshd(rest))
    assert keyed.ssh(client, "ruled", "box", "asked").ok().text == "forced\nasked\n"
    opened = last_opened(syslog, keyed.user)
    assert f' key="{keyed.fingerprint}"' in opened
    assert f' rule="{keyed.fingerprint}"' in opened
    assert ' command="asked"' in opened
    assert keyed.ssh(client, "plain", "box", "echo mine; cat /etc/hostname").ok().text != "mine\nby-key\n"
    assert " rule=" not in last_opened(syslog, keyed.user)


def test_whatever_is_asked_for(make_sshd: MakeServer, rest: str, keyed: Keyed) -> None:
    client = keyed.serve(make_sshd(rest))
    # Without ForceCommand sshd may greet a shell first (PAM).
    assert keyed.ssh(client, "ruled", "-T", "box").ok().text.endswith("forced\n\n")
    assert keyed.ssh(client, "ruled", "-tt", "box").ok().text.endswith("forced\r\n\r\n")
    # The subsystem is the forced command, too: no server of files answers.
    assert keyed.ssh(client, "ruled", "-s", "box", "sftp").ok().text.startswith("forced\n")
    assert keyed.ssh(client, "plain", "-s", "box", "sftp").ok().text == ""
    for word in ("ssh2container-sshd", "ssh2container-connect localhost:1"):
        assert keyed.ssh(client, "ruled", "box", word).ok().text == f"forced\n{word}\n"


def test_what_a_user_can_do_is_of_the_key(make_sshd: MakeServer, rest: str, keyed: Keyed) -> None:
    keyed.rule(f'fingerprint: "{keyed.fingerprint}"', "access: {sftp: false}\nsessions: {max_duration: 7m}\n")
    client = keyed.serve(make_sshd(rest))
    of_key = keyed.ssh(client, "ruled", "box", "ssh2container-info").ok().text
    own = keyed.ssh(client, "plain", "box", "ssh2container-info").ok().text
    assert own == run([CTL, "show", "--summary", keyed.user.name]).ok().text
    assert "; sftp\n" in own
    assert "sftp" not in of_key
    assert "after 7 minutes" in of_key
    assert "after 7 minutes" not in own


def test_the_policys_command_outdoes_the_keys(make_sshd: MakeServer, rest: str, keyed: Keyed) -> None:
    """As sshd's ForceCommand outdoes ``command=`` (sshd_config(5))."""
    client = keyed.serve(make_sshd(rest), 'command="echo of the key"')
    assert keyed.ssh(client, "ruled", "box", "asked").ok().text == "forced\nasked\n"


def test_a_keys_own_command_stays_with_a_rule_that_has_none(
    make_sshd: MakeServer, rest: str, keyed: Keyed
) -> None:
    keyed.rule(f'fingerprint: "{keyed.fingerprint}"', "hostname: by-key\n")
    client = keyed.serve(make_sshd(rest), 'command="cat /etc/hostname; echo $SSH_ORIGINAL_COMMAND"')
    assert keyed.ssh(client, "ruled", "box", "asked").ok().text == "by-key\nasked\n"


@pytest.mark.parametrize(
    ("by", "options", "text"),
    [
        ("principal: backup", ("-n", "{user},backup", "-I", "x"), "forced\nasked\n"),
        ("key_id: nightly", ("-n", "{user}", "-I", "nightly"), "forced\nasked\n"),
        ('principal: backup, authority: "{ca}"', ("-n", "{user},backup", "-I", "x"), "forced\nasked\n"),
        ('principal: backup, authority: "{key}"', ("-n", "{user},backup", "-I", "x"), "free\n"),
        ('fingerprint: "{key}"', ("-n", "{user}", "-I", "x"), "forced\nasked\n"),
        ("principal: backup", ("-n", "{user}", "-I", "backup"), "free\n"),
    ],
)
def test_certificates(
    make_sshd: MakeServer, rest: str, keyed: Keyed, by: str, options: tuple[str, ...], text: str
) -> None:
    authority = run(["ssh-keygen", "-l", "-f", f"{keyed.directory}/ca.pub"]).ok().text.split()[1]
    keyed.rule(by.format(ca=authority, key=keyed.fingerprint))
    os.chmod(keyed.directory, 0o755)
    server = make_sshd(rest + f"Match all\nTrustedUserCAKeys {keyed.directory}/ca.pub\n")
    client = keyed.serve(server)
    os.unlink(f"{server.directory}/keys/{keyed.user.name}")
    said = [option.format(user=keyed.user.name) for option in options]
    run(["ssh-keygen", "-q", "-s", f"{keyed.directory}/ca", *said, f"{keyed.directory}/ruled.pub"]).ok()
    asked = "asked" if text.startswith("forced") else "echo free"
    assert keyed.ssh(client, "ruled", "box", asked).ok().text == text
    shown = f"{keyed.directory}/ruled-cert.pub"
    explained = run(["ssh2containerctl", "explain", keyed.user.name, "--key", shown]).ok().text
    assert ("The policy of the key" in explained) == text.startswith("forced")


def test_a_password_is_no_key(make_sshd: MakeServer, rest: str, keyed: Keyed) -> None:
    run(["/usr/sbin/chpasswd"], f"{keyed.user.name}:{PASSWORD}\n".encode()).ok()
    ask = f"{keyed.directory}/ask"
    with open(ask, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o700)
        file.write(f"#!/bin/sh\necho '{PASSWORD}'\n")
    client = keyed.serve(make_sshd(rest + "Match all\nPasswordAuthentication yes\n"))
    options = ["-o", "BatchMode=no", "-o", "PreferredAuthentications=password"]
    known = {**ENVIRONMENT, "SSH_ASKPASS": ask, "SSH_ASKPASS_REQUIRE": "force"}
    done = run(client.command(*options, "box", "echo free"), env=known)
    assert done.ok().text == "free\n"


def test_two_keys_of_which_one_has_a_rule(make_sshd: MakeServer, rest: str, keyed: Keyed) -> None:
    client = keyed.serve(make_sshd(rest + "Match all\nAuthenticationMethods publickey,publickey\n"))
    both = ["-o", f"IdentityFile={keyed.directory}/plain", "-o", f"IdentityFile={keyed.directory}/ruled"]
    assert client.ssh(*both, "box", "asked").ok().text == "forced\nasked\n"


def test_every_session_of_a_connection(make_sshd: MakeServer, rest: str, keyed: Keyed) -> None:
    client = keyed.serve(make_sshd(rest))
    path = f"{keyed.directory}/mux"
    options = ["-o", f"ControlPath={path}", "-o", f"IdentityFile={keyed.directory}/ruled"]
    client.ssh("-M", "-N", "-f", *options, "box").ok()
    try:
        for number in range(3):
            assert client.ssh(*options, "box", f"asked {number}").ok().text == f"forced\nasked {number}\n"
    finally:
        client.ssh(*options, "-O", "exit", "box")


def test_what_a_client_sends_is_not_believed(make_sshd: MakeServer, keyed: Keyed) -> None:
    """sshd's own word comes last: AcceptEnv, ``environment=`` and ~/.ssh/environment change nothing."""
    forged = f"/tmp/sshauth.{keyed.user.name}"
    with open(forged, "w", encoding="utf-8") as file:
        file.write("password\n")
    os.chown(forged, keyed.user.uid, keyed.user.gid)
    loose = "ExposeAuthInfo yes\nAcceptEnv *\nPermitUserEnvironment yes\nForceCommand ssh2container-session\n"
    client = keyed.serve(make_sshd(loose), f'environment="SSH_USER_AUTH={forged}"')
    os.makedirs(f"{keyed.user.home}/.ssh", exist_ok=True)
    with open(f"{keyed.user.home}/.ssh/environment", "w", encoding="utf-8") as file:
        file.write(f"SSH_USER_AUTH={forged}\nSSH_CONNECTION=\n")
    try:
        for name, value in (("SSH_USER_AUTH", forged), ("SSH_USER_AUTH", ""), ("SSH_CONNECTION", "")):
            sent = ["-o", f"SetEnv={name}={value}"]
            assert keyed.ssh(client, "ruled", *sent, "box", "asked").ok().text == "forced\nasked\n"
    finally:
        os.unlink(forged)


@pytest.mark.parametrize("key", ["ruled", "plain"])
def test_an_sshd_that_does_not_tell_lets_nobody_in(make_sshd: MakeServer, keyed: Keyed, key: str) -> None:
    client = keyed.serve(make_sshd("ExposeAuthInfo no\nForceCommand ssh2container-session\n"))
    done = keyed.ssh(client, key, "box", "true")
    assert done.status == 126
    assert done.errors.count("\n") == 1
    assert "cannot determine the policy of this key" in done.errors
    assert "ExposeAuthInfo" in done.errors


@pytest.mark.parametrize("word", ["no", "yes"])
def test_the_doctor_says_so(make_sshd: MakeServer, keyed: Keyed, word: str) -> None:
    """With ForceCommand or without, of the configuration that this sshd runs with."""
    server = make_sshd(f"ExposeAuthInfo {word}\n")
    told = keys.examine(
        find(keyed.user.name), effective(keyed.user.name, config=server.configuration), ruled=True
    )
    found = [one for one in told if one.check == "sshd.exposeauthinfo"]
    assert [one.level for one in found] == (["problem"] if word == "no" else [])
    assert word == "yes" or "every login is refused" in found[0].text


def test_what_is_said_beforehand_is_about_each_key(keyed: Keyed) -> None:
    name, user = keyed.user.name, keyed.user
    keyed.rule(f'fingerprint: "{keyed.fingerprint}"', "volumes: [/srv/is-not-there:/x]\n")
    checked = run(["ssh2containerctl", "check"])
    assert checked.status == 1
    assert f"{user.policy_file}:2" in checked.text + checked.errors
    assert "/srv/is-not-there" in checked.text + checked.errors
    assert run(["ssh2containerctl", "explain", name]).ok()
    with_key = run(["ssh2containerctl", "explain", name, "--key", keyed.fingerprint])
    assert with_key.status == 126
    assert "/srv/is-not-there" in with_key.errors


def test_the_verbs_take_a_key(keyed: Keyed) -> None:
    name, public = keyed.user.name, f"{keyed.directory}/ruled.pub"
    shown = run(["ssh2containerctl", "explain", name, "--key", public, "--", "asked"]).ok().text
    assert f"The policy of the key: {keyed.fingerprint}" in shown
    assert "access.command" in shown
    listed = run(["ssh2containerctl", "explain", name]).ok().text
    assert f"{keyed.fingerprint}: extends {keyed.profile}" in listed
    assert "hostname: by-key" in run(["ssh2containerctl", "show", name, "--key", public]).ok().text
    assert "hostname: by-key" not in run(["ssh2containerctl", "show", name]).ok().text
    tried = run(["ssh2containerctl", "try", "--user", name, "--key", keyed.fingerprint, "--", "asked"])
    assert tried.ok().text == "forced\nasked\n"
    wrong = run(["ssh2containerctl", "explain", name, "--key", "/etc/passwd"])
    assert wrong.status == 2
    assert "holds no public key" in wrong.errors


def test_what_is_said_of_a_user_says_that_there_are_keys(keyed: Keyed) -> None:
    name, by = keyed.user.name, f'fingerprint: "{keyed.fingerprint}"'
    with_key = (CTL, "client-config", name, "--key", f"{keyed.directory}/ruled.pub")
    for profile, key in (("allow_forwarding: false\n", "allow_forwarding"), (FORCED, "access.command")):
        keyed.rule(by, profile, own="allow_forwarding: true\n")
        plain = run([CTL, "client-config", name]).ok()
        assert f"User {name}" in plain.text
        assert plain.errors == f"ssh2containerctl: of no use with these of keys: {keyed.fingerprint}\n"
        refused = run(with_key)
        assert (refused.status, refused.text) == (126, "")
        assert f"with {keyed.fingerprint} but the sshd outside: {key} " in refused.errors
        assert f"{PROFILES}/{keyed.profile}.yaml:1" in refused.errors
    other = run([*with_key[:-1], f"{keyed.directory}/plain.pub", "--json"]).ok()
    assert (json.loads(other.text)["rule"], json.loads(other.text)["not_with"]) == ("", [])
    keyed.rule(by, "hostname: by-key\n", own="allow_forwarding: true\n")
    assert run([CTL, "client-config", name]).ok().errors == ""
    assert json.loads(run([*with_key, "--json"]).ok().text)["rule"] == keyed.fingerprint
    (told,) = json.loads(run([CTL, "status", "--json", name]).ok().text)["users"]
    assert told["keys"] == [keyed.fingerprint]
    heads, row = (line.split() for line in run([CTL, "status", name]).ok().text.splitlines())
    assert (heads[-1], row[-1]) == ("KEYS", "1")


def test_policy_tests_log_in_with_a_key(keyed: Keyed, server_directory: Callable[[], str]) -> None:
    keyed.rule(f'fingerprint: "{keyed.fingerprint}"', "access: {commands: none}\n")
    directory = server_directory()
    for by, can, cannot in (("", "[run true]", "[]"), (keyed.fingerprint, "[list /]", "[run true]")):
        with open(f"{directory}/promises.yaml", "w", encoding="utf-8") as file:
            key = f'  key: "{by}"\n' if by else ""
            file.write(f"{keyed.user.name}:\n{key}  can: {can}\n  cannot: {cannot}\n")
        run(["ssh2containerctl", "test", f"{directory}/promises.yaml"]).ok()
    shutil.rmtree(directory)


def test_two_rules_about_one_login_let_nobody_in(make_sshd: MakeServer, rest: str, keyed: Keyed) -> None:
    with open(keyed.user.policy_file, encoding="utf-8") as file:
        text = file.read().replace("}]", f"}}, {{principal: backup, extends: {keyed.profile}}}]", 1)
    with open(keyed.user.policy_file, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(keyed.directory, 0o755)
    client = keyed.serve(make_sshd(rest + f"Match all\nTrustedUserCAKeys {keyed.directory}/ca.pub\n"))
    with open(f"{client._directory}/keys/{keyed.user.name}", "w", encoding="utf-8"):
        pass
    words = ["-n", f"{keyed.user.name},backup", "-I", "x", f"{keyed.directory}/ruled.pub"]
    run(["ssh-keygen", "-q", "-s", f"{keyed.directory}/ca", *words]).ok()
    done = keyed.ssh(client, "ruled", "box", "true")
    assert done.status == 126
    assert f"{keyed.user.policy_file}:2" in done.errors
    assert "principal backup" in done.errors


def test_a_shared_container_is_not_that_of_another_key(
    make_sshd: MakeServer, rest: str, keyed: Keyed
) -> None:
    keyed.rule(
        f'fingerprint: "{keyed.fingerprint}"',
        "environment: {A: b}\n",
        own="container_per: user\nlinger: 1m\n",
    )
    client = keyed.serve(make_sshd(rest))
    look = "readlink /proc/self/ns/pid; ls /tmp; touch /tmp/left"
    plain = [keyed.ssh(client, "plain", "box", look).ok().text.split() for _ in range(2)]
    ruled = [keyed.ssh(client, "ruled", "box", look).ok().text.split() for _ in range(2)]
    assert plain[0][0] == plain[1][0] != ruled[0][0] == ruled[1][0]
    assert plain[0][1:] == ruled[0][1:] == []
    assert plain[1][1:] == ruled[1][1:] == ["left"]


def test_a_key_that_opens_a_suspended_account(make_sshd: MakeServer, rest: str, keyed: Keyed) -> None:
    """How keys that no rule names are refused."""
    opens = "access: {login: true}\n"
    keyed.rule(f'fingerprint: "{keyed.fingerprint}"', opens, own="access: {login: false, message: closed}\n")
    client = keyed.serve(make_sshd(rest))
    assert keyed.ssh(client, "ruled", "box", "echo in").ok().text == "in\n"
    assert keyed.ssh(client, "plain", "box", "echo in").status == 126


def test_a_key_for_rsync_in_one_direction(
    make_sshd: MakeServer, rest: str, keyed: Keyed, server_directory: Callable[[], str]
) -> None:
    place = server_directory()
    os.chmod(place, 0o755)
    os.makedirs(f"{place}/in")
    os.chown(f"{place}/in", keyed.user.uid, keyed.user.gid)
    keyed.rule(
        f'fingerprint: "{keyed.fingerprint}"',
        f"access: {{command: rrsync -wo /in}}\nvolumes: ['{place}/in:/in:rw']\n",
    )
    client = keyed.serve(make_sshd(rest))
    transport = " ".join(str(word) for word in client.command("-o", f"IdentityFile={keyed.directory}/ruled"))
    with open(f"{place}/new", "w", encoding="utf-8") as file:
        file.write("text")
    rsync = ["rsync", "-t", "-e", transport]
    try:
        run([*rsync, f"{place}/new", "box:"], env=ENVIRONMENT).ok()
        assert Path(place, "in/new").read_text() == "text"
        assert run([*rsync, "box:new", f"{place}/back"], env=ENVIRONMENT).status != 0
        run([*rsync, f"{place}/new", "box:../../x"], env=ENVIRONMENT)
        assert sorted(os.listdir(place)) == ["in", "new"]
        assert keyed.ssh(client, "ruled", "box", "cat /etc/passwd").status != 0
    finally:
        shutil.rmtree(place)


BACKUP = """\
access:
  command: [borg, serve, --append-only, --restrict-to-path, /backup]
  login: true
home: ephemeral
volumes: !override ['{place}:/backup:rw']
"""
CLOSED = "access: {login: false, message: closed}\n"


def test_a_key_for_backups_that_can_only_add(
    exposing_sshd: Server, keyed: Keyed, server_directory: Callable[[], str], tmp_path: Path
) -> None:
    """A real borg under the policy of docs/keys.md: what is deleted over the wire is still on the disk."""
    place = server_directory()
    os.chmod(place, 0o755)
    os.makedirs(f"{place}/theirs")
    os.chown(f"{place}/theirs", keyed.user.uid, keyed.user.gid)
    segments = Path(place, "theirs/data/0")
    keyed.rule(f'fingerprint: "{keyed.fingerprint}"', BACKUP.format(place=f"{place}/theirs"), own=CLOSED)
    client = keyed.serve(exposing_sshd)
    transport = " ".join(str(word) for word in client.command("-o", f"IdentityFile={keyed.directory}/ruled"))
    (tmp_path / "file").write_text("what was saved")

    def borg(*words: str, rsh: str = transport, base: str = "client") -> Done:
        # The client says what it finds of its own: it has another cache where the repository went back.
        own = {"BORG_RSH": rsh, "BORG_BASE_DIR": f"{tmp_path}/{base}"}
        own |= dict.fromkeys(("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK",), "yes")
        return run(["borg", *words], env={**ENVIRONMENT, **own}, cwd=str(tmp_path))

    try:
        borg("init", "--encryption", "none", "ssh://box/backup").ok()
        borg("create", "ssh://box/backup::kept", "file").ok()
        saved = {path.name: path.read_bytes() for path in segments.iterdir()}
        assert borg("list", "--short", "ssh://box/backup").ok().text == "kept\n"
        borg("delete", "ssh://box/backup::kept").ok()
        borg("compact", "ssh://box/backup").ok()
        assert borg("list", "--short", "ssh://box/backup").ok().text == ""
        assert {name: (segments / name).read_bytes() for name in saved} == saved

        # Whoever has the directory goes back to before, as borg's manual says, and has the archive again.
        for path in segments.iterdir():
            if path.name not in saved:
                path.unlink()
        for path in Path(place, "theirs").iterdir():
            if path.name.partition(".")[0] in ("index", "hints", "integrity"):
                path.unlink()
        found = borg("extract", "--stdout", "ssh://box/backup::kept", base="another").ok()
        assert found.text == "what was saved"

        assert "path not allowed" in borg("init", "--encryption", "none", "ssh://box/tmp/new").errors.lower()
        key = "-o", f"IdentityFile={keyed.directory}/ruled"
        for words in (("box", "cat /etc/passwd"), ("-T", "box")):
            asked = client.ssh(*key, *words, stdin=b"cat /etc/passwd\n")
            assert asked.status
            assert "root:" not in asked.text
        assert keyed.ssh(client, "plain", "box", "borg serve").status == 126
        assert "closed" in borg("list", "ssh://box/backup", rsh=transport.replace("/ruled", "/plain")).errors
    finally:
        shutil.rmtree(place)

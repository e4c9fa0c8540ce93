"""Users of a directory that lists nobody: covered by the drop-in, asked for by name, held like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.host import DEADLINE_SECONDS
from support.installation import Installation
from support.machine import SOURCE
from support.sshd import free_port, written

DROP_IN = "/etc/ssh/sshd_config.d/10-ssh2container.conf"
WRITTEN = written("directory")
USERS = """\
dora:x:71001:71000::/home/dora:/usr/bin/ssh2container
tutor:x:71002:71000::/home/tutor:/bin/bash
uma:x:71003:71003::/home/uma:/usr/bin/ssh2container
stranger:x:71004:71003::/home/stranger:/usr/bin/ssh2container
"""
GROUPS = "students:x:71000:dora,tutor\nothers:x:71003:\n"


@pytest.fixture(scope="module")
def host(shared: Installation) -> Installation:
    """A machine with a directory of four users, two of them students, and policies for some."""
    machine = shared.machine
    machine.write("/etc/directory/passwd", USERS)
    machine.write("/etc/directory/group", GROUPS)
    machine.shell(
        f"gcc -shared -fPIC -o $(dirname $(ldconfig -p | sed -n 's,.*=> ,,p' | grep -m1 libc.so.6))"
        f"/libnss_directory.so.2 {SOURCE}/tests/support/directory.c; "
        "sed -i -E 's/^(passwd|group):.*/\\1: files directory/' /etc/nsswitch.conf; "
        "for name in dora tutor uma stranger; do install -d -o $name -m 700 /home/$name; done; "
        "! getent passwd | grep -q dora; id -nG dora | grep -qw students; "
        "sed -i 's/^group_order:.*/group_order: [students]/' /etc/ssh2container/config.yaml"
    )
    machine.write("/etc/ssh2container/groups/students.yaml", "image: host\n")
    machine.write("/etc/ssh2container/users/uma.yaml", "image: host\n")
    shared.control("compile")
    return shared


@pytest.fixture(scope="module")
def login(host: Installation) -> Iterator[str]:
    """A running sshd with the host's files; the value is the ssh command, without the user."""
    machine, port = host.machine, free_port()
    machine.shell("ssh-keygen -q -t ed25519 -N '' -f /root/directory_key; mkdir -p /root/keys")
    machine.shell("ssh-keygen -q -t ed25519 -N '' -f /root/client_key; chmod 755 /root /root/keys")
    for name in ("dora", "tutor", "uma", "stranger"):
        machine.shell(f"cp /root/client_key.pub /root/keys/{name}; chmod 644 /root/keys/{name}")
    machine.write(
        "/root/directory_config",
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey /root/directory_key\nPidFile /root/directory.pid\n"
        "AuthorizedKeysFile /root/keys/%u\nStrictModes no\nUsePAM no\n"
        "Include /etc/ssh/sshd_config.d/*.conf\nSubsystem sftp internal-sftp\n",
    )
    process = machine.spawn("/usr/sbin/sshd", "-D", "-f", "/root/directory_config")
    machine.shell(WRITTEN)
    yield (
        f"ssh -F none -i /root/client_key -p {port} -o StrictHostKeyChecking=no -o LogLevel=ERROR "
        "-o UserKnownHostsFile=/dev/null -o BatchMode=yes"
    )
    machine.shell("kill $(cat /root/directory.pid)")
    process.communicate(timeout=DEADLINE_SECONDS)


def banner(host: Installation, login: str, name: str) -> str:
    """What sshd's own port says through a forwarding of ``name``."""
    port = login.partition(" -p ")[2].partition(" ")[0]
    asked = f"{login} -W 127.0.0.1:{port} {name}@127.0.0.1"
    return host.machine.run("bash", "-c", asked, check=False).stdout


def test_what_is_rendered_covers_whom_a_policy_admits(host: Installation) -> None:
    text = host.machine.read(DROP_IN)
    assert "Match Group students User *,!root,!tutor\n" in text
    assert "Match User uma\n" in text


@pytest.mark.parametrize("name", ["dora", "uma"])
def test_forwarding_is_closed_and_a_session_is_contained(host: Installation, login: str, name: str) -> None:
    assert banner(host, login, name) == ""
    inside = host.machine.run(
        "bash", "-c", f"{login} {name}@127.0.0.1 'id -un; ls /etc/directory'", check=False
    )
    assert inside.stdout == f"{name}\n"
    assert inside.returncode == 2


def test_another_spelling_of_a_name_is_a_way_round_until_the_remedy(host: Installation, login: str) -> None:
    """sshd compares a Match line with what the client typed, and takes the user whom the directory means."""
    machine = host.machine
    machine.write("/etc/sssd/sssd.conf", "[domain/example.org]\ncase_sensitive = false\n", 0o600)
    others = ("UMA", "uma@example.org")
    assert all(banner(host, login, name).startswith("SSH-2.0") for name in others)
    try:
        (found,) = [one for one in host.doctor("uma") if one["check"] == "user.spelling"]
        assert found["level"] == "problem"
        assert not [one for one in host.doctor("dora") if one["check"] == "user.spelling"]
        (same,) = [one for one in host.doctor("UMA") if one["check"] == "user.spelling"]
        assert same == found
        machine.shell(found["remedy"])
        assert [banner(host, login, name) for name in others] == ["", ""]
        for name in others:
            assert machine.run("bash", "-c", f"{login} {name}@127.0.0.1 id -un").stdout == "uma\n"
        assert not [one for one in host.doctor("uma") if one["check"] == "user.spelling"]
    finally:
        machine.shell("rm /etc/sssd/sssd.conf; gpasswd --delete uma ssh2container || true")


def test_a_local_twin_of_a_directorys_user_is_given_a_uid_of_its_own(host: Installation) -> None:
    """Of two, the one in /etc/passwd is given another: usermod cannot change the other."""
    machine = host.machine
    machine.shell("useradd -o -u 71001 -s /bin/bash twin")
    try:
        (found,) = [one for one in host.doctor("dora") if one["check"] == "user.uid"]
        machine.shell(found["remedy"])
        assert not [one for one in host.doctor("dora") if one["check"] == "user.uid"]
        assert machine.run("id", "-u", "dora").stdout == "71001\n"
    finally:
        machine.shell("userdel --force twin")


def test_who_keeps_a_shell_of_the_host_has_it(host: Installation, login: str) -> None:
    """Named, he is left alone; covered all the same, he gets it by way of ssh2container-session."""
    machine = host.machine
    asked = f"{login} tutor@127.0.0.1 'id -un; ls -d /etc/directory'"
    assert machine.run("bash", "-c", asked).stdout == "tutor\n/etc/directory\n"
    text = machine.read(DROP_IN)
    machine.write(DROP_IN, text.replace(",!tutor", ""))
    reread = (
        f"rm /root/directory.pid; kill -HUP $(pgrep -f '^sshd: /usr/sbin/sshd.*directory_config'); {WRITTEN}"
    )
    machine.shell(reread)
    try:
        assert machine.run("bash", "-c", asked).stdout == "tutor\n/etc/directory\n"
    finally:
        machine.write(DROP_IN, text)
        machine.shell(reread)


def test_who_is_in_no_group_and_has_no_policy_is_refused(host: Installation, login: str) -> None:
    """The control of the tests above: the sshd forwards for whom it is not told to close it."""
    assert banner(host, login, "stranger").startswith("SSH-2.0")
    done = host.machine.run("bash", "-c", f"{login} stranger@127.0.0.1 true", check=False)
    assert done.returncode == 126


def test_the_doctor_asks_for_them_by_name(host: Installation) -> None:
    found = host.doctor()
    about = {one["subject"] for one in found if one["check"] == "sshd.allowtcpforwarding"}
    assert {"dora", "uma"} <= about
    assert not [one for one in found if one["subject"] in ("dora", "uma") and one["check"] == "user.group"]


def test_a_drop_in_that_covers_the_local_group_alone(host: Installation, login: str) -> None:
    """The session is refused, the doctor names the cause first, and its remedy mends it."""
    machine = host.machine
    text = machine.read(DROP_IN)
    machine.run("cp", "/usr/share/ssh2container/sshd_config.d/10-ssh2container.conf", DROP_IN)
    reread = f"pid=$(cat /root/directory.pid); rm /root/directory.pid; kill -HUP $pid; {WRITTEN}"
    machine.shell(reread)
    try:
        refused = machine.run("bash", "-c", f"{login} dora@127.0.0.1 true", check=False)
        assert refused.returncode == 126
        assert "sshd has not applied its drop-in" in refused.stderr
        found = host.doctor("dora")
        (cause,) = [one for one in found if one["check"] == "user.group"]
        assert cause["level"] == "problem"
        follows = [one for one in found if one["because"] == "user.group dora"]
        assert "sshd.allowtcpforwarding" in {one["check"] for one in follows}
        shown = host.control("doctor", "dora", check=False).stdout
        assert shown.index("the drop-in does not apply to this user") < shown.index("so: AllowTcpForwarding")
        machine.shell(cause["remedy"])
        assert not [one for one in host.doctor("dora") if one["check"] == "user.group"]
        assert machine.run("bash", "-c", f"{login} dora@127.0.0.1 echo in").stdout == "in\n"
    finally:
        machine.write(DROP_IN, text)
        machine.shell(reread)


def test_many_are_disabled_one_by_one(host: Installation) -> None:
    """Whose shell is the directory's to change is said, and the others are done."""
    host.add_user("local1")
    host.add_user("local2")
    host.control("enable", "local1", "local2")
    done = host.control("disable", "--json", "local1", "dora", "nosuch", "local2", check=False)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert {"host", "version"} <= set(told)
    assert [("error" in user) for user in told["users"]] == [False, True, True, False]
    assert "in the user's directory service" in told["users"][1]["error"]
    assert host.shell_of("local2") == "/usr/sbin/nologin"
    said = host.control("disable", "dora", "uma", check=False)
    assert "0 of 2 users done; not: dora, uma" in said.stderr


def test_everybody_but_those_who_are_named(host: Installation, login: str) -> None:
    machine = host.machine
    host.add_user("admin1")
    text = machine.read("/etc/ssh2container/config.yaml")
    machine.shell("sed -i 's/^admit:.*/admit: everybody/' /etc/ssh2container/config.yaml")
    try:
        host.control("compile", "--reload-sshd")
        assert ",!admin1," in machine.read(DROP_IN)
        assert banner(host, login, "stranger") == ""
        assert machine.run("bash", "-c", f"{login} stranger@127.0.0.1 echo in").stdout == "in\n"
    finally:
        machine.write("/etc/ssh2container/config.yaml", text)
        host.control("compile", "--reload-sshd")

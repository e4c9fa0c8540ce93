"""enable and disable: what they make, refuse, and take back when a step fails."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.installation import Installation

SHELL = "/usr/bin/ssh2container"


@pytest.fixture
def alice(shared: Installation) -> Iterator[str]:
    """A user of the shared machine, gone afterwards."""
    shared.add_user("alice")
    yield "alice"
    machine = shared.machine
    machine.run("pkill", "-KILL", "-U", "alice", check=False)
    machine.shell(
        "uid=$(id -u alice); rm -rf /run/ssh2container/$uid /etc/tmpfiles.d/ssh2container-$uid.conf "
        "/var/lib/ssh2container/enrolled/$uid.json /srv/homes /etc/ssh2container/users/alice.yaml; "
        "userdel --remove --force alice 2>/dev/null"
    )


def test_everything_that_a_login_needs(shared: Installation, alice: str) -> None:
    shared.control("enable", alice)
    machine = shared.machine
    uid = machine.run("id", "-u", alice).stdout.strip()
    assert shared.shell_of(alice) == SHELL
    assert "ssh2container" in machine.run("id", "-nG", alice).stdout.split()
    assert machine.run("stat", "-c", "%a %U", f"/run/ssh2container/{uid}").stdout == "700 alice\n"
    assert f"d /run/ssh2container/{uid} 0700 {uid} " in machine.read(
        f"/etc/tmpfiles.d/ssh2container-{uid}.conf"
    )
    assert "extends: [shell]" in machine.read("/etc/ssh2container/users/alice.yaml")
    machine.run("test", "-s", "/var/lib/ssh2container/compiled/policy/users/alice")
    assert (
        shared.inside(alice, "id -un; test -e /root/source || echo not the host").stdout
        == "alice\nnot the host\n"
    )


def test_a_second_time_changes_nothing(shared: Installation, alice: str) -> None:
    shared.control("enable", alice)
    before = shared.manifest()
    told = json.loads(shared.control("enable", "--json", alice).stdout)["users"][0]["changes"]
    assert shared.manifest() == before
    assert {change["state"] for change in told if change["change"] != "compile the policies"} == {"already"}


def test_a_dry_run_changes_nothing(shared: Installation, alice: str) -> None:
    before = shared.manifest()
    said = shared.control("enable", "--dry-run", alice).stdout
    assert shared.manifest() == before
    assert "would: set alice's login shell to /usr/bin/ssh2container" in said


def test_a_home_that_the_policy_names(shared: Installation, alice: str) -> None:
    policy = "image: host\nhome: {source: /srv/homes/%u, skel: /etc/skel}\n"
    shared.machine.write("/etc/ssh2container/users/alice.yaml", policy)
    shared.control("enable", alice)
    assert shared.machine.run("stat", "-c", "%a %U %G", "/srv/homes/alice").stdout == "700 alice alice\n"
    assert shared.machine.run("stat", "-c", "%U", "/srv/homes/alice/.profile").stdout == "alice\n"
    shared.inside(alice, "echo kept >note")
    assert shared.inside(alice, "cat note").stdout == "kept\n"


def test_a_home_where_others_could_put_a_link(shared: Installation, alice: str) -> None:
    """Root makes no directory below one that somebody else can write to."""
    shared.machine.run("install", "-d", "-m", "777", "/srv/homes")
    shared.machine.write(
        "/etc/ssh2container/users/alice.yaml", "image: host\nhome: {source: /srv/homes/%u}\n"
    )
    done = shared.control("enable", alice, check=False)
    assert done.returncode == 1
    assert "/srv/homes is a link, not root's, or writable by others" in done.stderr
    assert shared.shell_of(alice) == "/bin/bash"


def test_root_is_refused(shared: Installation) -> None:
    done = shared.control("enable", "root", check=False)
    assert done.returncode == 126
    assert "uid 0 cannot be contained" in done.stderr
    assert shared.shell_of("root") == "/bin/bash"


@pytest.mark.parametrize("group", ["sudo", "adm", "disk", "shadow"])
def test_powerful_groups_are_refused_and_left_on_request(
    shared: Installation, alice: str, group: str
) -> None:
    shared.machine.run("gpasswd", "--add", alice, group)
    done = shared.control("enable", alice, check=False)
    assert done.returncode == 126
    assert f"a member of {group}" in done.stderr
    assert "--leave-groups" in done.stderr
    assert shared.shell_of(alice) == "/bin/bash"
    shared.control("enable", "--leave-groups", alice)
    assert group not in shared.machine.run("id", "-nG", alice).stdout.split()
    assert shared.inside(alice, "echo inside").stdout == "inside\n"


def test_an_unknown_user(shared: Installation) -> None:
    done = shared.control("enable", "nobody-of-that-name", check=False)
    assert done.returncode == 1
    assert "no user 'nobody-of-that-name'" in done.stderr


def test_a_policy_with_an_error_leaves_everything_as_it_was(shared: Installation, alice: str) -> None:
    shared.machine.write("/etc/ssh2container/users/alice.yaml", "image: host\nimagine: dragons\n")
    before = shared.names()
    done = shared.control("enable", alice, check=False)
    assert done.returncode != 0
    assert "users/alice.yaml:2" in done.stderr
    assert shared.names() == before


def test_a_failing_step_undoes_those_before_it(shared: Installation, alice: str) -> None:
    """usermod fails, as it does while another holds the lock of /etc/passwd."""
    before = shared.names()
    machine = shared.machine
    machine.run("mv", "/usr/sbin/usermod", "/usr/sbin/usermod.away")
    machine.write("/usr/sbin/usermod", "#!/bin/sh\necho 'cannot lock /etc/passwd' >&2\nexit 1\n", 0o755)
    done = shared.control("enable", alice, check=False)
    machine.run("mv", "/usr/sbin/usermod.away", "/usr/sbin/usermod")
    assert done.returncode == 1
    assert "cannot lock /etc/passwd" in done.stderr
    assert "undone: add alice to the group ssh2container" in done.stdout
    compiled = {name for name in shared.names() if "/compiled/" in name}
    assert shared.names() - compiled == {name for name in before if "/compiled/" not in name}
    assert shared.shell_of(alice) == "/bin/bash"


class TestDisable:
    def test_nologin_and_still_in_the_group(self, shared: Installation, alice: str) -> None:
        shared.control("enable", alice)
        shared.control("disable", alice)
        assert shared.shell_of(alice) == "/usr/sbin/nologin"
        assert "ssh2container" in shared.machine.run("id", "-nG", alice).stdout.split()
        uid = shared.machine.run("id", "-u", alice).stdout.strip()
        assert shared.machine.run("test", "-e", f"/run/ssh2container/{uid}", check=False).returncode == 1

    def test_the_former_shell(self, shared: Installation, alice: str) -> None:
        shared.control("enable", alice)
        shared.control("disable", "--restore-shell", alice)
        assert shared.shell_of(alice) == "/bin/bash"
        assert "ssh2container" not in shared.machine.run("id", "-nG", alice).stdout.split()

    def test_no_former_shell(self, shared: Installation, alice: str) -> None:
        shared.machine.run("usermod", "--shell", SHELL, alice)
        done = shared.control("disable", "--restore-shell", alice, check=False)
        assert done.returncode == 126
        assert "none was recorded" in done.stderr

    @pytest.mark.parametrize("options", [[], ["--restore-shell"]])
    def test_who_never_had_our_shell_keeps_his(
        self, shared: Installation, alice: str, options: list[str]
    ) -> None:
        done = shared.control("disable", *options, alice, check=False)
        assert done.returncode == 126
        assert "the login shell is /bin/bash" in done.stderr
        assert shared.shell_of(alice) == "/bin/bash"


class TestAgentForwarding:
    """The drop-in is rendered from the policies: an exception before the block that forbids."""

    POLICY = "image: host\nallow_agent_forwarding: true\n"

    def test_the_exception_holds_for_that_user_alone(self, shared: Installation, alice: str) -> None:
        shared.machine.write("/etc/ssh2container/users/alice.yaml", self.POLICY)
        shared.control("enable", alice)
        asked = "host=h,addr=127.0.0.1"
        hers = shared.machine.run("/usr/sbin/sshd", "-T", "-C", f"user=alice,{asked}").stdout
        assert "allowagentforwarding yes\n" in hers
        assert "allowtcpforwarding no\n" in hers
        assert "disableforwarding no\n" in hers
        others = shared.machine.run("/usr/sbin/sshd", "-T", "-C", f"user=root,{asked}").stdout
        assert "forcecommand none\n" in others
        shared.control("disable", "--restore-shell", alice)
        shared.control("sshd-config", "--write")
        assert "alice" not in shared.machine.read("/etc/ssh/sshd_config.d/10-ssh2container.conf")

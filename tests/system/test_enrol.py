"""enable and disable: what they make, refuse, and take back when a step fails."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.installation import Installation

SHELL = "/usr/bin/ssh2container"
DROP_IN = "/etc/ssh/sshd_config.d/10-ssh2container.conf"


@pytest.fixture
def alice(shared: Installation) -> Iterator[str]:
    """A user of the shared machine, gone afterwards."""
    shared.add_user("alice")
    shared.control("compile", check=False)  # nothing of the one before
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


FAILING = """
import json, sys
from ssh2container.admin import account
from ssh2container.admin.accounts import enable
from ssh2container.admin.change import carry_out
from ssh2container.errors import SessionError

errors = {"session": SessionError("it fails"), "os": OSError(28, "No space"), "ended": KeyboardInterrupt(15)}
number, error = int(sys.argv[1]), errors[sys.argv[2]]
changes = enable.enabling(account.find("alice"), profile="transfer-only", leave_groups=True)
if number < len(changes):
    def fail():
        raise error
    changes[number].done = lambda: False
    changes[number].do = fail
try:
    carry_out(changes, lambda state, change: print(state, change.describe()))
except (SessionError, KeyboardInterrupt):
    sys.exit(0 if number < len(changes) else 3)
sys.exit(4)
"""
"""Enables alice with one step that fails, and ends with 0; with 4 when there is no such step."""


def whole_state(shared: Installation) -> set[str]:
    """What there is on the machine, and what its account files say."""
    files = " ".join(f"/etc/{name}" for name in ("passwd", "group", "gshadow", "subuid", "subgid"))
    said = shared.machine.shell(
        f"grep -H '' {files}; find /run/ssh2container -printf '%p %m %u %g\\n' | sort"
    )
    return shared.names() | {*said.splitlines()}


@pytest.mark.parametrize("error", ["session", "os", "ended"])
def test_whichever_step_fails_everything_is_as_it_was(shared: Installation, alice: str, error: str) -> None:
    machine = shared.machine
    machine.run("gpasswd", "--add", alice, "adm")
    before = whole_state(shared)
    program = f"import sys; sys.path[:0] = ['/usr/lib/ssh2container/current']\n{FAILING}"
    for number in range(100):
        done = machine.run("/usr/bin/python3", "-IB", "-c", program, str(number), error, check=False)
        if done.returncode == 4:
            assert number > 10, "there are as many steps as that"
            break
        assert done.returncode == 0, (number, done.stderr)
        assert whole_state(shared) ^ before == set(), f"step {number}: {done.stdout}"
    assert shared.shell_of(alice) == SHELL


@pytest.mark.parametrize(
    "spoil",
    [
        "touch /run/ssh2container/$uid",
        "mv /usr/bin/gpasswd /usr/bin/gpasswd.away",
        "mkdir -p /srv/homes && chmod 777 /srv/homes",
        "mv /usr/lib/openssh/sftp-server /usr/lib/openssh/sftp-server.away",
    ],
)
def test_what_can_fail_on_a_host_leaves_nothing(shared: Installation, alice: str, spoil: str) -> None:
    """A step that really fails; the last of them is found by trying the login."""
    machine = shared.machine
    uid = machine.run("id", "-u", alice).stdout.strip()
    machine.shell(f"uid={uid}; {spoil}")
    try:
        before = whole_state(shared)
        done = shared.control("enable", "--profile", "transfer-only", alice, check=False)
        assert done.returncode != 0
        assert whole_state(shared) ^ before == set()
        assert shared.shell_of(alice) == "/bin/bash"
    finally:
        machine.shell(
            f"rm -rf /run/ssh2container/{uid} /srv/homes; "
            "for name in /usr/bin/gpasswd /usr/lib/openssh/sftp-server; "
            "do test ! -e $name.away || mv $name.away $name; done"
        )


def test_a_profile_that_does_not_exist(shared: Installation, alice: str) -> None:
    before = whole_state(shared)
    done = shared.control("enable", "--profile", "sftp-dorp", alice, check=False)
    assert done.returncode == 126
    assert 'did you mean "sftp-drop"' in done.stderr
    assert whole_state(shared) ^ before == set()


@pytest.mark.parametrize("profile", ["sftp-drop", "transfer-only"])
def test_what_is_uploaded_has_a_place_that_stays(shared: Installation, alice: str, profile: str) -> None:
    shared.control("enable", "--profile", profile, alice)
    assert "home: {source: /srv/homes/%u}" in shared.machine.read("/etc/ssh2container/users/alice.yaml")
    session = "/usr/bin/ssh2containerctl try --user alice -- internal-sftp"
    shared.machine.shell(f"echo 'put /etc/hostname kept' | sftp -b - -D '{session}'")
    assert shared.machine.read("/srv/homes/alice/kept") == shared.machine.read("/etc/hostname")


def test_a_profile_that_needs_a_place_which_only_people_can_name(shared: Installation, alice: str) -> None:
    before = whole_state(shared)
    done = shared.control("enable", "--profile", "git-only", alice, check=False)
    assert done.returncode == 126
    assert "discarded at logout" in done.stderr
    assert "volumes: [/srv/git:/git:rw]" in done.stderr
    assert whole_state(shared) ^ before == set()


def test_a_policy_that_loses_uploads_is_said_so(shared: Installation, alice: str) -> None:
    shared.machine.write("/etc/ssh2container/users/alice.yaml", "image: host\nextends: [sftp-drop]\n")
    said = shared.control("enable", alice).stdout
    assert "warning: what arrives by sftp goes into memory and is discarded at logout" in said
    checked = shared.control("check", check=False)
    assert "users/alice.yaml" in checked.stdout
    assert "discarded at logout" in checked.stdout


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


def test_what_a_deleted_account_has_left(shared: Installation, alice: str) -> None:
    """The doctor finds all of it, and its remedy leaves nothing to whoever gets the uid next."""
    machine = shared.machine
    shared.add_user("berta")
    for name in (alice, "berta"):
        machine.write(f"/etc/ssh2container/users/{name}.yaml", "image: host\nhome: {source: /srv/homes/%u}\n")
    shared.control("enable", alice, "berta")
    assert not [one for one in shared.doctor("--host") if one["check"] == "user.gone"]
    uid = machine.run("id", "-u", "berta").stdout.strip()
    machine.shell("userdel --force --remove berta 2>/dev/null; rm /etc/ssh2container/users/berta.yaml")
    told = [one["text"] for one in shared.doctor("--host") if one["check"] == "user.gone"]
    for left in (f"/run/ssh2container/{uid}", f"ssh2container-{uid}.conf", f"{uid}.json", "/srv/homes/berta"):
        assert any(left in text for text in told), told
    shared.control("disable", "--gone")
    assert not [one for one in shared.doctor("--host") if one["check"] == "user.gone"]
    assert machine.run("stat", "-c", "%U %a", "/srv/homes/berta").stdout == "root 700\n"
    assert machine.run("stat", "-c", "%U", "/srv/homes/alice").stdout == "alice\n"


class TestCompileAndTheDropIn:
    """What compile does to sshd's configuration: said, once, and never to a broken one."""

    @pytest.fixture
    def crew(self, shared: Installation) -> Iterator[str]:
        machine = shared.machine
        before = machine.read("/etc/ssh2container/config.yaml")
        machine.shell("groupadd --force crew")
        ordered = before.replace("group_order: []", "group_order: [crew]")
        machine.write("/etc/ssh2container/config.yaml", ordered)
        machine.write("/etc/ssh2container/groups/crew.yaml", "image: host\n")
        yield DROP_IN
        machine.shell("rm -f /etc/ssh2container/groups/crew.yaml; groupdel crew")
        machine.write("/etc/ssh2container/config.yaml", before)
        shared.control("compile")

    def test_what_comes_and_goes_is_said_and_a_second_time_changes_nothing(
        self, shared: Installation, crew: str
    ) -> None:
        said = shared.control("compile").stdout
        assert f"done: render {crew} from the policies (" in said
        assert "+ Match Group crew" in said
        written = shared.machine.run("stat", "-c", "%i %Y", crew).stdout
        assert "render" not in shared.control("compile").stdout
        assert shared.machine.run("stat", "-c", "%i %Y", crew).stdout == written
        shared.machine.shell("rm /etc/ssh2container/groups/crew.yaml")
        assert "- Match Group crew" in shared.control("compile").stdout

    def test_a_configuration_that_sshd_refuses_is_left_as_it_is(
        self, shared: Installation, crew: str
    ) -> None:
        machine = shared.machine
        text = machine.read(crew)
        machine.write("/etc/ssh/sshd_config.d/99-broken.conf", "Nonsense yes\n")
        try:
            done = shared.control("compile", check=False)
            assert done.returncode == 1
            assert "sshd already refuses its configuration" in " ".join(done.stderr.split())
            assert machine.read(crew) == text
        finally:
            machine.shell("rm /etc/ssh/sshd_config.d/99-broken.conf")
        assert "+ Match Group crew" in shared.control("compile").stdout

    def test_one_that_was_changed_by_hand_stays(self, shared: Installation, crew: str) -> None:
        machine = shared.machine
        text = machine.read(crew)
        machine.write(crew, f"# mine\n{text}")
        try:
            assert "render" not in shared.control("compile").stdout
            assert machine.read(crew) == f"# mine\n{text}"
        finally:
            machine.write(crew, text)


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


def slice_of(shared: Installation, user: str) -> str:
    uid = shared.machine.run("id", "-u", user).stdout.strip()
    return f"/etc/systemd/system/user-{uid}.slice.d/50-ssh2container.conf"


def test_limits_that_nothing_here_can_keep_are_refused(shared: Installation, alice: str) -> None:
    """A throw-away machine runs no systemd."""
    policy = "extends: [shell]\nuser_limits: {pids_limit: 100}\n"
    shared.machine.write("/etc/ssh2container/users/alice.yaml", policy)
    before = shared.names()
    done = shared.control("enable", alice, check=False)
    assert done.returncode == 1
    assert "cannot limit alice: systemd does not run here; write limits: best to go on" in done.stderr
    compiled = {name for name in shared.names() if "/compiled/" in name}
    assert shared.names() - compiled == {name for name in before if "/compiled/" not in name}


def test_the_limits_of_a_user_come_and_go_with_the_login_shell(shared: Installation, alice: str) -> None:
    machine, path = shared.machine, slice_of(shared, alice)
    text = "extends: [shell]\nlimits: best\nuser_limits: {pids_limit: 100}\n"
    machine.write("/etc/ssh2container/users/alice.yaml", text)
    assert f"done: limit alice together ({path})" in shared.control("enable", alice).stdout
    assert "TasksMax=100\n" in machine.read(path)
    assert machine.run("stat", "-c", "%a %U", path).stdout == "644 root\n"
    (found,) = (one for one in shared.doctor(alice) if one["check"] == "limits.users")
    assert (found["level"], found["text"]) == (
        "warning",
        "user_limits hold nobody: systemd does not run here",
    )
    machine.write("/etc/ssh2container/users/alice.yaml", text.replace("100", "200"))
    assert f"done: limit alice together ({path})" in shared.control("compile").stdout
    assert "TasksMax=200\n" in machine.read(path)
    shared.control("disable", "--restore-shell", alice)
    assert machine.run("test", "-e", path, check=False).returncode == 1
    assert machine.run("test", "-e", path.rpartition("/")[0], check=False).returncode == 1


def test_a_drop_in_of_a_slice_that_was_changed_by_hand_stays(shared: Installation, alice: str) -> None:
    machine, path = shared.machine, slice_of(shared, alice)
    policy = "extends: [shell]\nlimits: best\nuser_limits: {pids_limit: 100}\n"
    machine.write("/etc/ssh2container/users/alice.yaml", policy)
    shared.control("enable", alice)
    machine.run("sed", "-i", "s/=100/=5000/", path)
    shared.control("compile")
    shared.control("disable", "--restore-shell", alice)
    assert "TasksMax=5000\n" in machine.read(path)
    machine.run("rm", "-r", path.rpartition("/")[0])


def test_the_limits_of_a_deleted_account_go_with_what_it_left(shared: Installation) -> None:
    shared.add_user("carol")
    path = slice_of(shared, "carol")
    policy = "extends: [shell]\nlimits: best\nuser_limits: {pids_limit: 100}\n"
    shared.machine.write("/etc/ssh2container/users/carol.yaml", policy)
    shared.control("enable", "carol")
    shared.machine.shell("userdel --remove --force carol; rm /etc/ssh2container/users/carol.yaml")
    assert f"remove the limits of carol ({path})" in shared.control("disable", "--gone").stdout
    assert shared.machine.run("test", "-e", path, check=False).returncode == 1

"""``ssh2containerctl verify`` under every shipped profile, and its command line."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator

import pytest
from support.host import mount_table, run
from support.images import grant, ranged_image
from support.leaks import assert_nothing_left
from support.ledger import Ledger
from support.login import login
from support.users import MakeUser, User
from support.verification import CONTROL, Report, failed

PROFILES = "/usr/share/ssh2container/profiles"
HOMES = "/srv/homes"
GROUPS = {
    "Mounts and namespaces",
    "/proc and /sys",
    "Devices and terminals",
    "Privileges",
    "Processes and IPC",
    "Kernel surface",
    "Network",
    "Files",
    "Resources and life cycle",
}
KEYS = {
    "bastion": {"network_mode", "ulimits.as"},
    "developer": {"ulimits.nproc", "ulimits.as", "userns_mode", "user"},
    "editor": {"ulimits.nproc", "ulimits.as"},
    "lab": {"ulimits.as"},
    "locked-down": {"ulimits.as"},
}
"""Profile -> the keys that may excuse an attempt; the others limit neither processes nor memory."""


@pytest.fixture
def home(ledger: Ledger) -> Iterator[Callable[[User], None]]:
    """Make the kept home that some profiles want."""
    made: list[str] = []

    def make(user: User) -> None:
        path = f"{HOMES}/{user.name}"
        ledger.note_path(path)
        os.makedirs(HOMES, 0o755, exist_ok=True)
        os.mkdir(path, 0o700)
        os.chown(path, user.uid, user.gid)
        made.append(path)

    yield make
    for path in made:
        run(["rm", "-rf", "--one-file-system", path]).ok()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with ranged_image() as name:
        yield name


@pytest.mark.parametrize("profile", sorted(name.removesuffix(".yaml") for name in os.listdir(PROFILES)))
def test_no_attempt_succeeds_under_a_shipped_profile(
    make_user: MakeUser,
    home: Callable[[User], None],
    verify: Callable[[User], Report],
    profile: str,
    image: str,
) -> None:
    where = "home: {source: /srv/homes/%u}\n" if profile == "exam" else ""
    user = make_user(f"extends: [{profile}]\n{where}image: {image if profile == 'developer' else 'host'}\n")
    grant(user)
    home(user)
    report = verify(user)
    assert {name: report[name]["detail"] for name in failed(report)} == {}
    excuses = {row["key"] for row in report.values() if row["result"] == "expected-by-policy"}
    assert excuses <= KEYS.get(profile, {"ulimits.nproc", "ulimits.as"})
    assert all(row["key"] for row in report.values() if row["result"] == "expected-by-policy")


def test_the_report_is_complete(user: User, verify: Callable[[User], Report]) -> None:
    report = verify(user)
    assert len(report) >= 140
    assert {row["group"] for row in report.values()} == GROUPS
    assert all(row["source"] for row in report.values())
    assert {row["result"] for row in report.values()} <= {
        "pass",
        "weak pass",
        "expected-by-policy",
        "skipped",
        "fail",
    }
    assert sum(row["result"] == "pass" for row in report.values()) >= 300


def test_a_read_only_volume_is_probed(make_user: MakeUser, verify: Callable[[User], Report]) -> None:
    user = make_user("image: host\nvolumes: [/etc/ssh:/kept:ro]\n")
    report = verify(user)
    assert failed(report) == set()
    assert report["nothing below a read-only volume is writable"]["result"] == "pass"


def test_what_a_policy_opens_is_told_with_its_key(
    make_user: MakeUser, verify: Callable[[User], Report]
) -> None:
    user = make_user("image: host\nseccomp: {allow: [set_mempolicy]}\nulimits: {nproc: 40}\n")
    report = verify(user)
    assert failed(report) == set()
    row = report["set_mempolicy"]
    assert (row["result"], row["key"]) == ("expected-by-policy", "seccomp.allow")
    assert report["a fork bomb ends with EAGAIN"]["result"] == "pass"


def test_people_get_a_grouped_report(user: User) -> None:
    done = run([CONTROL, "verify", user.name]).ok()
    assert done.text.splitlines()[-1].endswith(" 0 fail")
    for group in GROUPS:
        assert f"{group}: " in done.text
    everything = run([CONTROL, "verify", "--all", user.name]).ok()
    assert "pivot_root: EPERM" in everything.text


def test_a_user_verifies_himself(user: User) -> None:
    """Inside his container there is no ssh2containerctl; a user with another shell on the host has one."""
    drop = ["setpriv", "--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups"]
    done = run([*drop, CONTROL, "verify", "--json"], env=user.environment(), cwd="/")
    report = json.loads(done.ok().out)
    assert report["user"] == user.name
    assert report["counts"]["fail"] == 0


def test_nobody_verifies_another(user: User, other_user: User) -> None:
    drop = ["setpriv", "--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups"]
    done = run([*drop, CONTROL, "verify", other_user.name], env=user.environment(), cwd="/")
    assert done.status == 126
    assert "only root and the user can" in done.errors


def test_a_user_without_a_policy_cannot_be_verified(make_user: MakeUser) -> None:
    done = run([CONTROL, "verify", make_user(policy=None).name])
    assert done.status == 125
    assert "there is no policy" in done.errors


def test_a_name_that_nobody_has(user: User) -> None:
    done = run([CONTROL, "verify", user.name + "-nobody"])
    assert done.status == 126
    assert "cannot find the user" in done.errors
    assert pwd.getpwnam(user.name)


def test_root_has_no_sessions_to_verify() -> None:
    done = run([CONTROL, "verify"])
    assert done.status == 2
    assert "name the USER" in done.errors


def test_no_argument_variable_or_command_of_a_login_reaches_the_probes(user: User) -> None:
    """What verify puts in place of the program is a function; a login has only text to offer."""
    for words in (["probes"], ["--verify"], ["-c", "verify", "probes"], ["--scenario", "probes"]):
        assert login(user, *words).status == 126
    environment = dict.fromkeys(("SSH2CONTAINER_CALL", "SSH2CONTAINER_VERIFY", "VERIFY", "CALL"), "probes")
    done = login(user, "-c", "echo ran", environment=environment)
    assert done.ok().text == "ran\n"


def test_a_verification_leaves_nothing(user: User) -> None:
    before = mount_table()
    run([CONTROL, "verify", user.name]).ok()
    assert_nothing_left(user, before)
    with open("/proc/sysvipc/shm", encoding="ascii") as file:
        assert f" {user.uid} " not in file.read()

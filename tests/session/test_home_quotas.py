"""What a kept home may hold, on file systems of the test's own: set, changed, taken back, and not escaped.

Kernels without project quotas (quota_v2, XFS_QUOTA) still keep the numbers of projects: what needs limits of
ext4 and xfs is tried on the distributions' kernels in tests/system/test_whole_homes.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import disks
from support.hanging import served
from support.host import run
from support.login import login
from support.users import MakeUser, User

from ssh2container.admin import account
from ssh2container.admin.accounts import enable
from ssh2container.admin.accounts.home_quota import LimitHome, TakeQuota
from ssh2container.admin.accounts.home_source import HomeSource
from ssh2container.admin.accounts.runtime import entry_of
from ssh2container.admin.quotas import homes
from ssh2container.admin.quotas.projects import Projects
from ssh2container.admin.quotas.quota import Quota
from ssh2container.errors import SessionError
from ssh2container.kernel import quotas

MIB = 1024**2
PROJECT = 0x6123_4567
ASSIGN = """
import fcntl, os, sys
attributes = bytearray(28)
place = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(place, 0x801C581F, attributes)
print(int.from_bytes(attributes[12:16], "little"))
for change in ((slice(12, 16), 0), (slice(0, 4), 0)):
    changed = bytearray(attributes)
    changed[change[0]] = change[1].to_bytes(4, "little")
    try:
        fcntl.ioctl(place, 0x401C5820, changed)
        print("escaped")
    except OSError as error:
        print(error.strerror)
"""


@pytest.fixture(scope="module")
def btrfs() -> Iterator[str]:
    with disks.mounted("btrfs") as place:
        run(["btrfs", "quota", "enable", place]).ok()
        yield place


@pytest.fixture
def xfs() -> Iterator[str]:
    with disks.mounted("xfs") as place:
        yield place


def policy(place: str, rest: str) -> str:
    return f"image: host\nhome: {{source: {place}/%u, {rest}}}\n"


def rewrite(user: User, text: str) -> None:
    """Put another policy in place of the user's, as a file of its own whatever the clock says."""
    with open(user.policy_file + ".new", "w") as file:
        file.write(text)
    os.rename(user.policy_file + ".new", user.policy_file)


def limit(user: User) -> LimitHome:
    return LimitHome(account.find(user.name), enable.policy_of, enable.specifier_values)


@pytest.fixture
def limited(btrfs: str, make_user: MakeUser) -> Iterator[User]:
    """A user whose home on btrfs may hold 20 MiB."""
    user = make_user(policy(btrfs, "size: 20m"))
    found = account.find(user.name)
    enable.HomeOfPolicy(found).done()
    changes = [enable.HomeOfPolicy(found), limit(user)]
    for change in changes:
        assert not change.done()
        change.do()
        assert change.done()
    yield user
    TakeQuota(user.uid).do()
    run(["btrfs", "subvolume", "delete", f"{btrfs}/{user.name}"]).ok()


def status(user: User) -> dict[str, object]:
    told: dict[str, object] = json.loads(run(["ssh2containerctl", "status", "--json", user.name]).ok().text)[
        "users"
    ][0]
    return told


def fill(user: User, mebibytes: int) -> str:
    done = login(
        user, "-c", f"dd if=/dev/zero of=$RANDOM bs=1M count={mebibytes} conv=fsync; echo alive; sync"
    )
    assert done.text.endswith("alive\n"), done.errors
    return done.errors


def test_a_home_on_btrfs_is_limited_for_its_user(limited: User) -> None:
    assert "Disk quota exceeded" in fill(limited, 30)
    told = status(limited)
    assert told["limit_bytes"] == 20 * MIB
    used = told["used_bytes"]
    assert isinstance(used, int)
    assert 15 * MIB < used <= 20 * MIB
    # Logged in with nothing left, they can make room.
    assert login(limited, "-c", "echo no >>more").errors.endswith("Disk quota exceeded\n")
    login(limited, "-c", "rm [0-9]*; sync").ok()
    assert "Disk quota exceeded" not in fill(limited, 5)


def test_subvolumes_and_snapshots_which_nobody_counts_are_refused_inside(limited: User) -> None:
    home = f"{os.path.dirname(homes_path(limited))}/{limited.name}"
    inside = "; ".join(
        f"{command} 2>&1" for command in ("btrfs subvolume create a", "btrfs subvolume snapshot . b")
    )
    done = login(limited, "-c", inside)
    assert done.text.count("Operation not permitted") == 2, done.text
    # Without the wall anybody may make them, and so hold what they like.
    outside = subprocess.run(
        ["btrfs", "subvolume", "create", f"{home}/a"], user=limited.uid, group=limited.gid, extra_groups=(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outside.returncode == 0, outside.stderr
    run(["btrfs", "subvolume", "delete", f"{home}/a"]).ok()


def homes_path(user: User) -> str:
    record = homes.recorded(user.uid)
    assert record is not None
    return record.path


def test_a_quota_follows_the_policy_and_goes_with_it(limited: User, btrfs: str) -> None:
    for rest, size in (("size: 40m", 40 * MIB), ("size: 10m", 10 * MIB)):
        rewrite(limited, policy(btrfs, rest))
        change = limit(limited)
        assert not change.done()
        change.do()
        assert limit(limited).done()
        assert status(limited)["limit_bytes"] == size
    change.undo()
    assert status(limited)["limit_bytes"] == 40 * MIB
    rewrite(limited, policy(btrfs, "size: none"))
    change = limit(limited)
    assert not change.done()
    change.do()
    assert homes.recorded(limited.uid) is None
    assert status(limited)["limit_bytes"] is None
    assert "none" in run(["btrfs", "qgroup", "show", "-re", "-f", f"{btrfs}/{limited.name}"]).ok().text


def test_a_quota_changed_by_hand_is_told_and_set_again(limited: User, btrfs: str) -> None:
    assert status(limited)["problem"] is None
    run(["btrfs", "qgroup", "limit", "none", f"{btrfs}/{limited.name}"]).ok()
    change = limit(limited)
    assert not change.done()
    missing = "the policy names a quota of 20m, and the home has none: ssh2containerctl doctor"
    assert status(limited)["problem"] == missing
    assert missing in run(["ssh2containerctl", "status", limited.name]).errors
    told = run(["ssh2containerctl", "doctor", limited.name]).text
    assert "nothing in particular instead of 20m" in " ".join(told.split())
    change.do()
    assert status(limited)["limit_bytes"] == 20 * MIB


def test_what_cannot_be_limited_is_an_error_unless_best_will_do(btrfs: str, make_user: MakeUser) -> None:
    user = make_user(policy("/dev/shm/s2c-none", "size: 20m"))
    found = account.find(user.name)
    with pytest.raises(SessionError, match=r"is tmpfs, which limits no directories.*ext4, xfs or btrfs"):
        limit(user).done()
    told = run(["ssh2containerctl", "check"])
    assert told.status == 1
    assert "is tmpfs, which limits no directories" in told.text
    rewrite(user, policy("/dev/shm/s2c-none", "size: 20m") + "limits: best\n")
    change = limit(user)
    assert change.done()
    assert "go without a quota" in change.describe()
    assert "names a quota of 20m, and the home has none" in str(status(user)["problem"])
    assert "warning: cannot limit" in run(["ssh2containerctl", "check"]).text
    rewrite(user, policy(btrfs, "inodes: 1000"))
    with pytest.raises(SessionError, match="btrfs does not limit the number of files"):
        limit(user).done()
    rewrite(user, policy(btrfs, "size: 20m"))
    HomeSource(found, f"{btrfs}/{user.name}", None).do()
    with pytest.raises(SessionError, match=r"plain directory, and btrfs limits subvolumes.*subvolume create"):
        limit(user).done()
    rewrite(user, f"image: host\nhome: {{source: {btrfs}/%i, size: 9m}}\n")
    with pytest.raises(SessionError, match="another directory for each session"):
        limit(user).done()


def test_a_tree_with_files_belongs_to_one_project_and_its_user_cannot_leave_it(
    xfs: str, make_user: MakeUser
) -> None:
    user = make_user(policy(xfs, "read_only: false"))
    home = f"{xfs}/{user.name}"
    HomeSource(account.find(user.name), home, None).do()
    deep = os.path.join(home, *["d"] * 300)
    os.makedirs(deep)
    for name in ("file", "d/file", "d/d/file"):
        open(f"{home}/{name}", "w").close()
    os.mkfifo(f"{home}/pipe")
    os.symlink("/etc", f"{home}/etc")
    os.mkdir(f"{xfs}/other")
    run(["mount", "-t", "tmpfs", "none", f"{home}/d/d/d"]).ok()
    run(["umount", f"{home}/d/d/d"]).ok()
    run(["chown", "-hR", f"{user.uid}:{user.gid}", home, f"{xfs}/other"]).ok()
    means = Projects(home, home, "xfs", xfs, "")
    descriptor = os.open(home, os.O_RDONLY)
    means._give(descriptor, PROJECT)  # without limits, which this kernel may not have
    for path in (home, deep, f"{home}/file", f"{home}/d/d/file"):
        assert project_of(path) == PROJECT, path
    assert project_of(xfs) == 0
    assert project_of("/etc") == 0
    with pytest.raises(OSError, match="cross-device"):
        os.rename(f"{xfs}/other", f"{home}/other")
    said = login(user, "-c", f"cat >new; python3 - . <<'E'\n{ASSIGN}E\n", stdin=b"x").text
    assert said.split("\n")[0] == str(PROJECT)
    assert "escaped" not in said
    assert said.count("Invalid argument") == 2, said
    assert project_of(f"{home}/new") == PROJECT
    means._give(descriptor, 0, former=PROJECT)
    assert {project_of(path) for path in (home, deep, f"{home}/file", f"{home}/new")} == {0}
    os.close(descriptor)


def project_of(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return quotas.project(descriptor)[0]
    finally:
        os.close(descriptor)


def test_what_a_former_users_home_keeps_while_it_does_not_answer_is_told(tmp_path: Path) -> None:
    """Nothing was done, so nothing is told as done; the record is there for the next time."""
    place, record = str(tmp_path), Path(homes.RECORDS, "5.json")
    record.parent.mkdir(exist_ok=True)
    with served(place, 5, 60) as server:
        server.hang()
        record.write_text(json.dumps(homes.Record("games", place, PROJECT)._asdict()))
        try:
            done = run(["ssh2containerctl", "compile", "--only-limits"]).ok()
            assert place not in done.text
            assert f"games: {place} does not answer and keeps its quota; compile takes it" in done.errors
            assert record.exists()
            server.end()
            done = run(["ssh2containerctl", "compile", "--only-limits"]).ok()
            assert f"done: take the quota from {place}" in done.text
            assert not record.exists()
        finally:
            record.unlink(missing_ok=True)


def test_what_an_enable_has_just_set_is_not_taken_by_a_compile_beside_it(tmp_path: Path) -> None:
    """systemd compiles whenever a policy is written, and enable gives the login shell at its end."""
    record, entry = Path(homes.RECORDS, "5.json"), Path(entry_of(5))
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps(homes.Record("games", str(tmp_path), PROJECT)._asdict()))
    entry.touch()
    try:
        run(["ssh2containerctl", "compile", "--only-limits"]).ok()
        assert record.exists()
        entry.unlink()
        run(["ssh2containerctl", "compile", "--only-limits"]).ok()
        assert not record.exists()
    finally:
        record.unlink(missing_ok=True)
        entry.unlink(missing_ok=True)


def test_a_kernel_or_mount_without_project_quotas_says_what_to_do(xfs: str) -> None:
    with pytest.raises(SessionError, match=r"has no project quotas.*add prjquota to its options"):
        homes.require(f"{xfs}/somebody", Quota(MIB, None), {"u": "somebody", "h": "/home/somebody"})


def test_numbers_of_projects_are_nobody_elses(
    xfs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    used: set[int] = set()
    monkeypatch.setattr(quotas, "usage", lambda _, number: (int(number in used), 0, 0, 0))
    monkeypatch.setattr(homes, "RECORDS", str(tmp_path))
    first = homes.FIRST_PROJECT + 1000
    assert homes.project_for(1000, xfs) == first
    (tmp_path / "1.json").write_text(json.dumps({"name": "a", "path": "/a", "project": first}))
    (tmp_path / "2.json").write_text("half a rec")
    assert homes.project_for(1000, xfs) == first + 1
    used.add(first + 1)
    (tmp_path / "projid").write_text(f"# names\nweb:{first + 2}\n")
    (tmp_path / "projects").write_text(f"{first + 3}:/srv/web\n")
    monkeypatch.setattr(
        homes, "_NAMED_PROJECTS", ((str(tmp_path / "projid"), 1), (str(tmp_path / "projects"), 0))
    )
    assert homes.project_for(1000, xfs) == first + 4
    assert homes.project_for(1, xfs) == homes.FIRST_PROJECT + 1

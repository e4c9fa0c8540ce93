"""Users whom a policy admits and nobody has enabled here: their sessions make their own runtime directory."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.host import run
from support.login import live, login
from support.users import MakeUser, User

from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.record.registry import SHARED

CONTROL = "/usr/bin/ssh2containerctl"
ONE = "image: host\nsessions: {max: 1}\n"
SHARING = "image: host\ncontainer_per: user\n"


@pytest.fixture
def admitted(make_user: MakeUser) -> Iterator[User]:
    """A user of whom this host has nothing but a policy."""
    user = make_user(policy=ONE)
    shutil.rmtree(user.runtime_directory)
    yield user
    run(["rm", "-rf", f"{SHARED}/{user.uid}"])


def sessions(user: User) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run([CONTROL, "sessions", user.name, "--json"]).ok().text)[
        "sessions"
    ]
    return found


def test_the_place_is_sticky_write_only_small_and_a_file_system_of_its_own() -> None:
    found = os.stat(SHARED)
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o1733)
    assert is_mount_point(SHARED)
    system = os.statvfs(SHARED)
    sealed = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC
    assert system.f_flag & sealed == sealed
    assert system.f_blocks * system.f_frsize <= 64 << 20


def test_sessions_are_limited_and_listed_without_a_step_on_this_host(admitted: User) -> None:
    with live(admitted):
        done = login(admitted, "-c", "true")
        assert done.status == 126
        assert b"1 of at most 1 are open" in done.err
        (one,) = sessions(admitted)
        assert one["kind"] == "command"
        assert run([CONTROL, "exec", str(one["id"]), "--", "echo", "in"]).ok().text == "in\n"
    made = os.stat(f"{SHARED}/{admitted.uid}")
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (admitted.uid, 0o700)
    assert login(admitted, "-c", "true").status == 0


def test_containers_are_shared(admitted: User) -> None:
    Path(admitted.policy_file).write_text(SHARING, encoding="ascii")
    with live(admitted) as session:
        session.ask("echo x >/tmp/f")
        assert login(admitted, "-c", "cat /tmp/f").out == b"x\n"


def as_user(user: User, script: str) -> int:
    words = [
        "setpriv",
        "--reuid",
        str(user.uid),
        "--regid",
        str(user.gid),
        "--clear-groups",
        "sh",
        "-c",
        script,
    ]
    return run(words).status


def test_who_takes_anothers_place_is_named_and_gains_nothing(admitted: User, make_user: MakeUser) -> None:
    """The session is refused where it needs the registry, goes on where not, and never uses it."""
    outsider = make_user(None, "/bin/sh")
    place = f"{SHARED}/{admitted.uid}"
    for squat in (f"mkdir -m 777 {place}", f"ln -s /tmp {place}", f"touch {place}"):
        assert as_user(outsider, squat) == 0
        done = login(admitted, "-c", "true")
        assert done.status == 126
        assert f"uid {outsider.uid} has taken {place}".encode() in done.err
        assert b"enable" in done.err
        if os.path.isdir(place) and not os.path.islink(place):
            assert os.listdir(place) == []
        Path(admitted.policy_file).write_text("image: host\n", encoding="ascii")
        assert login(admitted, "-c", "true").status == 0
        Path(admitted.policy_file).write_text(ONE, encoding="ascii")
        run(["rm", "-rf", place]).ok()
    assert as_user(outsider, f"mkdir {place}") == 0
    run([CONTROL, "enable", admitted.name]).ok()
    try:
        assert login(admitted, "-c", "true").status == 0
        assert login(admitted, "-c", "true").status == 0
    finally:
        run(["rm", "-rf", place]).ok()
        run([CONTROL, "disable", admitted.name]).ok()


def test_nobody_removes_lists_or_renames_what_another_has_made(admitted: User, make_user: MakeUser) -> None:
    outsider = make_user(None, "/bin/sh")
    with live(admitted):
        place = f"{SHARED}/{admitted.uid}"
        for attempt in (
            f"rmdir {place}",
            f"mv {place} {SHARED}/x",
            f"ls {SHARED}",
            f"ls {place}",
            f"touch {place}/x",
        ):
            assert as_user(outsider, attempt) != 0, attempt
        assert len(sessions(admitted)) == 1


def test_it_comes_back_by_the_boots_command(admitted: User) -> None:
    run(["umount", SHARED]).ok()
    try:
        done = login(admitted, "-c", "true")
        assert done.status == 126
        assert b"cannot find /run/ssh2container" in done.err
        found = json.loads(run([CONTROL, "doctor", "--host", "--json"]).text)["findings"]
        assert [one["remedy"] for one in found if one["check"] == "host.runtime"] == [
            "ssh2containerctl enable --runtime"
        ]
    finally:
        made = run([CONTROL, "enable", "--runtime"])
    assert SHARED in made.ok().text
    assert login(admitted, "-c", "true").status == 0


def test_status_counts_who_has_the_shell(make_user: MakeUser) -> None:
    """A member of the group with another shell is disabled, or never was enabled: not enrolled."""
    enrolled, closed = (make_user(policy="image: host\n") for _ in range(2))
    for user in (enrolled, closed):
        run([CONTROL, "enable", user.name]).ok()
    run([CONTROL, "disable", closed.name]).ok()
    found = json.loads(run([CONTROL, "status", "--json"]).text)
    assert enrolled.name in found["enrolled"]
    assert closed.name not in found["enrolled"]
    assert closed.name in found["closed_members"]
    run([CONTROL, "disable", enrolled.name]).ok()

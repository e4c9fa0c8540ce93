"""No file with a set-user-ID or set-group-ID bit comes out of a session (execve(2))."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.host import run
from support.login import inside, login, python_inside
from support.users import MakeUser, User

from ssh2container.admin import writable

SET_ID = stat.S_ISUID | stat.S_ISGID
PROFILES = "/etc/ssh2container/seccomp"
KEPT = "image: host\nhome: {source: /srv/s2c-%u}\n"


@pytest.fixture
def keeper(make_user: MakeUser, host_directory: Callable[[User], str]) -> tuple[User, str]:
    """A user with a kept home on a file system that honours the bits, and that directory."""
    user = make_user(KEPT)
    return user, host_directory(user)


def set_id_files(directory: str) -> list[str]:
    """What below ``directory`` hands ids out to who executes it."""
    found = []
    for place, _, names in os.walk(directory):
        for name in names:
            mode = os.lstat(f"{place}/{name}").st_mode
            if stat.S_ISREG(mode) and mode & SET_ID:
                found.append(name)
    return found


WAYS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for bit in (0o4000, 0o2000, 0o6000):
    for way in (
        lambda p: os.chmod(p, 0o755 | bit),
        lambda p: os.fchmod(os.open(p, 0), 0o755 | bit),
        lambda p: os.chmod(f"/proc/self/fd/{os.open(p, 0)}", 0o755 | bit),
        lambda p: libc.syscall(452, -100, p.encode(), 0o755 | bit, 0),
        lambda p: os.open(p + "1", os.O_CREAT | os.O_WRONLY, 0o755 | bit),
        lambda p: os.link(f"/proc/self/fd/{os.open('.', os.O_TMPFILE | os.O_RDWR, 0o755 | bit)}", p + "2"),
        lambda p: os.mknod(p + "3", 0o100755 | bit),
        lambda p: libc.syscall(437, -100, (p + "4").encode(), (ctypes.c_uint64 * 3)(65, 493 | bit), 24),
    ):
        os.umask(0)
        open("f", "w").close()
        try:
            way("f")
        except OSError as error:
            print(error.errno)
"""


def test_no_call_makes_one(keeper: tuple[User, str]) -> None:
    user, home = keeper
    assert set(python_inside(user, WAYS).ok().text.split()) == {"1"}
    assert set_id_files(home) == []


def test_no_call_makes_one_under_a_profile_of_the_site(keeper: tuple[User, str]) -> None:
    """The refusal is no part of a profile: one that permits everything takes nothing away from it."""
    user, home = keeper
    os.makedirs(PROFILES, mode=0o755, exist_ok=True)
    path = f"{PROFILES}/{user.name}.json"
    try:
        with open(path, "w", encoding="ascii") as file:
            json.dump({"defaultAction": "SCMP_ACT_ALLOW"}, file)
        with open(user.policy_file, "a", encoding="ascii") as file:
            file.write(f"seccomp: {{profile: {user.name}, allow: [openat2, chmod]}}\n")
        python_inside(user, WAYS).ok()
    finally:
        os.unlink(path)
    assert set_id_files(home) == []


@pytest.mark.parametrize(
    "command",
    [
        "tar -xpf -; true",
        "chmod 4755 program; chmod u+s,g+s program; install -m 6755 program other; true",
        "cp -p /usr/bin/passwd . ; cp -p /usr/bin/passwd /tmp; rsync -a /usr/bin/passwd copied; true",
    ],
)
def test_no_program_makes_one(keeper: tuple[User, str], command: str) -> None:
    user, home = keeper
    archive = run(["tar", "-C", "/usr/bin", "-cf", "-", "passwd"]).ok().out
    inside(user, f"touch program; {command}", stdin=archive).ok()
    assert os.listdir(home)
    assert set_id_files(home) == []


def test_ordinary_programs_do_not_ask_for_the_bits(keeper: tuple[User, str]) -> None:
    user, home = keeper
    archive = run(["tar", "-C", "/usr/bin", "-cf", "-", "passwd"]).ok().out
    script = (
        "tar -xf - && cp passwd copy && cp -r . /tmp/all && install copy third && git init -q . && mkdir d"
    )
    done = inside(user, script, stdin=archive).ok()
    assert done.errors == ""
    assert {"passwd", "copy", "third", "d"} <= set(os.listdir(home))


def test_a_directory_takes_the_bit_from_the_one_above(keeper: tuple[User, str]) -> None:
    user, home = keeper
    os.chmod(home, 0o2770)
    done = inside(user, "umask 002; mkdir -p a/b; stat -c %a a a/b; touch a/f; stat -c %a a/f").ok()
    assert done.text.split() == ["2775", "2775", "664"]


@pytest.fixture
def nosuid(host_directory: Callable[[User], str]) -> Iterator[Callable[[User], str]]:
    """Mount a user's directory nosuid,nodev on the host, as docs/security.md asks for."""
    mounted: list[str] = []

    def mount(user: User) -> str:
        directory = host_directory(user)
        run(["mount", "--bind", directory, directory]).ok()
        mounted.append(directory)
        run(["mount", "-o", "remount,bind,nosuid,nodev", directory]).ok()
        return directory

    yield mount
    for directory in mounted:
        run(["umount", directory]).ok()


def test_where_the_host_ignores_the_bits_a_groups_directory_may_have_its_own(
    make_user: MakeUser, nosuid: Callable[[User], str]
) -> None:
    user = make_user(KEPT)
    nosuid(user)
    script = "mkdir d; chmod 2770 d && stat -c %a d; touch f; chmod 4755 f || stat -c %a f"
    done = login(user, "-c", script)
    assert done.text.split() == ["2770", "644"]


def findings(user: User) -> list[dict[str, Any]]:
    done = run(["ssh2containerctl", "doctor", "--json", user.name])
    return [each for each in json.loads(done.text)["findings"] if each["check"].startswith("sources.")]


def test_doctor_finds_what_was_made_before_and_says_how_to_be_rid_of_it(keeper: tuple[User, str]) -> None:
    user, home = keeper
    for name, mode in (("uid", 0o4711), ("gid", 0o2755), ("none", 0o755), ("locking", 0o2644)):
        path = f"{home}/below {name}"
        with open(path, "w", encoding="ascii"):
            os.chown(path, user.uid, user.gid)
            os.chmod(path, mode)
    os.symlink("/usr/bin/passwd", f"{home}/link")
    (found,) = [each for each in findings(user) if each["level"] == "problem"]
    assert found["detail"]["files"] == [f"{home}/below gid", f"{home}/below uid"]
    run(["sh", "-c", found["remedy"]]).ok()
    assert [each for each in findings(user) if each["level"] == "problem"] == []
    assert os.stat("/usr/bin/passwd").st_mode & stat.S_ISUID


def test_check_and_doctor_name_a_source_that_honours_the_bits(
    make_user: MakeUser, keeper: tuple[User, str], nosuid: Callable[[User], str]
) -> None:
    user, home = keeper
    (found,) = [each for each in findings(user) if each["check"] == "sources.nosuid"]
    assert "nosuid" in found["remedy"]
    assert f"{home} is not mounted nosuid,nodev on the host" in run(["ssh2containerctl", "check"]).text
    other = make_user(KEPT)
    nosuid(other)
    assert findings(other) == []
    assert f"/srv/s2c-{other.name} is not mounted" not in run(["ssh2containerctl", "check"]).text


def test_the_remedy_is_one_line_of_fstab_or_a_remount(tmp_path: os.PathLike[str]) -> None:
    place = writable.Place("home.source", "/srv/homes x/u", "/usr")
    assert writable.remedy(place) == "echo '/usr /usr none bind,nosuid,nodev 0 0' >>/etc/fstab && mount /usr"
    run(["mount", "-t", "tmpfs", "none", str(tmp_path)]).ok()
    try:
        place = writable.Place("home.source", f"{tmp_path}/u", str(tmp_path))
        command = writable.remedy(place).split(", and ")[0]
        run(["sh", "-c", command]).ok()
        assert writable.ignores_set_id(str(tmp_path))
    finally:
        run(["umount", str(tmp_path)]).ok()

"""The one answer whether a login would start: what `explain` says, and that a login gives the same."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from support.host import Done, run
from support.syslog import Syslog
from support.users import SHELL, MakeUser, User


def login(user: User, *words: str) -> Done:
    """What sshd would have the login shell do."""
    arguments = ["-c", " ".join(words)] if words else []
    return run(
        ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--init-groups", SHELL, *arguments],
        env=user.environment(),
        cwd=user.home,
    )


def explained(user: User, *words: str) -> Done:
    """What `explain` says of the same."""
    return run(["ssh2containerctl", "explain", user.name, "--json", "--", *words])


def line_of(done: Done) -> str:
    """The one line of ours on standard error, without the name of who says it."""
    (line,) = done.errors.splitlines()
    return re.sub(r"^ssh2container(ctl)?: ", "", line)


ONLY = "image: host\naccess: {interactive: false, commands: [%s], sftp: false}\n"
REFUSED = {
    "a listed program that is not there": (ONLY % "no-such-program", ("no-such-program", "x"), 127),
    "a listed path that is a directory": (ONLY % "/usr/lib", ("/usr/lib",), 126),
    "what is not listed": (ONLY % "ls", ("id",), 126),
    "a volume that is not there": ("image: host\nvolumes: [/srv/none-here:/v:ro]\n", ("true",), 126),
    "an image that is not there": ("image: no-such-image:1\n", ("true",), 126),
    "a home that is not there": ("image: host\nhome: {source: /srv/none-here/%u}\n", ("true",), 126),
    "a volume on a file of the container": (
        "image: host\nvolumes: ['/etc/hostname:/tmp:ro']\n",
        ("true",),
        125,
    ),
    "a suspended account": ("image: host\naccess: {login: false, message: Later.}\n", ("true",), 126),
}


@pytest.mark.parametrize("case", REFUSED)
def test_explain_ends_as_the_login_does_and_says_the_same(make_user: MakeUser, case: str) -> None:
    policy, words, status = REFUSED[case]
    guest = make_user(policy)
    real, said = login(guest, *words), explained(guest, *words)
    assert (real.status, said.status) == (status, status)
    assert line_of(said) == line_of(real)
    assert json.loads(said.text)["status"] == status


@pytest.mark.parametrize("words", [("no-such-program", "x"), ("/usr/bin/no-such-program",), ("./no-such",)])
def test_a_program_that_the_shell_does_not_find(user: User, words: tuple[str, ...]) -> None:
    assert login(user, *words).status == 127
    said = explained(user, *words)
    assert said.status == 127
    assert f"cannot run {words[0].rpartition('/')[2]}" in line_of(said) or words[0] in line_of(said)


@pytest.mark.parametrize(
    "words", [("true",), ("ls", "/"), ("no-such-program || true",), ("X=1 id",), ("cd /;", "pwd"), ()]
)
def test_what_runs(user: User, words: tuple[str, ...]) -> None:
    assert explained(user, *words).status == 0


def test_a_program_without_its_interpreter(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    """As execve(2) says it: of the script, and of a program for another machine."""
    guest = make_user("image: host\nvolumes: ['/srv/s2c-%u:/opt:ro']\n")
    place = host_directory(guest)
    for name, content in (
        ("gone", b"#!/no/such/interpreter\n"),
        ("through", b"#!/opt/gone\n"),
        ("sound", b"#! /bin/sh -e\n"),
        ("foreign", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + bytes(100)),
        ("text", b"no program at all, but text\n"),
    ):
        with open(f"{place}/{name}", "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o755)
    listed = (
        "image: host\nvolumes: ['/srv/s2c-%u:/opt:ro']\naccess: {interactive: false, commands: [/opt/%s]}\n"
    )
    for name, status in (("gone", 127), ("through", 127), ("sound", 0), ("foreign", 126), ("text", 126)):
        with open(guest.policy_file, "w", encoding="utf-8") as file:
            file.write(listed.replace("%s", name))
        real, said = login(guest, f"/opt/{name}"), explained(guest, f"/opt/{name}")
        assert (real.status, said.status) == (status, status), (name, real.errors, said.errors)
        if status:
            assert line_of(said) == line_of(real)


def test_nothing_is_left_and_nothing_is_recorded(user: User, syslog: Syslog) -> None:
    """A rehearsal is no session: no record, no entry, no process; ``user`` looks for the rest."""
    before = syslog.of(user.name)
    explained(user, "true").ok()
    assert {*os.listdir(user.runtime_directory)} <= {".welcomed"}
    assert syslog.of(user.name) == before


def test_a_home_that_the_first_login_makes_is_not_made(make_user: MakeUser) -> None:
    guest = make_user("image: host\nhome: {source: '%h/inside'}\n")
    assert explained(guest, "true").status == 0
    assert not os.path.exists(f"{guest.home}/inside")
    os.chmod(guest.home, 0o755)
    os.chown(guest.home, 0, 0)
    real, said = login(guest, "true"), explained(guest, "true")
    assert (real.status, said.status) == (125, 125)
    assert line_of(said) == line_of(real)


def test_doctor_says_what_a_login_says(make_user: MakeUser) -> None:
    guest = make_user("image: no-such-image:1\n")
    found = json.loads(run(["ssh2containerctl", "doctor", "--json", guest.name]).text)["findings"]
    (finding,) = [one for one in found if one["check"] == "user.login"]
    assert finding["level"] == "problem"
    assert finding["text"] == "a shell is refused: " + line_of(login(guest)).partition(";")[0]


class TestCheck:
    """What `check` says of a user's logins: error, its place, exit status 1."""

    @staticmethod
    def check(*paths: str) -> Done:
        return run(["ssh2containerctl", "check", "--json", *paths])

    @classmethod
    def problems_of(cls, user: User, *paths: str) -> list[dict[str, Any]]:
        found = json.loads(cls.check(*paths).text)["problems"]
        return [one for one in found if user.name in one["message"] or user.policy_file == one["file"]]

    def test_an_image_that_was_removed(self, make_user: MakeUser) -> None:
        guest = make_user("hostname: a\nimage: no-such-image:1\n")
        for paths in ((), (guest.policy_file,)):
            (problem,) = self.problems_of(guest, *paths)
            assert (problem["severity"], problem["file"], problem["line"]) == ("error", guest.policy_file, 2)
            assert "logins are refused" in problem["message"]
            assert self.check(*paths).status == 1

    def test_a_home_that_was_deleted(self, make_user: MakeUser) -> None:
        guest = make_user("image: host\nhome: {source: /srv/none-here/%u}\n")
        (problem,) = self.problems_of(guest)
        assert (problem["severity"], problem["line"]) == ("error", 2)

    def test_all_listed_programs_are_missing(self, make_user: MakeUser) -> None:
        guest = make_user(
            "image: host\naccess: {interactive: false, commands: [no-such-a, no-such-b], sftp: false}\n"
        )
        (problem,) = self.problems_of(guest)
        assert problem["severity"] == "error"
        assert "no-such-a is refused" in problem["message"]

    def test_one_of_them_is_missing(self, make_user: MakeUser) -> None:
        guest = make_user(
            "image: host\naccess: {interactive: false, commands: [ls, no-such-b], sftp: false}\n"
        )
        (problem,) = self.problems_of(guest)
        assert problem["severity"] == "warning"
        assert "the command no-such-b does not run" in problem["message"]

    def test_who_is_suspended_is_no_error(self, make_user: MakeUser) -> None:
        guest = make_user("image: host\naccess: {login: false, message: Later.}\n")
        assert self.problems_of(guest) == []


def test_show_says_that_the_policy_admits_nobody_all_the_same(make_user: MakeUser) -> None:
    guest = make_user("image: no-such-image:1\n")
    done = run(["ssh2containerctl", "show", guest.name]).ok()
    assert "a shell is refused: " + line_of(login(guest)) in done.errors

"""`ssh2containerctl try`: a login without ssh, by the same way, with the same status."""

from __future__ import annotations

import os
from pathlib import Path

import pexpect
import pytest
from support.host import DEADLINE_SECONDS, run
from support.users import MakeUser, User


@pytest.mark.parametrize("status", [0, 1, 77])
def test_the_status_is_the_commands(user: User, status: int) -> None:
    done = run(["ssh2containerctl", "try", "--user", user.name, "--", f"echo out; exit {status}"])
    assert (done.status, done.text) == (status, "out\n")


def test_it_runs_inside_as_the_user(user: User) -> None:
    done = run(
        ["ssh2containerctl", "try", "--user", user.name, "--", "id -un; readlink /proc/self/ns/mnt; pwd"]
    ).ok()
    name, namespace, directory = done.text.split()
    assert (name, directory) == (user.name, user.home)
    assert namespace != os.readlink("/proc/self/ns/mnt")


def test_a_policy_in_a_file_is_tried_before_it_is_anybodys(user: User, tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text("image: host\nhostname: tried\n")
    command = [
        "ssh2containerctl",
        "try",
        "--policy",
        f"{tmp_path}/new.yaml",
        "--user",
        user.name,
        "--",
        "uname -n",
    ]
    assert run(command).ok().text == "tried\n"
    assert run([*command[:2], *command[4:]]).ok().text != "tried\n"


def test_a_wrong_policy_is_said_with_its_place(user: User, tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text("image: host\nhostnam: tried\n")
    done = run(
        ["ssh2containerctl", "try", "--policy", f"{tmp_path}/new.yaml", "--user", user.name, "--", "uname -n"]
    )
    assert done.status != 0
    assert done.out == b""
    assert f"{tmp_path}/new.yaml:2:1" in done.errors


def test_a_refusal_has_the_logins_status(make_user: MakeUser) -> None:
    guest = make_user(None)
    done = run(["ssh2containerctl", "try", "--user", guest.name, "--", "id"])
    assert (done.status, done.out) == (126, b"")


def test_bytes_pass_both_ways(user: User) -> None:
    data = bytes(range(256)) * 100
    done = run(["ssh2containerctl", "try", "--user", user.name, "--", "cat"], data).ok()
    assert done.out == data


def test_an_unknown_user_is_said_so() -> None:
    done = run(["ssh2containerctl", "try", "--user", "no-such-user-at-all", "--", "id"])
    assert done.status != 0
    assert "no-such-user-at-all" in done.errors
    assert "Traceback" not in done.errors


def test_what_root_tries_shows_only_what_draws(user: User) -> None:
    """Root's own terminal is not the session's: neither its escapes nor its descriptors reach it."""
    command = r"printf '\033]52;c;AAAA\007\033[c\033(0\033[31mred\n'; tty; stty size; exit 3"
    child = pexpect.spawn(
        "ssh2containerctl",
        ["try", "--user", user.name, "--", command],
        timeout=DEADLINE_SECONDS,
        dimensions=(33, 77),
        encoding="utf-8",
    )
    child.expect(pexpect.EOF)
    assert child.before
    assert "\x1b[31mred\r\n/dev/pts/0\r\n33 77\r\n" in child.before
    assert "\x1b]52" not in child.before
    assert "\x1b[c" not in child.before
    assert "\x1b(B" in child.before
    child.wait()
    assert child.exitstatus == 3


def test_root_types_to_what_he_tries(user: User) -> None:
    words = ["try", "--user", user.name, "--", "read x; echo got $x"]
    child = pexpect.spawn("ssh2containerctl", words, timeout=DEADLINE_SECONDS)
    child.sendline("words")
    child.expect("got words\r\n")
    child.expect(pexpect.EOF)


def test_only_the_output_on_roots_terminal(user: User) -> None:
    """Nothing is typed: lines end as they do without us."""
    line = f"ssh2containerctl try --user {user.name} -- 'cat; printf \"\\033]0;t\\007\"' </etc/hostname"
    child = pexpect.spawn("/bin/sh", ["-c", line], timeout=DEADLINE_SECONDS, encoding="utf-8")
    child.expect(pexpect.EOF)
    assert child.before
    with open("/etc/hostname", encoding="utf-8") as file:
        assert file.read().strip() + "\r\n" in child.before
    assert "\x1b]0" not in child.before

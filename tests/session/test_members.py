"""enable and disable of a group: real members, of their first group and of another, and who is not meant."""

from __future__ import annotations

import json
import os
import pty
import pwd
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.host import Done, run
from support.networks import CONTROL
from support.users import PLAIN, SHELL, MakeUser, User

from ssh2container.admin.accounts.account_changes import NOLOGIN


def control(*words: str, **variables: str) -> Done:
    return run(["env", *(f"{name}={value}" for name, value in variables.items()), CONTROL, *words])


def said(*words: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(control(*words, "--json").out)
    return value


def results(report: dict[str, Any]) -> dict[str, str]:
    return {user["user"]: user["result"] for user in report["users"]}


def shell(user: User | str) -> str:
    return pwd.getpwnam(user if isinstance(user, str) else user.name).pw_shell


@dataclass
class Crew:
    """A group: whose first group it is, whose other group it is, and a system account in it."""

    group: str
    first: User
    second: User
    system: str

    @property
    def people(self) -> tuple[User, User]:
        return self.first, self.second


@pytest.fixture
def crew(make_user: MakeUser) -> Iterator[Crew]:
    group, system = f"crew{secrets.token_hex(3)}", f"s2csys{secrets.token_hex(3)}"
    run(["groupadd", group]).ok()
    run(["useradd", "--system", "--shell", "/bin/bash", "--groups", group, system]).ok()
    first, second = make_user(PLAIN, "/bin/bash"), make_user(PLAIN, "/bin/bash", (group,))
    run(["usermod", "--gid", group, first.name]).ok()
    yield Crew(group, first, second, system)
    for user in (first, second):
        control("disable", "--restore-shell", user.name)
        run(["usermod", "--gid", str(user.gid), user.name])
    run(["userdel", system])
    run(["groupdel", "--force", group])


def test_there_and_back_by_first_and_by_other_groups(crew: Crew) -> None:
    done = control("enable", "--group", crew.group).ok()
    assert [shell(user) for user in crew.people] == [SHELL, SHELL]
    assert shell(crew.system) == "/bin/bash"
    lines = done.text.splitlines()
    assert lines[0].split() == ["user", "result", "steps"]
    assert {line.split()[0]: line.split()[1] for line in lines[1:3]} == {
        user.name: "enabled" for user in crew.people
    }
    assert any(line.startswith(f"left alone: {crew.system} uid ") for line in lines)
    for user in crew.people:
        assert os.path.isdir(user.runtime_directory)
    control("disable", "--restore-shell", "--group", crew.group).ok()
    assert [shell(user) for user in crew.people] == ["/bin/bash", "/bin/bash"]
    assert not any(os.path.exists(user.runtime_directory) for user in crew.people)


def test_who_is_so_already_is_told_as_unchanged(crew: Crew) -> None:
    control("enable", crew.first.name).ok()
    assert results(said("enable", "--group", crew.group)) == {
        crew.first.name: "unchanged",
        crew.second.name: "enabled",
    }
    control("disable", crew.first.name).ok()
    report = said("disable", "--group", crew.group)
    assert results(report) == {crew.first.name: "unchanged", crew.second.name: "disabled"}
    assert [left["user"] for left in report["left_alone"]] == [crew.system]
    assert [shell(user) for user in crew.people] == [NOLOGIN, NOLOGIN]


def test_who_never_had_our_shell_keeps_theirs(crew: Crew) -> None:
    control("enable", crew.first.name).ok()
    report = said("disable", "--group", crew.group)
    assert results(report) == {crew.first.name: "disabled", crew.second.name: "unchanged"}
    notes = {user["user"]: user["notes"] for user in report["users"]}
    assert notes[crew.second.name] == ["is not contained: the login shell is /bin/bash"]
    assert shell(crew.second) == "/bin/bash"


def test_a_dry_run_changes_nothing(crew: Crew) -> None:
    assert set(results(said("enable", "--group", crew.group, "--dry-run")).values()) == {"would be enabled"}
    assert [shell(user) for user in crew.people] == ["/bin/bash", "/bin/bash"]
    control("enable", "--group", crew.group).ok()
    assert set(results(said("disable", "--group", crew.group, "--dry-run")).values()) == {"would be disabled"}
    assert [shell(user) for user in crew.people] == [SHELL, SHELL]


class TestOneThatFails:
    def test_a_policy_that_does_not_hold_stops_nobody_else(self, crew: Crew) -> None:
        failing, other = sorted(crew.people, key=lambda user: user.name)  # in the order of the table
        with open(failing.policy_file, "w", encoding="utf-8") as file:
            file.write("image: host\nimagine: dragons\n")
        done = control("enable", "--group", crew.group)
        assert done.status == 126
        assert (shell(failing), shell(other)) == ("/bin/bash", SHELL)
        assert f"1 of 2 users done; not: {failing.name}" in done.errors

    def test_an_administrator_is_refused(self, crew: Crew) -> None:
        run(["gpasswd", "--add", crew.first.name, "adm"]).ok()
        done = control("enable", "--group", crew.group)
        assert done.status == 126
        assert "a member of adm" in done.text
        assert (shell(crew.first), shell(crew.second)) == ("/bin/bash", SHELL)
        control("enable", "--group", crew.group, "--leave-groups").ok()
        assert shell(crew.first) == SHELL

    def test_a_member_who_does_not_exist(self, crew: Crew) -> None:
        with open("/etc/group", encoding="utf-8") as file:
            before = file.read()
        ghost = f"ghost{secrets.token_hex(3)}"
        lines = [
            f"{line},{ghost}" if line.startswith(f"{crew.group}:") else line for line in before.splitlines()
        ]
        with open("/etc/group", "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        done = control("enable", "--group", crew.group, "--json")
        report = json.loads(done.out)
        assert done.status == 1
        assert results(report)[ghost] == "failed"
        assert f"no user '{ghost}'" in next(u["error"] for u in report["users"] if u["user"] == ghost)
        assert [shell(user) for user in crew.people] == [SHELL, SHELL]


def test_who_asks_is_left_alone(crew: Crew) -> None:
    done = control("enable", "--group", crew.group, SUDO_USER=crew.second.name).ok()
    assert f"left alone: {crew.second.name} is you: name yourself, if that is meant" in done.text
    assert (shell(crew.first), shell(crew.second)) == (SHELL, "/bin/bash")


def test_root_is_left_alone(crew: Crew) -> None:
    run(["gpasswd", "--add", "root", crew.group]).ok()
    done = control("enable", "--group", crew.group).ok()
    assert "left alone: root uid 0 cannot be contained" in done.text
    assert shell("root") != SHELL


def test_a_bar_and_a_table_on_a_terminal(crew: Crew) -> None:
    """What a person sees, on a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    command = f"stty columns 200 rows 50; exec {CONTROL} enable --group {crew.group}"
    with subprocess.Popen(["sh", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # EIO: nobody has the other end any more
                break
            if not part:
                break
            shown += part
            if b"[Y/n]" in shown:
                os.write(ours, b"n\n")
                shown = shown.replace(b"[Y/n]", b"")
    os.close(ours)
    assert process.returncode == 0, shown
    assert b"enabling" in shown, "the bar"
    assert b"enabled" in shown, "the table"
    assert all(user.name.encode() in shown for user in crew.people)


class TestBadInput:
    @pytest.mark.parametrize("verb", ["enable", "disable"])
    def test_no_such_group(self, verb: str) -> None:
        done = control(verb, "--group", "no-such-group-here")
        assert (done.status, "no group 'no-such-group-here'" in done.errors) == (1, True)

    @pytest.mark.parametrize("verb", ["enable", "disable"])
    def test_a_group_and_names(self, crew: Crew, verb: str) -> None:
        done = control(verb, "--group", crew.group, crew.first.name)
        assert done.status == 2
        assert "--group" in done.errors
        assert shell(crew.first) == "/bin/bash"

    @pytest.mark.parametrize("verb", ["enable", "disable"])
    def test_a_group_without_members(self, verb: str) -> None:
        group = f"empty{secrets.token_hex(3)}"
        run(["groupadd", group]).ok()
        try:
            assert control(verb, "--group", group).ok().text == (
                f"nobody is meant: the group {group} has no members\n"
            )
        finally:
            run(["groupdel", group])

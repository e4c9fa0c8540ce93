"""What `explain` prints is what runs: every call of the set-up belongs to one printed operation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from support.host import run
from support.tracing import traced
from support.users import MakeUser, User

from ssh2container.plan.operations import TRACED_CALLS


def explained(user: User) -> list[tuple[str, list[str]]]:
    """Each operation's description and the traced system calls it says it makes, in order."""
    done = run(["ssh2containerctl", "explain", user.name, "--json", "--", "true"]).ok()
    plan = json.loads(done.text)
    return [
        (operation["describe"], [call for call in operation["system_calls"] if call in TRACED_CALLS])
        for operation in plan["operations"]
    ]


def straced(user: User) -> list[str]:
    """The traced calls of a real session up to the payload's exec: the monitor's, pid 1's, the payload's."""
    done, log = traced(user, "true", ("execve", "execveat", *TRACED_CALLS))
    done.ok()
    lines = log.splitlines()
    by_process: dict[str, list[str]] = {}
    ended: set[str] = set()
    begun: set[str] = set()
    for line in lines:
        match = re.match(r"(\d+) +(\w+)\(", line)
        # libcap, which python-prctl loads, reads the bounding set when it is loaded; that changes nothing,
        # and neither does pid 1's name.
        if not match or "prctl(PR_CAPBSET_READ" in line or "prctl(PR_SET_NAME" in line:
            continue
        pid, name = match.groups()
        calls = by_process.setdefault(pid, [])
        if name == "execveat":
            # Pid 1's program begins by leaving to no program of its own what it brought over that exec
            # (native/init/main.c).
            calls[:] = []
            begun.add(pid)
        elif name == "execve":
            # The monitor's own exec is its first call; any later one starts the payload's program.
            if len(by_process) > 1:
                ended.add(pid)
        elif name == "capset" and pid in begun:
            begun.discard(pid)
        elif pid not in ended:
            calls.append(name)
    return [name for calls in by_process.values() for name in calls]


@pytest.mark.parametrize(
    "policy",
    [
        "image: host\n",
        "image: host\nnetwork_mode: host\n",
        "image: host\nhome: {source: /srv/s2c-%u}\nvolumes: ['/etc/terminfo:/t']\nulimits: {nofile: 100}\n",
    ],
)
def test_each_call_is_one_printed_operations(
    make_user: MakeUser, host_directory: Callable[[User], str], policy: str
) -> None:
    guest = make_user(policy)
    host_directory(guest)
    operations = explained(guest)
    assert all(description for description, _ in operations)
    planned = [call for _, calls in operations for call in calls]
    assert planned
    assert straced(guest) == planned


def test_explain_names_the_policys_lines(make_user: MakeUser) -> None:
    guest = make_user("image: host\nhostname: box-%u\n")
    done = run(["ssh2containerctl", "explain", guest.name, "--", "true"]).ok()
    assert f"box-{guest.name}" in done.text
    assert f"{guest.name}.yaml:2" in done.text


def test_explain_names_what_allows_the_program_and_sets_the_variables(make_user: MakeUser) -> None:
    guest = make_user(
        "shell: [/bin/sh]\naccess:\n  sftp: {umask: '027'}\n  commands: [ls]\nenvironment: {A: b c}\n"
    )
    for words, key, line in (
        ((), "shell", 1),
        (("ls", "/"), "access.commands", 4),
        (("sftp-server",), "access.sftp", 3),
    ):
        done = run(["ssh2containerctl", "explain", guest.name, "--", *words]).ok()
        (then,) = [text for text in done.text.splitlines() if text.startswith("Then: execute ")]
        assert re.search(rf"  # {re.escape(key)}, \S+/{guest.name}\.yaml:{line}$", then)
        assert re.search(rf"\n      with A=b c  # environment\.A, \S+/{guest.name}\.yaml:5\n", done.text)
        plan = json.loads(run(["ssh2containerctl", "explain", guest.name, "--json", "--", *words]).ok().text)
        assert plan["program_key"] == key
        assert plan["program_origin"].endswith(f"/{guest.name}.yaml:{line}")


def test_of_a_user_who_is_not_contained_it_says_so_and_what_would_work(make_user: MakeUser) -> None:
    """No policy, and the host's shell: enable would be right for one, --leave-groups for the other."""
    plain, powerful = make_user(None, "/bin/bash"), make_user(None, "/bin/bash", ("adm",))
    for user, remedy in ((plain, plain.name), (powerful, f"{powerful.name} --leave-groups, ")):
        for verb in ("show", "explain"):
            done = run(["ssh2containerctl", verb, user.name])
            assert done.status == 126
            assert f"there is no policy for {user.name}: {user.name} is not contained" in done.errors
            assert "the login shell is /bin/bash" in done.errors
            assert f"run ssh2containerctl enable {remedy}" in f"{done.errors.rstrip()}"
    for verb in ("show", "explain"):
        done = run(["ssh2containerctl", verb, "root"])
        assert done.status == 126
        assert "not contained and cannot be" in done.errors
        assert "enable" not in done.errors
    contained = make_user(None)
    assert (
        f"ssh2containerctl enable {contained.name}"
        in run(["ssh2containerctl", "show", contained.name]).errors
    )

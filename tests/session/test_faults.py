"""Every step that fails ends the session: errors and deaths are injected into the calls of the set-up."""

from __future__ import annotations

import re

import pytest
from support.host import processes, run, until
from support.leaks import tidy_after_a_killed_monitor
from support.tracing import traced
from support.users import User

CONTROL = "/usr/bin/ssh2containerctl"
MARK = "ran-inside-or-out"
ECHO = f"echo {MARK}"
SET_UP = (
    "mount",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "pivot_root",
    "umount2",
    "prctl",
    "capset",
    "seccomp",
    "sethostname",
    "mkdirat",
    "mkdir",
    "symlink",
    "symlinkat",
    "keyctl",
    "prlimit64",
    "setrlimit",
    "setsid",
    "chdir",
    "openat2",
    "ioctl",
    "clone",
    "fork",
    "vfork",
    "execve",
)
"""System calls whose failure must never go unnoticed. Those a session does not make are skipped."""


@pytest.fixture(autouse=True)
def compiled(user: User) -> None:  # noqa: ARG001  # it has to be there
    """Have the policy compiled: the program that reads it at a login otherwise makes calls of its own."""
    run([CONTROL, "compile"]).ok()


def calls_of_a_session(user: User) -> dict[str, dict[str, int]]:
    """For each process role (monitor, init, payload) how often it makes each call of SET_UP."""
    done, log = traced(user, ECHO, SET_UP)
    assert done.ok().text == MARK + "\n"
    order: list[str] = []
    counts: dict[str, dict[str, int]] = {}
    for line in log.splitlines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if not match:
            continue
        pid, name = match.groups()
        if pid not in order:
            order.append(pid)
        role = ("monitor", "init", "payload")[min(order.index(pid), 2)]
        counts.setdefault(role, {}).setdefault(name, 0)
        counts[role][name] += 1
    return counts


def test_a_session_makes_the_calls_that_the_faults_are_put_into(user: User) -> None:
    counts = calls_of_a_session(user)
    assert counts["monitor"].get("clone", 0) >= 1
    assert counts["init"]["pivot_root"] == 1
    assert counts["init"]["mount"] + counts["init"].get("move_mount", 0) > 5
    assert any("seccomp" in calls for calls in counts.values())


FATAL = (
    "mount",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "pivot_root",
    "umount2",
    "capset",
    "sethostname",
)


@pytest.mark.parametrize("name", FATAL)
def test_an_error_in_the_set_up_ends_the_session(user: User, name: str) -> None:
    """Each occurrence in turn: one line, status 125 or 126, the payload never starts."""
    counts = calls_of_a_session(user)
    occurrences = max(calls.get(name, 0) for calls in counts.values())
    assert occurrences, f"a session makes no {name}: remove it from the list"
    for number in range(1, occurrences + 1):
        done, _ = traced(user, ECHO, name, fault=f"error=EIO:when={number}")
        place = f"{name} number {number}: {done}"
        assert done.status in (125, 126), place
        assert done.out == b"", place
        assert len(done.errors.splitlines()) == 1, place
        assert "Traceback" not in done.errors, place
        assert "Input/output error" in done.errors, place


@pytest.mark.parametrize("name", ["prctl", "seccomp"])
def test_an_error_in_dropping_rights_ends_the_session(user: User, name: str) -> None:
    """Whoever of the three processes makes the call: no payload with more rights than planned."""
    counts = calls_of_a_session(user)
    occurrences = max(calls.get(name, 0) for calls in counts.values())
    assert occurrences
    for number in range(1, occurrences + 1):
        done, log = traced(user, ECHO, name, fault=f"error=EPERM:when={number}")
        injected = log.count("(INJECTED)")
        assert done.out == b"" or injected == 0, f"{name} number {number}: {done}\n{log}"
        assert done.status in (125, 126), f"{name} number {number}: {done}\n{log}"
        assert len(done.errors.splitlines()) == 1, f"{name} number {number}: {done}"


@pytest.mark.parametrize(
    "name", ["mount", "move_mount", "mkdir", "prctl", "capset", "pivot_root", "clone", "execve"]
)
def test_death_in_the_set_up_leaves_nothing(user: User, name: str) -> None:
    """SIGKILL to whichever process makes the call, at each of its occurrences (in steps, to save time)."""
    counts = calls_of_a_session(user)
    occurrences = max((calls.get(name, 0) for calls in counts.values()), default=0)
    if name == "execve" and occurrences > 1:
        occurrences -= 1  # strace counts the one by which it starts the shell, but puts no fault there
    for number in range(1, occurrences + 1, 1 + occurrences // 6):
        done, _ = traced(user, ECHO, name, fault=f"signal=KILL:when={number}")
        assert done.status != 0, f"{name} number {number}"
        until(lambda: not processes(user.uid), f"nothing is left after death at {name} number {number}")
        tidy_after_a_killed_monitor(user)


def test_strace_itself_does_not_disturb(user: User) -> None:
    done, _ = traced(user, ECHO, "none")
    assert done.ok().text == MARK + "\n"

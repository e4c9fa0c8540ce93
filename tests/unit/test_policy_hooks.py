"""``hooks`` in the policy language, and what a plan makes of them."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest
from support.policies import policy, problems, read, shown

from ssh2container.errors import SessionError
from ssh2container.plan.hooks import Hooks
from ssh2container.plan.operations.hooks import RunHook
from ssh2container.policy.hooks import STAGES, Hook
from ssh2container.record import registry

WHOLE = """
hooks:
  poststop: [{path: /p}]
  createRuntime:
    - path: /c//d/
      args: [d, "1", 2]
      env: [A=b, "C=d=e f"]
      timeout: 9
      ignore_failure: true
    - {path: /c/d}
  startContainer: {path: /s}
"""


def test_they_are_in_the_order_of_their_stages_with_ocis_defaults() -> None:
    found = policy(WHOLE).hooks
    assert [hook.stage for hook in found] == [STAGES[0], *STAGES]
    first, second, *_ = found
    assert (first.path, first.args, first.env) == ("/c/d", ("d", "1", "2"), ("A=b", "C=d=e f"))
    assert (first.timeout, first.ignore_failure) == (9, True)
    assert (second.args, second.env, second.timeout, second.ignore_failure) == (("/c/d",), (), 5, False)
    assert policy("image: host").hooks == ()


def test_later_files_add_behind_and_can_replace() -> None:
    below = "hooks: {createRuntime: [{path: /a}, {path: /b}]}"
    more = policy(below, "hooks: {createRuntime: [{path: /z}, {path: /b, timeout: 7}]}").hooks
    assert [(hook.path, hook.timeout) for hook in more] == [("/a", 5), ("/b", 7), ("/z", 5)]
    assert [hook.path for hook in policy(below, "hooks: {createRuntime: !override [{path: /z}]}").hooks] == [
        "/z"
    ]
    assert policy(below, "hooks: {createRuntime: !reset null}").hooks == ()
    # The same program with other arguments is another hook.
    twice = "hooks: {poststop: [{path: /a, args: [a, b]}, {path: /a, args: [a, c]}]}"
    assert [hook.args[1] for hook in policy(twice).hooks] == ["b", "c"]


def test_what_is_shown_means_the_same() -> None:
    made = policy(WHOLE)
    assert policy(shown(made)).values == made.values


WRONG = {
    "hooks: {prestart: [{path: /a}]}": "unknown key",
    "hooks: {poststop: [/a]}": "a single value instead of a map",
    "hooks: {poststop: [{args: [a]}]}": "path missing",
    "hooks: {poststop: [{path: a}]}": "the absolute path of a program",
    "hooks: {poststop: [{path: /a/../b}]}": '".." in the path',
    "hooks: {poststop: [{path: /a, args: []}]}": "an empty list",
    "hooks: {poststop: [{path: /a, timeout: 0}]}": "a whole number from 1 to 3600",
    "hooks: {poststop: [{path: /a, timeout: 5s}]}": "a whole number from 1 to 3600",
    "hooks: {poststop: [{path: /a, env: [x]}]}": "NAME=VALUE",
    "hooks: {poststop: [{path: /a, env: [S2C_PID=1]}]}": "a name without S2C_",
    "hooks: {poststop: [{path: /a, ignore_failure: maybe}]}": "true | false",
    "hooks: {poststop: [{path: /a, user: root}]}": "a socket unit of your own",
    "hooks: {poststop: [{path: /a, command: ls}]}": "no shell reads it",
    "hooks: {poststop: [{path: /a}, {path: /a}]}": "listed twice",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_where_it_stands(text: str) -> None:
    (problem,) = problems(text)
    assert (problem.line, problem.severity) == (1, "error")
    assert WRONG[text] in f"{problem.message} {problem.allowed} {problem.hint}", problem


def test_an_option_in_the_place_of_the_programs_name_is_warned_of() -> None:
    (problem,) = read("hooks: {poststop: [{path: /a, args: [--quick]}]}").problems
    assert problem.severity == "warning"
    assert "--quick" in problem.message
    assert "[/a, …]" in problem.hint


def test_the_environment_is_what_the_policy_and_the_session_say() -> None:
    hook = Hook(STAGES[0], "/a", ("/a",), ("A=b=c", "B="), 5, ignore_failure=False)
    made = Hooks([RunHook(hook, "alice")], {"S2C_USER": "alice", "S2C_UID": "1000"})
    assert made.environment(hook, "0f", 77, "3") == {
        "A": "b=c",
        "B": "",
        "S2C_USER": "alice",
        "S2C_UID": "1000",
        "S2C_SESSION": "0f",
        "S2C_PID": "77",
        "S2C_STATUS": "3",
    }


def test_who_shares_a_container_waits_for_the_hooks_of_who_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first time that it wants the lock: it is counted before it joins. Others wait for nobody."""
    held = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    monkeypatch.setattr(registry, "runtime_directory", lambda: str(tmp_path))
    monkeypatch.setattr(registry, "_LOCK_DEADLINE_S", -1.0)
    # In the first pause the other one has made it.
    monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(held, fcntl.LOCK_UN))
    place = registry.Place()
    try:
        for sharing in ("session", "user"):
            place.take("0", {})
            fcntl.flock(held, fcntl.LOCK_EX)
            wanted = policy(f"image: host\ncontainer_per: {sharing}\n{WHOLE}")
            if sharing == "user":
                place.admit(wanted)
                continue
            with pytest.raises(SessionError, match="another login of this user"):
                place.admit(wanted)
    finally:
        place.leave()
        os.close(held)

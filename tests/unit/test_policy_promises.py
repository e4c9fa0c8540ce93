"""The grammar of policy tests, and their reports."""

from __future__ import annotations

import os
import pwd
from xml.etree import ElementTree as ET

import pytest

from ssh2container.admin.policy import test_file
from ssh2container.admin.policy.test_file import ACTIONS, Promise
from ssh2container.admin.policy.yaml.files import Source
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.admin.policytests import clients, copying, inside, report, running
from ssh2container.admin.policytests.running import BROKEN, ERROR, KEPT, Result
from ssh2container.errors import SessionError


def parse(text: str) -> list[Promise]:
    return test_file.parse(Source("/t.yaml", text, (0, 0, 0, 0, 0)))


def test_the_design_s_example() -> None:
    promises = parse("alice: {can: [sftp put /submit/x], cannot: [connect 10.0.0.1:22, read /srv/other]}")
    assert [str(promise) for promise in promises] == [
        "alice can sftp put /submit/x",
        "alice cannot connect 10.0.0.1:22",
        "alice cannot read /srv/other",
    ]
    assert promises[0].place == "/t.yaml:1"


def test_every_action_is_tried_from_one_side() -> None:
    assert set(ACTIONS) == set(clients.ACTIONS) | set(inside.ACTIONS) - {inside.NOTHING}
    assert not set(clients.ACTIONS) & set(inside.ACTIONS)
    assert set(clients.ACTIONS) >= clients.MAKES | clients.NEEDS


def test_the_documentation_lists_every_action() -> None:
    with open(
        os.path.join(os.path.dirname(__file__), "../../docs/policy-tests.md"), encoding="utf-8"
    ) as file:
        listed = [line for line in file if line.startswith("| `")]
    rows = [f"| `{name} {form}".rstrip() + f"` | {doc} |\n" for name, (form, _, doc) in ACTIONS.items()]
    assert listed == rows


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("alice: [login]", 1, 8, "a list instead of a map"),
        ("alice: {may: [login]}", 1, 9, 'unknown key "may"'),
        ("alice: {can: {login: now}}", 1, 14, "a map instead of a list"),
        ("alice: {can: [logon]}", 1, 15, 'unknown action "logon"'),
        ("alice: {can: [login now]}", 1, 15, 'found "login now"'),
        ("alice: {can: [read etc]}", 1, 15, 'found "read etc"'),
        ("alice: {can: [connect here]}", 1, 15, 'found "connect here"'),
        ("alice: {can: [sftp put]}", 1, 15, 'found "sftp put"'),
        ("alice: {can: [sftp put -x]}", 1, 15, 'found "sftp put -x"'),
        ("alice: {can: ['sftp put a b']}", 1, 15, 'found "sftp put a b"'),
        ('alice: {can: ["sftp put a\\nrm b"]}', 1, 15, 'found "sftp put a\\nrm b"'),
        ("alice: {can: [no]}", 1, 15, "boolean"),
        ("alice: {can: [login]}\nalice: {}", 2, 1, "a second time"),
    ],
)
def test_errors_have_their_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(text)
    problem = caught.value.problems[0]
    assert (problem.line, problem.column) == (line, column)
    assert message in problem.message


def test_junit() -> None:
    promises = parse('alice: {can: [login, "run <x> & \\x1b"]}\nbob: {cannot: [login]}')
    verdicts = (KEPT, ERROR, BROKEN)
    results = [Result(p, verdict, "why", 0.5) for p, verdict in zip(promises, verdicts, strict=True)]
    root = ET.fromstring(report.junit(results))  # noqa: S314 - our own
    suites = {suite.get("name"): suite for suite in root}
    assert suites["alice"].get("errors") == "1"
    assert suites["bob"].get("failures") == "1"
    failure = suites["bob"].find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "it worked"


@pytest.mark.needs_root
def test_a_client_that_is_missing_keeps_no_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What git cannot do because there is no git on this machine says nothing about the user."""
    monkeypatch.setattr("shutil.which", lambda name: None if name == "git" else f"/bin/{name}")
    monkeypatch.setattr(running, "_run", lambda *_: pytest.fail("there is nothing to run"))
    for action in ("git push", "git fetch"):
        promise = Promise("root", action, "/r", "/t.yaml:1", allowed=False)
        with pytest.raises(SessionError, match="cannot find the program git"):
            running._client(promise, "", "/tmp", pwd.getpwnam("root"))


@pytest.mark.needs_root
def test_policies_that_users_cannot_reach_are_copied(tmp_path: os.PathLike[str]) -> None:
    tree = f"{tmp_path}/tree"
    os.makedirs(f"{tree}/users", mode=0o700)
    os.makedirs(f"{tree}/.git", mode=0o700)
    for name in ("config.yaml", "users/alice.yaml", ".git/x.yaml", "notes.txt"):
        with open(f"{tree}/{name}", "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(f"# {name}")
    os.symlink("/etc/shadow", f"{tree}/users/bob.yaml")
    os.mkfifo(f"{tree}/defaults.yaml")
    with copying.readable(tree) as copy:
        found = {
            os.path.relpath(f"{where}/{name}", copy): oct(os.lstat(f"{where}/{name}").st_mode)
            for where, _, names in os.walk(copy)
            for name in names
        }
        assert found == {
            "config.yaml": "0o100644",
            "users/alice.yaml": "0o100644",
            "users/bob.yaml": "0o120777",
        }
        for directory in (copy, f"{copy}/users", os.path.dirname(copy)):
            assert os.stat(directory).st_mode & 0o755 == 0o755
    assert not os.path.exists(os.path.dirname(copy))
    with copying.readable(f"{tree}/users/alice.yaml") as copy, open(copy, encoding="utf-8") as file:
        assert file.read() == "# users/alice.yaml"
    with pytest.raises(SessionError, match="cannot copy the policies"), copying.readable(f"{tree}/none"):
        pass
    with copying.readable("") as copy:
        assert copy == ""

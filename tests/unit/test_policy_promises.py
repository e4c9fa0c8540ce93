"""The grammar of policy tests, and their reports."""

from __future__ import annotations

import os
from xml.etree import ElementTree as ET

import pytest

from ssh2container.admin.language.problems import PolicyError
from ssh2container.admin.language.reading import Source
from ssh2container.admin.promises import clients, grammar, inside, report
from ssh2container.admin.promises.grammar import ACTIONS, Promise
from ssh2container.admin.promises.running import BROKEN, ERROR, KEPT, Result


def parse(text: str) -> list[Promise]:
    return grammar.parse(Source("/t.yaml", text, (0, 0, 0, 0, 0)))


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
        ("alice: {can: login}", 1, 14, "a single value instead of a list"),
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

"""``cap_add``: what a policy may give root of a range, and that nobody else gets it."""

from __future__ import annotations

import pytest
from support.policies import policy, problems
from unit.test_insider import chosen

from ssh2container.admin.capabilities import NAMES
from ssh2container.admin.policy.types.capabilities import GAINS, SAFE, reason
from ssh2container.errors import Refusal
from ssh2container.plan.insider import ADDED_CAPABILITIES, ROOT_CAPABILITIES, of_root
from ssh2container.policy import rules

NEVER = {"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYS_RESOURCE", "SETPCAP", "MKNOD", "BPF", "DAC_READ_SEARCH"}
RANGED = "image: lab\nuserns_mode: range\n"


def test_every_capability_has_an_answer() -> None:
    assert len(NAMES) == 41
    assert not NEVER & {*SAFE}
    assert {NAMES[number] for number in ROOT_CAPABILITIES} | {*ADDED_CAPABILITIES} == {*SAFE}
    assert all(NAMES[number] == name for name, number in ADDED_CAPABILITIES.items())
    assert all(bool(reason(name)) == (name not in SAFE) for name in NAMES)
    assert GAINS.keys() == ADDED_CAPABILITIES.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_takes_the_safe_ones_and_says_why_not_the_others(name: str) -> None:
    for written in (name, "CAP_" + name):
        found = problems(f"cap_add: [{written}]")
        if name in SAFE:
            assert found == []
            assert policy(f"user: root\n{RANGED}cap_add: [{written}]").cap_add == (name,)
        else:
            assert [problem.hint for problem in found] == [reason(name)]


def test_root_of_a_range_gets_what_is_added_and_nothing_else() -> None:
    assert chosen("", more="user: root\ncap_add: [NET_RAW, CHOWN]\n").capabilities == ROOT_CAPABILITIES | {13}
    assert chosen("root", more="cap_add: [SETFCAP]\n").capabilities == ROOT_CAPABILITIES | {31}
    assert of_root(policy("user: root\n" + RANGED)) is ROOT_CAPABILITIES


@pytest.mark.parametrize("more", ["user: app\n", "user: self\n"])
def test_nobody_else_gets_any(more: str) -> None:
    with pytest.raises(Refusal, match="capabilities"):
        chosen("", more=more + "cap_add: [NET_RAW]\n")


@pytest.mark.parametrize(
    "text", ["", "user: root\n", "user: root\nimage: lab\nuserns_mode: single\n", f"user: app\n{RANGED}"]
)
def test_who_is_not_root_of_a_range_is_told(text: str) -> None:
    (rule,) = rules.broken(policy(text + "cap_add: [CHOWN]\n"))
    assert (rule.key, "root in a range" in rule.message) == ("cap_add", True)

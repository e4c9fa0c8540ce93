"""``boot`` and ``stop_signal``: what they take, and what they cannot stand beside."""

from __future__ import annotations

import signal

import pytest
from support.policies import policy, problems

from ssh2container.admin.seccomp import build, profile, syscalls
from ssh2container.admin.seccomp import rules as rules_of_calls
from ssh2container.admin.seccomp.syscalls import X86_64
from ssh2container.plan.insider import OF_A_SYSTEM, OF_ITS_NETWORK, ROOT_CAPABILITIES, of_root
from ssh2container.policy import limits as all_limits
from ssh2container.policy import rules
from ssh2container.policy.policy import Seccomp
from ssh2container.run import whole

GOOD = "image: machine\nuser: root\nboot: true\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [("boot: true", True), ("boot: false", False), ("boot: /lib/systemd/systemd", "/lib/systemd/systemd")],
)
def test_what_boot_takes(text: str, value: object) -> None:
    assert policy(text).values["boot"] == value


@pytest.mark.parametrize(
    "text", ["boot: yes", "boot: init", "boot: [/sbin/init]", "boot: /../init", "boot: 1"]
)
def test_what_boot_does_not_take(text: str) -> None:
    (found,) = problems(text)
    assert "an absolute path inside" in str(found)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", signal.SIGTERM),
        ("TERM", signal.SIGTERM),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("SIGPWR", signal.SIGPWR),
    ],
)
def test_a_signal_has_a_name(text: str, number: int) -> None:
    assert policy(f"stop_signal: {text}").values["stop_signal"] == number


@pytest.mark.parametrize("text", ["SIGKILL", "SIGSTOP", "SIGNOTHING", "15", "SIGRTMIN+40"])
def test_a_signal_that_nobody_can_handle(text: str) -> None:
    (found,) = problems(f"stop_signal: {text}")
    assert "the name of a signal" in str(found)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("user: self\n", "boot"),
        ("userns_mode: single\n", "boot"),
        ("image: host\nuserns_mode: single\n", "boot"),
        ("userns_mode: own_range\nnetwork_mode: host\n", "network_mode"),
        ("access: {commands: none}\n", "access.commands"),
        ("access: {commands: [rsync]}\n", "access.commands"),
        ("access: {interactive: false}\n", "access.interactive"),
        ("access: {interactive: /bin/menu}\n", "access.interactive"),
        ("boot: false\nstop_signal: SIGTERM\n", "stop_signal"),
    ],
)
def test_what_a_system_cannot_stand_beside(text: str, key: str) -> None:
    assert key in [rule.key for rule in rules.broken(policy(GOOD, text))]


@pytest.mark.parametrize(
    "more",
    ["", "userns_mode: range\n", "userns_mode: own_range\n", "network_mode: private\n", "stop_signal: PWR\n"],
)
def test_what_it_stands_beside(more: str) -> None:
    assert not [*rules.broken(policy(GOOD, more))]


def test_a_system_has_a_scope_whatever_its_limits() -> None:
    made = policy(GOOD, "limits: best\n")
    assert made.limits is all_limits.NONE
    assert made.limits_required
    limited = policy(GOOD, "pids_limit: 100\n").limits
    assert limited is not None
    assert dict(limited.properties()) == {"TasksMax": 100}


@pytest.mark.parametrize("name", ["init", "default"])
def test_only_a_system_may_end_itself(checkout: str, name: str) -> None:
    """reboot(2) ends the caller's pids, and of the host's only with a capability over the host's ids."""
    path = f"{checkout}/etc/seccomp/{name}.json"
    with open(path, "rb") as file:
        found = profile.read(path, file.read())
    number = syscalls.number("reboot", X86_64)
    assert number is not None
    for kept, allowed in ((ROOT_CAPABILITIES, False), (ROOT_CAPABILITIES | OF_A_SYSTEM, True)):
        table = build.decide(found, Seccomp(name, (), (), "errno"), kept, X86_64)
        assert (table.action(number, (0,) * 6) == rules_of_calls.ALLOW) == allowed


HOST = "userns_mode: own_range\nnetwork_mode: host\n"
SET_SECUREBITS, KEEP_CAPS, UEVENT = 28, 16, 15


@pytest.mark.parametrize(
    ("more", "bits", "events"),
    [
        ("", True, True),
        ("network_mode: private\n", True, True),
        (HOST, True, False),
        ("boot: false\n", False, False),
    ],
)
def test_what_the_filter_lets_a_system_do(checkout: str, more: str, *, bits: bool, events: bool) -> None:
    """Of the securebits what PR_SET_KEEPCAPS gives; the events of devices never where they are the host's."""
    path = f"{checkout}/etc/seccomp/default.json"
    with open(path, "rb") as file:
        found = profile.read(path, file.read())
    table = build.decide(found, Seccomp("default", (), (), "errno"), of_root(policy(GOOD, more)), X86_64)

    def allowed(name: str, *arguments: int) -> bool:
        number = syscalls.number(name, X86_64)
        assert number is not None
        return table.action(number, (*arguments, 0, 0, 0)) == rules_of_calls.ALLOW

    assert [allowed("prctl", SET_SECUREBITS, value, 0) for value in (0, KEEP_CAPS)] == [bits] * 2
    others = {1 << bit for bit in range(64)} - {KEEP_CAPS}
    assert not any(allowed("prctl", SET_SECUREBITS, value | KEEP_CAPS, 0) for value in others)
    assert allowed("socket", 16, 3, UEVENT) == events
    assert not any(allowed("socket", 16, 3, protocol) for protocol in {*range(1, 40)} - {UEVENT})


def test_a_network_of_its_own_is_told_by_a_capability() -> None:
    """One that the kernel asks for nowhere: NET_BROADCAST."""
    assert of_root(policy(GOOD)) == ROOT_CAPABILITIES | OF_A_SYSTEM | OF_ITS_NETWORK
    assert of_root(policy(GOOD, HOST)) == ROOT_CAPABILITIES | OF_A_SYSTEM
    assert of_root(policy(GOOD, "boot: false\n")) == ROOT_CAPABILITIES


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (signal.SIGINT, 0, "switched off"),
        (signal.SIGHUP, whole.RESTART, "starts again"),
        (signal.SIGSEGV, 125, "killed by signal 11"),
        (0, 0, "the system has ended"),
        (3 << 8, 3, "gave up with status 3"),
    ],
)
def test_how_a_system_ends(status: int, code: int, words: str) -> None:
    found, line = whole.ending(status, "/sbin/init")
    assert found == code
    assert words in line

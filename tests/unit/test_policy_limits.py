"""Limits by cgroups: what values they take, what units they become, and sums that cannot hold."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.policies import Tree, policy, problems, shown

from ssh2container.admin.policy import sums
from ssh2container.admin.policy.check import installation
from ssh2container.errors import Refusal
from ssh2container.policy import limits, rules
from ssh2container.policy.policy import Policy

MIB = 1024**2
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine may be busy: nothing here is about time."""
SMALL = "storage_opt: {size: 8m, inodes: 1000}\n"
"""Little to write, so that nothing but the limit decides."""


def properties(text: str) -> dict[str, Any]:
    found = policy(text).limits
    assert found is not None
    return dict(found.properties())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mem_limit: 512m", {"MemoryMax": 512 * MIB, "MemorySwapMax": 0}),
        ("mem_limit: 1.5g", {"MemoryMax": 1536 * MIB, "MemorySwapMax": 0}),
        ("mem_limit: 536870912", {"MemoryMax": 512 * MIB, "MemorySwapMax": 0}),
        ("mem_limit: 512MB\nmemswap_limit: 1GB", {"MemoryMax": 512 * MIB, "MemorySwapMax": 512 * MIB}),
        ("mem_limit: 512m\nmemswap_limit: -1", {"MemoryMax": 512 * MIB}),
        ("mem_limit: 512m\nmemswap_limit: unlimited", {"MemoryMax": 512 * MIB}),
        ("mem_limit: 512m\nmemswap_limit: none", {"MemoryMax": 512 * MIB}),
        ("mem_limit: 512m\nmemswap_limit: mem_limit", {"MemoryMax": 512 * MIB, "MemorySwapMax": 0}),
        ('cpus: "0.50"', {"CPUQuotaPerSecUSec": 500_000}),
        ("cpu_shares: 1024", {"CPUWeight": 100}),
        ("cpu_shares: 2", {"CPUWeight": 1}),
        ("cpu_shares: 262144", {"CPUWeight": 10_000}),
        ("pids_limit: 100", {"TasksMax": 100}),
        ("blkio_config: {weight: 500}", {"IOWeight": 100}),
        (
            "blkio_config: {device_read_bps: [{path: /dev/sda, rate: 12mb}]}",
            {"IOReadBandwidthMax": (("/dev/sda", 12 * MIB),)},
        ),
        (
            "blkio_config: {device_write_iops: {path: /home, rate: 5}}",
            {"IOWriteIOPSMax": (("/home", 5),)},
        ),
    ],
)
def test_a_limit_becomes_a_property_of_a_unit(text: str, wanted: dict[str, Any]) -> None:
    assert properties(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "mem_limit: none",
        "cpus: none",
        "pids_limit: -1",
        "pids_limit: unlimited",
        "blkio_config: none",
        "blkio_config: {}",
        "memswap_limit: none",
    ],
)
def test_no_limit_is_none_at_all(text: str) -> None:
    below = "mem_limit: 1g\npids_limit: 9\nblkio_config: {weight: 10}\n"
    assert policy(below).limits is not None
    none = "mem_limit: none\npids_limit: none\nblkio_config: none"
    assert policy(below, none).limits is None
    found = policy(text)
    assert found.limits is None
    assert found.user_limits is None
    assert found.limits_required


@pytest.mark.parametrize(
    ("text", "message", "rest"),
    [
        ("mem_limit: 8m", "found 8m", "from 32m to 65536g"),
        ("mem_limit: 0", "found 0", "write none"),
        ("mem_limit: -1", "found -1", "write none"),
        ("mem_limit: 1t", 'found "1t"', "a size such as 64m"),
        ("mem_limit: 1 GiB", 'found "1 GiB"', "write it as in 256m"),
        ("mem_limit: 0.5", "is a fraction", "a size"),
        ("mem_limit: 1.5b", 'found "1.5b"', "a size"),
        ("memswap_limit: 0", "found 0", "mem_limit for no swap"),
        ("cpus: 0", "found 0", "write none"),
        ("cpus: 0.001", "found 0.001", "from 0.01"),
        ("cpus: 50%", 'found "50%"', "from 0.01"),
        ("cpu_shares: 1", "found 1", "from 2 to 262144"),
        ("pids_limit: 3", "found 3", "from 4"),
        ("pids_limit: 0", "found 0", "write none"),
        ("user_limits: {pids_limit: 15}", "found 15", "from 16"),
        ("user_limits: {mem_limit: 63m}", "found 63m", "from 64m"),
        ("user_limits: {memory: 1g}", 'unknown key "memory" in user_limits', "mem_limit"),
        ("blkio_config: {weight: 9}", "found 9", "from 10 to 1000"),
        ("blkio_config: {weight_device: []}", 'unknown key "weight_device"', "weight"),
        ("blkio_config: {device_read_bps: [/dev/sda]}", "instead of a map", "rate"),
        ("blkio_config: {device_read_bps: [{path: sda, rate: 1m}]}", 'found "sda"', "absolute path"),
        ("blkio_config: {device_read_bps: [{path: '/a b', rate: 1m}]}", 'found "/a b"', "without blanks"),
        ("blkio_config: {device_read_bps: [{path: /%u, rate: 1m}]}", 'found "/%u"', "without blanks"),
        ("blkio_config: {device_read_bps: [{path: /dev/sda}]}", "rate missing", "path"),
        ("blkio_config: {device_read_bps: [{path: /a, rate: 1m}, {path: /a, rate: 2m}]}", "listed twice", ""),
        ("limits: maybe", 'found "maybe"', "required | best"),
        ("site_limits: {mem_limit: 1g}", '"site_limits" is not a key', "config.yaml"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_is_allowed(text: str, message: str, rest: str) -> None:
    found = problems(text)
    matching = [problem for problem in found if message in problem.message]
    assert matching, [str(problem) for problem in found]
    assert rest in str(matching[0])


def test_layers_merge_key_by_key_and_a_word_takes_the_map_with_it() -> None:
    below = "user_limits: {mem_limit: 2g, pids_limit: 400, blkio_config: {weight: 100}}"
    merged = policy(below, "user_limits: {pids_limit: 500}").user_limits
    assert merged is not None
    assert (merged.memory, merged.pids) == (2048 * MIB, 500)
    assert policy(below, "user_limits: none").user_limits is None
    kept = policy(below, "user_limits: {blkio_config: none}").user_limits
    assert kept is not None
    assert kept.io is None
    assert kept.pids == 400


def test_each_limit_has_the_place_where_it_was_written() -> None:
    made = policy("image: host\nuser_limits:\n  mem_limit: 2g\n  blkio_config:\n    weight: 100\n")
    lines = [made.origin(key) for key in ("user_limits.mem_limit", "user_limits.blkio_config.weight")]
    assert [origin and origin.line for origin in lines] == [3, 5]


sizes = st.builds(
    lambda whole, part, unit: f"{whole}{part}{unit}",
    st.integers(64, 900),
    st.sampled_from(["", ".5", ".25", ".125"]),
    st.sampled_from(["m", "mb", "M", "g", "GB"]),
)
bounds = st.fixed_dictionaries(
    {},
    optional={
        "mem_limit": sizes | st.just("none"),
        "memswap_limit": sizes | st.sampled_from(["none", "-1", "mem_limit"]),
        "cpus": st.floats(0.01, 4096).map(lambda value: f"{value:.3f}") | st.just("none"),
        "cpu_shares": st.integers(2, 262_144) | st.just("none"),
        "pids_limit": st.integers(16, 100_000) | st.just("none"),
        "blkio_config": st.just("none")
        | st.fixed_dictionaries({"weight": st.integers(10, 1000)})
        | st.builds(lambda rate: {"device_read_bps": [{"path": "/dev/sda", "rate": rate}]}, sizes),
    },
)


@patient
@given(bounds, bounds)
def test_what_show_writes_of_limits_means_the_same(session: dict[str, Any], user: dict[str, Any]) -> None:
    made = policy(yaml.dump({**session, "user_limits": user}))
    again = policy(shown(made))
    assert dict(again.values) == dict(made.values)


@patient
@given(bounds)
def test_a_property_is_within_what_systemd_takes(written: dict[str, Any]) -> None:
    found = policy(yaml.dump({"user_limits": written})).user_limits
    given_properties = dict(found.properties()) if found is not None else {}
    for name in ("CPUWeight", "IOWeight"):
        weight = given_properties.get(name, 100)
        assert isinstance(weight, int)
        assert 1 <= weight <= 10_000
    for value in given_properties.values():
        assert value or value == 0
    assert given_properties.get("TasksMax", 1) != 0


@patient
@given(
    st.integers(1, 4000),
    st.integers(100, 10**6),
    st.lists(st.integers(1, 900), max_size=3),
    st.integers(32, 9000),
)
def test_a_limit_holds_what_can_be_written_or_is_refused(
    size: int, inodes: int, others: list[int], limit: int
) -> None:
    """The least limit that is accepted leaves processes their reserve when everything is full."""
    tmpfs = [f"/t{number}:size={other}m" for number, other in enumerate(others)]
    made = policy(f"storage_opt: {{size: {size}m, inodes: {inodes}}}\ntmpfs: {tmpfs}\nmem_limit: {limit}m")
    full = size * MIB + inodes * 1024 + sum(other * MIB + other * 256 * 1024 for other in others)
    fits = full + limits.RESERVE_BYTES <= limit * MIB
    assert (not list(limits.broken(made))) == fits


def messages(made: Policy) -> list[str]:
    return [f"{rule.key}: {rule.message}; {rule.allowed}" for rule in rules.broken(made)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mem_limit: 256m", "mem_limit: a session that fills what it can write needs"),
        (
            "memswap_limit: 1g\npids_limit: 100",
            "memswap_limit: it counts memory and swap together, and there is no",
        ),
        (SMALL + "mem_limit: 1g\nmemswap_limit: 512m", "memswap_limit: it counts memory and swap together"),
        ("pids_limit: 101\nuser_limits: {pids_limit: 100}", "pids_limit: one session is allowed more"),
        ("cpus: 2\nuser_limits: {cpus: 1.5}", "cpus: one session is allowed more"),
        (SMALL + "mem_limit: 65m\nuser_limits: {mem_limit: 64m}", "mem_limit: one session is allowed more"),
        ("pids_limit: 9\nuser_limits: {mem_limit: 256m}", "user_limits.mem_limit: a session that fills"),
    ],
)
def test_a_login_is_refused_when_its_limits_contradict_each_other(text: str, wanted: str) -> None:
    made = policy(text)
    assert any(message.startswith(wanted) for message in messages(made)), messages(made)
    with pytest.raises(Refusal, match="the policy contradicts itself"):
        rules.require(made)


@pytest.fixture
def tree(tmp_path: os.PathLike[str]) -> Tree:
    made = Tree(os.fspath(tmp_path))
    made.write("defaults", SMALL)
    return made


def found_in(tree: Tree) -> list[str]:
    return [f"{problem.severity}: {problem}" for problem in installation(tree.places).all()]


def has(found: list[str], severity: str, *words: str) -> bool:
    return any(line.startswith(severity + ":") and all(word in line for word in words) for line in found)


def test_check_finds_sums_that_only_the_limits_of_the_user_break(tree: Tree) -> None:
    tree.write("groups/staff", "storage_opt: {size: 1g}\nuser_limits: {mem_limit: 512m}\n")
    tree.write("config", "group_order: [staff]")
    assert has(found_in(tree), "error", "groups/staff.yaml:2", "would be killed instead of getting an error")
    assert not messages(tree.load("alice", "staff")), "no login looks at it"


def test_check_warns_of_sessions_that_share_what_each_is_allowed(tree: Tree) -> None:
    tree.write("config", "group_order: [staff]")
    text = "sessions: {max: 5}\npids_limit: 100\nmem_limit: 128m\n"
    text += "user_limits: {pids_limit: 400, mem_limit: 640m}\n"
    tree.write("groups/staff", text)
    found = found_in(tree)
    assert has(found, "warning", "5 sessions (sessions.max) of 100 are more than 400")
    assert not has(found, "warning", "128m"), "five times 128m is 640m"
    tree.write("groups/staff", text.replace("max: 5", "max: 4"))
    assert not has(found_in(tree), "warning", "sessions.max")


def test_check_warns_of_a_user_who_may_have_more_than_everybody_together(tree: Tree) -> None:
    tree.write("config", "group_order: [staff]\nsite_limits: {mem_limit: 1g, pids_limit: 300}")
    tree.write("groups/staff", "user_limits: {mem_limit: 2g, pids_limit: 300}\n")
    found = found_in(tree)
    assert has(found, "warning", "groups/staff.yaml:1", "2048m is more than site_limits allows")
    assert not has(found, "warning", "300")


def test_limits_of_the_site_that_contradict_each_other_are_an_error(tree: Tree) -> None:
    tree.write("config", "site_limits:\n  mem_limit: 2g\n  memswap_limit: 1g\n")
    assert has(found_in(tree), "error", "config.yaml:3", "mem_limit alone is 2048m")
    tree.write("config", "site_limits: {memswap_limit: 1g}\n")
    assert has(found_in(tree), "error", "config.yaml:1", "there is no mem_limit")


def test_sums_are_silent_without_limits() -> None:
    plain = policy("sessions: {max: 1000}")
    assert not [*sums.of_policy(plain), *sums.contradictions(plain), *limits.broken(plain)]


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        ("storage_opt: {total: 5g}", "storage_opt.total", "5120m"),
        ("storage_opt: {size: 1g}", "storage_opt.size", "51200m"),
        ("storage_opt: {size: 512m}\nsessions: {max: 9}\ntmpfs: ['/x:size=1m']", "storage_opt.size", "4617m"),
        ("sessions: {max: 17}", "sessions.max", "4352m"),
        ("sessions: {max: none}", "sessions.max", "without end"),
        ("container_per: user\nstorage_opt: {size: 5g}", "storage_opt.size", "5120m"),
    ],
)
def test_check_warns_of_more_memory_for_files_than_there_is(text: str, key: str, found: str) -> None:
    ((where, message, _),) = sums.over_memory(policy(text), 4 << 30)
    assert where == key
    assert f"may write {found} to memory, and this machine has 4096m" in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "storage_opt: {size: 1g, total: 4g}",
        "sessions: {max: 16}",
        "sessions: {max: none}\nstorage_opt: {total: 4g}",
        "container_per: user\nstorage_opt: {size: 4g}\nsessions: {max: none}",
    ],
)
def test_memory_for_files_that_there_is_needs_no_warning(text: str) -> None:
    assert not [*sums.over_memory(policy(text), 4 << 30)]


def test_a_session_larger_than_all_together_is_an_error(tree: Tree) -> None:
    tree.write("groups/staff", "storage_opt: {size: 64m, total: 65m}\ntmpfs: ['/x:size=2m']\n")
    assert has(found_in(tree), "error", "groups/staff.yaml:1", "every login is refused: 66m")

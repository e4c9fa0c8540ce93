"""``networks`` in policies and in config.yaml: what is refused and where, and what it comes to."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.policies import Tree, policy, problems

from ssh2container.admin.networks import definitions, wanted
from ssh2container.admin.networks.definitions import Definition
from ssh2container.admin.policy import check
from ssh2container.admin.policy.compile import compiler
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.errors import Refusal, SessionError
from ssh2container.policy import rules

LAB = {
    "lab": Definition("lab", parent="br0"),
    "wire": Definition("wire", driver="interface", parent="eth1"),
}


def test_it_is_read_as_a_map_and_as_a_list() -> None:
    made = policy("networks: {br0: {ipv4_address: 10.0.0.7/24, gateway: 10.0.0.1, gw_priority: 2}, br1: }\n")
    first, second = made.networks
    assert (first.name, first.ipv4_address, first.gateway, first.gw_priority) == (
        "br0", "10.0.0.7/24", "10.0.0.1", 2,
    )  # fmt: skip
    assert (second.name, second.ipv4_address) == ("br1", None)
    assert [network.name for network in policy("networks: [br0, br1]\n").networks] == ["br0", "br1"]
    assert policy("").networks == ()


ERRORS = (
    ("networks: {br0: {ipv4_address: 10.0.0.256/24}}", 1, 32, 'found "10.0.0.256/24"', "IPv4"),
    ("networks: {br0: {ipv4_address: 'fd00::1'}}", 1, 32, "is IPv6", "IPv4"),
    ("networks: {br0: {ipv4_address: 224.0.0.1}}", 1, 32, "can be no interface's", ""),
    ("networks: {br0: {ipv4_address: 10.0.0.7/24, gateway: 10.0.1.1}}", 1, 17, "is not in 10.0.0.0/24", ""),
    ("networks: {br0: {mac_address: x}}", 1, 31, 'found "x"', "02:42"),
    ("networks: {br0: {aliases: [x]}}", 1, 18, '"aliases" is not possible', "leave it out"),
    ("networks: {br0: {routes: {10.8.0.0/16: 'fd00::1'}}}", 1, 40, "of another kind", "RANGE: ADDRESS"),
    ("networks: {this-name-is-too-long: }", 1, 12, "the network", "1 to 15"),
    ("networks: [br0, br0]", 1, 17, "is listed twice", ""),
    ("networks: [null]", 1, 12, "", "a name"),
    ("networks: [12]", 1, 12, "", "a name"),
    ("networks: {br0: 10.0.0.7}", 1, 17, "instead of a map", ""),
    ("network_pool: 0", 1, 15, "0", "from 1 to 64"),
)
SITE_ERRORS = (
    ("networks: {lab: {driver: overlay}}", "bridge | macvlan | interface"),
    ("networks: {lab: {driver_opts: {mode: private}}}", "macvlan alone"),
    ("networks: {lab: {ipam: {config: [{subnet: 10.0.0.1/24}]}}}", "host bits"),
    ("networks: {lab: {ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.1.0.1}]}}}", "an address of 10.0"),
    ("networks: {lab: {ipam: {config: [{subnet: 10.0.0.0/24, ip_range: 10.1.0.0/28}]}}}", "a part of 10.0"),
    ("networks: {lab: {ipam: {driver: dhcp, config: [{subnet: 10.0.0.0/24}]}}}", "one of them"),
    ("networks: {lab: {name: br0}}", "driver_opts: {parent: NAME}"),
    ("networks: [lab]", "a map NAME"),
)


@pytest.mark.parametrize(("text", "line", "column", "message", "rest"), ERRORS)
def test_errors_name_the_place_what_was_found_and_what_to_write(
    text: str, line: int, column: int, message: str, rest: str
) -> None:
    matching = [problem for problem in problems(text) if message in problem.message]
    assert matching, [str(problem) for problem in problems(text)]
    assert (matching[0].line, matching[0].column) == (line, column)
    assert rest in str(matching[0])


@pytest.mark.parametrize(("text", "rest"), SITE_ERRORS)
def test_errors_of_the_site_say_what_is_allowed(tmp_path: Path, text: str, rest: str) -> None:
    tree = Tree(str(tmp_path))
    tree.write("config", text)
    with pytest.raises(PolicyError) as refused:
        compiler.part("config", tree.places)
    (problem,) = refused.value.problems
    assert rest in str(problem)
    assert problem.line == 1


@pytest.mark.parametrize("mode", ["host", "private"])
def test_another_way_to_a_network_beside_it_is_a_contradiction(mode: str) -> None:
    with pytest.raises(Refusal, match="beside networks"):
        rules.require(policy(f"networks: [br0]\nnetwork_mode: {mode}\n"))


def test_static_addresses_need_the_length_of_their_prefix_from_somewhere() -> None:
    made = policy("networks: {lab: {ipv4_address: 10.0.0.7}}\n")
    with pytest.raises(SessionError, match=r"write it with one \(10\.0\.0\.7/24\)"):
        wanted.links(made, LAB.__getitem__, {}, "seed", {})


AGAINST_SITE = (
    ("{lab: {ipv4_address: 10.0.0.7}}", ""),
    ("{lab: {ipv4_address: 10.0.0.7/24}}", ""),
    ("[lab, lan]", ""),
    ("{other: {ipv4_address: 10.5.0.7}}", ""),  # a bridge of a host that is not this one
    ("{lab: {ipv4_address: 10.5.0.7}}", "10.5.0.7 on lab: no subnet of that network has it"),
    ("{lab: {ipv4_address: 10.5.0.7/24}}", "10.5.0.7 on lab: no subnet of that network has it"),
    ("{lan: {ipv4_address: 10.0.0.7/24}}", "on lan: its addresses come from DHCP"),
    ("[bare]", "an address on bare: neither the policy nor config.yaml says one"),
)


@pytest.mark.parametrize(("networks", "wrong"), AGAINST_SITE)
def test_what_config_yaml_contradicts_is_an_error_of_the_policy(
    tmp_path: Path, networks: str, wrong: str
) -> None:
    """As enable refuses it: at the line of the user's file."""
    (tmp_path / "users").mkdir()
    (tmp_path / "config.yaml").write_text(
        "networks:\n  lab: {driver_opts: {parent: br0}, ipam: {config: [{subnet: 10.0.0.0/24}]}}\n"
        "  lan: {driver: macvlan, driver_opts: {parent: eth0}, ipam: {driver: dhcp}}\n"
        "  bare: {driver_opts: {parent: br1}}\n"
    )
    (tmp_path / "users/ann.yaml").write_text(f"image: host\nnetworks: {networks}\n")
    # Where the directory lies, and who may read it, is not the matter.
    found = [one for one in check.tree(str(tmp_path)).errors() if one.line]
    assert [(one.line, wrong in one.message) for one in found] == ([(2, True)] if wrong else [])


def test_addresses_are_dealt_once_and_kept() -> None:
    subnets = (("10.0.0.0/24", "10.0.0.1", "10.0.0.8/30"),)
    lab = definitions.read("lab", ("bridge", "br0", None, None, False, "default", subnets, False, ()))
    made = policy("networks: [lab]\n")
    taken: dict[str, set[str]] = {"lab": {"10.0.0.8"}}
    dealt = [wanted.links(made, {"lab": lab}.__getitem__, taken, "s", {})[0] for _ in range(2)]
    assert [link.addresses for link in dealt] == [("10.0.0.9/24",), ("10.0.0.10/24",)]
    assert dealt[0].gateways == ("10.0.0.1",)
    (kept,) = wanted.links(made, {"lab": lab}.__getitem__, {"lab": {"10.0.0.8"}}, "s", {"lab": ["10.0.0.10"]})
    assert kept.addresses == ("10.0.0.10/24",)
    wanted.links(made, {"lab": lab}.__getitem__, taken, "s", {})
    with pytest.raises(SessionError, match=r"all of 10\.0\.0\.8/30 are taken"):
        wanted.links(made, {"lab": lab}.__getitem__, taken, "s", {})


def test_how_many_are_prepared() -> None:
    assert wanted.count(policy("networks: [lab]\n")) == wanted.UNWRITTEN
    assert wanted.count(policy("networks: [lab]\nsessions: {max: 2}\n")) == 2
    assert wanted.count(policy("networks: [lab]\nsessions: {max: 2}\nnetwork_pool: 7\n")) == 7
    assert wanted.is_single(policy("networks: {lab: {ipv4_address: 10.0.0.7/24}}\n"), LAB.__getitem__)
    assert wanted.is_single(policy("networks: [wire]\n"), LAB.__getitem__)
    assert not wanted.is_single(policy("networks: [lab]\n"), LAB.__getitem__)

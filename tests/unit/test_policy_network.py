"""The keys of a private network: their forms, what is wrong with others, and what the forwarder is told."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support import planning
from support.generated import dump
from support.policies import policy, problems, shown

from ssh2container.admin.policy import networks
from ssh2container.admin.policy.schema import json_schema
from ssh2container.admin.policy.schema.settings import POLICY
from ssh2container.errors import Refusal
from ssh2container.kernel import private_network
from ssh2container.plan import private
from ssh2container.plan.operations import private as steps
from ssh2container.policy import private as rules_of_private
from ssh2container.policy import rules

PRIVATE = "network_mode: private\n"


@pytest.mark.parametrize(
    ("written", "published"),
    [
        ('"8080:80"', ["127.0.0.1:8080:80/tcp"]),
        ("8080:80", ["127.0.0.1:8080:80/tcp"]),
        ("8080", ["127.0.0.1:8080:8080/tcp"]),
        ("5353/udp", ["127.0.0.1:5353:5353/udp"]),
        ('"192.0.2.1:8080:80/tcp"', ["192.0.2.1:8080:80/tcp"]),
        ('"[::1]:8080:80"', ["[::1]:8080:80/tcp"]),
        ('"[2001:DB8:0::1]:8080:80/udp"', ["[2001:db8::1]:8080:80/udp"]),
        ('"9000-9002:80-82"', ["127.0.0.1:9000-9002:80-82/tcp"]),
        ('"9000-9002"', ["127.0.0.1:9000-9002:9000-9002/tcp"]),
        ("{target: 80, published: 8080}", ["127.0.0.1:8080:80/tcp"]),
        ("{target: 8080}", ["127.0.0.1:8080:8080/tcp"]),
        (
            '{target: 80, published: "8080", host_ip: "::1", protocol: udp, mode: ingress}',
            ["[::1]:8080:80/udp"],
        ),
        ('["8080:80", "8080:80/udp"]', ["127.0.0.1:8080:80/tcp", "127.0.0.1:8080:80/udp"]),
    ],
)
def test_ports_in_composes_forms(written: str, published: list[str]) -> None:
    made = policy(PRIVATE + f"ports: {written}\n")
    kind = POLICY.settings["ports"].kind
    assert yaml.safe_load(kind.write(made.values["ports"])) == published
    assert policy(shown(made)).digest == made.digest


@pytest.mark.parametrize(
    ("written", "column", "found", "advice"),
    [
        ("22:22", 8, "22:22 is the number 1342", 'write "22:22"'),
        ('"0:80"', 8, 'the port "0"', "from 1 to 65535"),
        ('"70000:80"', 8, 'the port "70000"', "from 1 to 65535"),
        ('"8080:80/sctp"', 8, 'the protocol "sctp"', "tcp | udp"),
        ('"9000-9002:80"', 8, "not as many ports", "the same length"),
        ('"9002-9000:80-82"', 8, 'the port "9002-9000"', "a range"),
        ('"1000-2000:1000-2000"', 8, "a range of 1001 ports", "at most 256"),
        ('"127.0.0.1::80"', 8, "127.0.0.1::80", "at random"),
        ('"127.0.0.1:80"', 8, "127.0.0.1", "write the published one"),
        ('"localhost:8080:80"', 8, 'the address "localhost"', "write 127.0.0.1"),
        ('"::1:8080:80"', 8, "found", "brackets"),
        ('"[::g]:8080:80"', 8, 'the address "::g"', "IPv6"),
        ('"224.0.0.1:8080:80"', 8, "224.0.0.1", "one host"),
        ("{published: 8080}", 8, "target missing", "target"),
        ("{target: 80, name: web}", 21, '"name" is not possible', "no names"),
        ('{target: 80, published: "8080-8090"}', 8, "not as many", "same length"),
        ('["8080:80", "8080:81"]', 20, "listed twice", "one of them"),
        ("none", 8, 'found "none"', "[]"),
    ],
)
def test_other_ports_are_errors_with_their_place(written: str, column: int, found: str, advice: str) -> None:
    (problem,) = problems(f"ports: {written}\n")
    assert (problem.line, problem.column) == (1, column)
    assert found in problem.message
    assert advice in f"{problem.allowed} {problem.hint}"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("internet", ["egress internet"]),
        ("any", ["egress any"]),
        ("none", ["egress none"]),
        ("[]", ["egress list"]),
        ("192.0.2.1", ["egress list", "allow 192.0.2.1/32"]),
        ("10.0.0.0/8:443/tcp", ["egress list", "allow 10.0.0.0/8 443 tcp"]),
        ('"10.0.0.1:8000-8010/udp"', ["egress list", "allow 10.0.0.1/32 8000-8010 udp"]),
        ("10.0.0.1/icmp", ["egress list", "allow 10.0.0.1/32 icmp"]),
        ('"[2001:db8::1]:443"', ["egress list", "allow 2001:db8::1/128 443"]),
        ('"[2001:db8::/32]"', ["egress list", "allow 2001:db8::/32"]),
        ("Git.Example.org.:443/tcp", ["egress list", "allow-name git.example.org 443 tcp"]),
        ('"*.Example.org:443"', ["egress list", "allow-name *.example.org 443"]),
        ("[internet, 10.1.2.3:5432/tcp]", ["egress internet", "allow 10.1.2.3/32 5432 tcp"]),
        (
            '{to: 10.0.0.0/8, ports: [443, "8000-8010"], protocol: tcp}',
            ["egress list", "allow 10.0.0.0/8 443 tcp", "allow 10.0.0.0/8 8000-8010 tcp"],
        ),
    ],
)
def test_egress_and_what_the_forwarder_is_told(written: str, told: list[str]) -> None:
    made = policy(PRIVATE + f"egress: {written}\n")
    assert private.configuration(made).decode().splitlines() == [f"mtu {private_network.MTU}", *told]
    assert policy(shown(made)).digest == made.digest


@pytest.mark.parametrize(
    ("written", "column", "found", "advice"),
    [
        ("Internet", 9, 'found "Internet"', "internet"),
        ("all", 9, 'found "all"', "write any"),
        ("off", 9, 'found "off"', "write none"),
        ("[none]", 10, '"none" in a list', "egress: none"),
        ("10.0.0.1/8", 9, "10.0.0.1/8", "10.0.0.0/8"),
        ("10.0.0", 9, "10.0.0", "an IPv4 address"),
        ('"10.0.0.1:0"', 9, 'the port "0"', "from 1 to 65535"),
        ('"10.0.0.1:443/24"', 9, 'the port "443/24"', "10.0.0.0/8:443"),
        ("10.0.0.1/sctp", 9, "10.0.0.1/sctp", "IPv4 address"),
        ("git.example.org/sctp", 9, "git.example.org/sctp", "tcp, udp or icmp"),
        ("2001:db8::1", 9, "2001:db8::1", "[2001:db8::1]"),
        ('"[2001:db8::]/32"', 9, "[2001:db8::]/32", "inside the brackets"),
        ('"git.*.org"', 9, "git.*.org", "*.example.org is"),
        ('"*"', 9, 'found "*"', "*.example.org is"),
        ("bücher.example", 9, "bücher.example", "xn--"),
        ("-x.example.org", 9, "-x.example.org", "DNS name"),
        ("10.0.0.1:443/icmp", 9, "a port of icmp", "tcp | udp"),
        ("127.0.0.1:5432", 9, "the container itself", "another address"),
        ('"[::1]"', 9, "the container itself", "another address"),
        ("localhost:80", 9, "the container itself", "DNS name"),
        ('"[::ffff:10.0.0.1]"', 9, "another form", "the IPv4 address"),
        ("{ports: 443}", 9, "to missing", "a map"),
        ("{to: internet}", 9, '"internet" in a map', "alone"),
        ("{to: 10.0.0.0/8, ports: []}", 33, "an empty list", "leave it out"),
        ("[10.0.0.1, 10.0.0.1]", 20, "listed twice", "one of them"),
    ],
)
def test_other_destinations_are_errors_with_their_place(
    written: str, column: int, found: str, advice: str
) -> None:
    (problem,) = problems(f"egress: {written}\n")
    assert (problem.line, problem.column) == (1, column)
    assert found in problem.message
    assert advice in f"{problem.allowed} {problem.hint}"


def test_what_is_published_and_reported_is_told_too() -> None:
    made = policy(PRIVATE + 'ports: ["9000-9001:80-81", "[::1]:5353:53/udp"]\negress_log: refused\n')
    assert private.configuration(made).decode().splitlines()[1:] == [
        "egress internet",
        "publish tcp 127.0.0.1 9000 80",
        "publish tcp 127.0.0.1 9001 81",
        "publish udp ::1 5353 53",
        "report yes",
    ]


@pytest.mark.parametrize("mode", ["none", "host"])
@pytest.mark.parametrize("line", ["egress: none", 'ports: ["8080:80"]', "egress_log: refused"])
def test_keys_that_need_a_private_network_say_so(mode: str, line: str) -> None:
    made = policy(f"network_mode: {mode}\n{line}\n")
    with pytest.raises(Refusal) as refused:
        rules.require(made)
    key = line.partition(":")[0]
    assert f"/1.yaml:2: {key} is about a private network, and network_mode is {mode}" in str(refused.value)
    assert f"network_mode: private beside {key}, or {key}: !reset null" in str(refused.value)
    rules.require(policy(f"network_mode: {mode}\n{line}\n", f"{key}: !reset null\n"))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("9000-9010", "9005:80", True),
        ("9000-9010", "9011:80", False),
        ("8080:80", "0.0.0.0:8080:81", True),
        ("8080:80", "[::]:8080:81", False),
        ("8080:80", "8080:80/udp", False),
        ("192.0.2.1:8080:80", "8080:80", False),
    ],
)
def test_a_port_of_the_host_is_published_once(one: str, other: str, *, meet: bool) -> None:
    made = policy(PRIVATE, f'ports: ["{one}"]', f'ports: ["{other}"]')
    assert ["the same port of the host" in rule.message for rule in rules.broken(made)] == [True] * meet


def test_lists_grow_and_words_replace() -> None:
    assert [str(one) for one in policy("egress: [10.0.0.1]", "egress: [10.0.0.2]").egress] == [
        "10.0.0.1/32",
        "10.0.0.2/32",
    ]
    assert policy("egress: [10.0.0.1]", "egress: none").egress == "none"
    assert [str(one) for one in policy("egress: none", "egress: [10.0.0.2]").egress] == ["10.0.0.2/32"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("egress: any", "egress"),
        ("egress: [169.254.0.0/16]", "egress.169.254.0.0/16"),
        ('ports: ["0.0.0.0:8080:80"]', "ports.0.0.0.0:8080/tcp"),
    ],
)
def test_what_is_weak_is_warned_of(text: str, key: str) -> None:
    assert [found for found, *_ in networks.of_policy(policy(PRIVATE + text))] == [key]
    assert not [*networks.of_policy(policy(PRIVATE))]


def test_the_resolver_inside_is_the_forwarders_and_keeps_what_names_mean() -> None:
    host = (
        b"nameserver 192.0.2.1\n# nameserver 192.0.2.2\nsearch example.org sub.example.org\n"
        b"options ndots:2 edns0\nsortlist 192.0.2.0\nsearch \xff\n"
    )
    seen = private.Observed(host, has_ipv6=True)
    assert seen.resolv_conf == (
        b"nameserver 10.0.2.3\nsearch example.org sub.example.org\noptions ndots:2 edns0\n"
    )
    assert seen.has_resolver
    assert not private.Observed(b"", has_ipv6=True).has_resolver


def test_a_plan_makes_the_interface_and_keeps_nothing_of_it() -> None:
    made = planning.plan(policy(PRIVATE))
    kinds = [type(one) for one in made.container.init]
    order = [steps.MakeTap, steps.SetUpTap, steps.AllowPing, steps.HandOverTap, steps.AwaitForwarder]
    assert [kind for kind in kinds if kind in order] == order
    plain = planning.plan(policy(""))
    assert [one.step for one in plain.operations() if one.step == "network"] == []
    assert plain.container.network is None


def test_ping_is_for_every_group_of_a_range() -> None:
    """The kernel compares the host's numbers behind those that are written."""

    class Who:
        gid = 1000
        gid_map: tuple[tuple[int, int, int], ...] = ()

    single: Any = Who()
    assert private.groups(single) == (1000, 1000)
    low: Any = Who()
    low.gid_map = ((0, 100_000, 1000), (1000, 1000, 1), (1001, 101_001, 64_535))
    assert private.groups(low) == (1000, 65_535)
    high: Any = Who()
    high.gid_map = ((0, 100_000, 1000), (1000, 900_000, 1), (1001, 101_001, 64_535))
    assert private.groups(high) == (0, 1000)


ports = st.integers(1, 65_000)
addresses = st.ip_addresses().filter(lambda one: not (one.is_multicast or one.is_loopback)).map(str)
published = st.builds(
    lambda address, first, target, count, protocol: {
        "target": f"{target}-{target + count}",
        "published": f"{first}-{first + count}",
        "host_ip": address,
        "protocol": protocol,
    },
    addresses,
    ports,
    ports,
    st.integers(0, 255),
    st.sampled_from(["tcp", "udp"]),
)
names = st.lists(st.text("abcxyz019", min_size=1, max_size=8), min_size=1, max_size=3).map(
    lambda labels: ".".join(["a" + label for label in labels])
)
destinations = st.fixed_dictionaries(
    {"to": addresses.filter(lambda one: "::ffff:" not in one) | names},
    optional={
        "ports": st.lists(ports, min_size=1, max_size=3, unique=True),
        "protocol": st.sampled_from(["tcp", "udp"]),
    },
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(published, max_size=3, unique_by=str),
    st.sampled_from(["internet", "any", "none"]) | st.lists(destinations, max_size=3, unique_by=str),
)
def test_show_writes_a_network_that_means_the_same(listed: Any, egress: Any) -> None:
    text = dump({"network_mode": "private", "ports": listed, "egress": egress})
    if problems(text):
        assert all("listed twice" in problem.message for problem in problems(text))
        return
    jsonschema.Draft7Validator(json_schema.schema(POLICY)).validate(yaml.safe_load(text))
    made = policy(text)
    again = policy(shown(made))
    assert dict(again.values) == dict(made.values)
    jsonschema.Draft7Validator(json_schema.schema(POLICY)).validate(
        yaml.load(shown(made).replace("!override ", ""), Loader=yaml.SafeLoader)
    )


def test_more_destinations_than_the_forwarder_takes_are_an_error() -> None:
    """Each is a line for the forwarder, which has room for 4096."""
    networks_of_one = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(4096)]
    assert not [*rules.broken(policy(f"{PRIVATE}egress: [internet, {', '.join(networks_of_one)}]\n"))]
    of_two = ", ".join(f"{{to: {one}, ports: [80, 443]}}" for one in networks_of_one[:2049])
    (broken,) = rules.broken(policy(f"{PRIVATE}egress: [{of_two}]\n"))
    assert broken.key == "egress"
    assert "4098 destinations" in broken.message
    assert broken.allowed.startswith("at most 4096")


@pytest.mark.parametrize(("key", "nothing"), rules_of_private.NEEDS_PRIVATE.items())
def test_what_needs_a_private_network_asks_for_nothing_by_default(key: str, nothing: object) -> None:
    """Its default is declared, too, and a login without such a network asks for each by itself."""
    assert POLICY.defaults()[key] == nothing
    something = {"egress": "none", "egress_log": "refused", "ports": '["8080:80"]'}[key]
    (broken,) = rules.broken(policy(f"{key}: {something}\n"))
    assert broken.key == key

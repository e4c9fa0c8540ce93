"""``networks`` with an address that another host has: nobody gets it, and a line says who has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from support.host import run
from support.lan import Lan, ip, lan
from support.login import inside
from support.networks import CONTROL
from support.users import User

from ssh2container.admin.networks import conflicts
from ssh2container.plan.pools import POOLS

OTHERS = 77


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan(6) as made:
        made.outside(*f"ip address add {made.address(OTHERS)}/24 dev eth0".split()).ok()
        made.outside(*f"ip address add {made.address6(OTHERS)}/64 dev eth0 nodad".split()).ok()
        yield made


def mac_of(net: Lan) -> str:
    return str(json.loads(net.outside("ip", "-json", "link", "show", "eth0").ok().text)[0]["address"])


@pytest.mark.parametrize(("key", "prefix"), [("ipv4_address", 24), ("ipv6_address", 64)])
def test_an_address_that_another_host_has(
    net: Lan, enabled: Callable[..., User], key: str, prefix: int
) -> None:
    address = net.address(OTHERS) if key == "ipv4_address" else net.address6(OTHERS)
    with pytest.raises(AssertionError) as refused:
        enabled(f"{{{net.bridge}: {{{key}: '{address}/{prefix}'}}}}")
    why = f"cannot give a session {address} on {net.bridge}: another host there has it: {mac_of(net)}"
    assert why in str(refused.value)


def test_one_that_comes_later_is_a_problem_for_the_doctor(net: Lan, enabled: Callable[..., User]) -> None:
    """Sessions that have the address go on: who of the two is right is for people to say."""
    address = net.address(OTHERS + 1)
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {address}/24}}}}")
    assert found_by_the_doctor(user) == []
    net.outside("ip", "address", "add", f"{address}/24", "dev", "eth0").ok()
    try:
        (found,) = found_by_the_doctor(user)
        assert f"{address} on {net.bridge}: another host there has it: {mac_of(net)}" in found
        # What is prepared stays; once it has to be made anew, it is not.
        run([CONTROL, "compile", "--only-limits"]).ok()
        assert inside(user, "echo in").ok().text == "in\n"
        run(["umount", f"{POOLS}/{user.uid}/0/net"]).ok()
        assert "another host there has it" in run([CONTROL, "compile", "--only-limits"]).errors
        refused = inside(user, "echo in")
        assert (refused.status, refused.out) == (126, b"")
        assert "none is prepared" in refused.errors
    finally:
        net.outside("ip", "address", "delete", f"{address}/24", "dev", "eth0").ok()
    run([CONTROL, "compile", "--only-limits"]).ok()
    assert inside(user, "echo in").ok().text == "in\n"


def found_by_the_doctor(user: User) -> list[str]:
    report = json.loads(run([CONTROL, "doctor", "--json", user.name]).text)
    return [
        one["text"]
        for one in report["findings"]
        if one["check"] == "networks.conflict" and one["subject"] == user.name
    ]


def test_who_answers(net: Lan) -> None:
    """All that are asked for at once; whoever is asked knows nothing of it afterwards."""
    asked = [net.address(OTHERS), net.address6(OTHERS), net.address(OTHERS + 2), net.address6(OTHERS + 2)]
    assert set(conflicts.holders(net.bridge, asked)) == {(one, mac_of(net)) for one in asked[:2]}
    assert "0.0.0.0" not in net.outside("ip", "neighbour").ok().text
    assert list(conflicts.holders("nosuch0", asked)) == []
    ip(f"link set {net.bridge} down")
    try:
        assert list(conflicts.holders(net.bridge, asked)) == []
    finally:
        ip(f"link set {net.bridge} up")

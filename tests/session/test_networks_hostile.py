"""What somebody in a session on a bridge could do to the others there, without any right over the network."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from support.host import run
from support.lan import Lan, lan
from support.login import python_inside
from support.users import User

from ssh2container.plan.pools import POOLS


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan() as made:
        yield made


CLIENT = """
import socket
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.bind(("", 68))
print("ready", flush=True)
while True:
    print(made.recvfrom(2048)[0].decode(), flush=True)
"""
SEND = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("", {port}))  # low ports are everybody's here
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for to in {places}:
        try:
            s.sendto(b"{text}", (to, 135 - {port}))
            print("sent")
        except PermissionError:
            print("refused")
"""


def test_nobody_inside_is_the_networks_dhcp_server(net: Lan, enabled: Callable[..., User]) -> None:
    """A lease from a session would lead the network's other machines by way of it, or to its name server."""
    own = net.address(21)
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {own}/24, gateway: {net.router}}}}}", "user: root\n")
    with subprocess.Popen(
        ["nsenter", "-t", str(net.pid), "-n", "python3", "-IBc", CLIENT], stdout=subprocess.PIPE, text=True
    ) as client:
        try:
            assert client.stdout
            assert client.stdout.readline() == "ready\n"
            # The last is the session's own address, where a client of root's renews a lease.
            places = ("255.255.255.255", net.address(255), net.router, own)
            first, second = (SEND.format(port=67, places=places, text=text) for text in ("first", "second"))
            assert python_inside(user, first).ok().text.split() == ["refused"] * len(places)
            run([*in_namespace(user), "nft", "flush", "ruleset"]).ok()
            assert python_inside(user, second).ok().text.split() == ["sent"] * len(places)
            assert client.stdout.readline() == "second\n"
        finally:
            client.kill()


def test_nobody_inside_asks_for_leases(net: Lan, enabled: Callable[..., User]) -> None:
    """Of all addresses, or gives back what others have; root's client may, in the same namespace."""
    settings = f"{{ipv4_address: {net.address(22)}/24, gateway: {net.router}}}"
    user = enabled(f"{{{net.bridge}: {settings}}}", "user: root\n")
    places = ("255.255.255.255", net.router)
    ask = SEND.format(port=68, places=places, text="?")
    assert python_inside(user, ask).ok().text.split() == ["refused"] * 2
    assert run([*in_namespace(user), "python3", "-IBc", ask]).ok().text.split() == ["sent"] * 2


def in_namespace(user: User) -> list[str]:
    """What goes in front of a command of root's in the user's first namespace."""
    return ["nsenter", f"--net={POOLS}/{user.uid}/0/net"]


HOLD = "import os, sys; os.open(sys.argv[1], os.O_RDONLY)"


def test_nobody_else_holds_a_network(net: Lan, enabled: Callable[..., User], other_user: User) -> None:
    """Whoever has it open keeps it, with the address that is another's by then, when root has removed it."""
    user = enabled(f"{{{net.bridge}: {{ipv4_address: {net.address(23)}/24}}}}")
    hold = ["python3", "-IBc", HOLD, f"{POOLS}/{user.uid}/0/net"]
    run(hold, user=user.uid, group=user.gid, extra_groups=[]).ok()
    refused = run(hold, user=other_user.uid, group=other_user.gid, extra_groups=[])
    assert "PermissionError" in refused.errors

"""``ssh2containerctl network``: a bridge with address translation, made, kept and undone."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.host import run
from support.lan import BEYOND, BEYOND6, PORT, Lan, lan
from support.login import inside, live, python_inside
from support.networks import ASK, CONTROL
from support.users import User

SYS = Path("/proc/sys/net")
RULES = "table ip firewall { chain forward { type filter hook forward priority 0; policy drop; }; }"


@pytest.fixture
def uplink() -> Iterator[Lan]:
    """This machine's way to what is beyond: on a bridge of its own, so that it may have an address there."""
    with lan(3) as made:
        for command in (
            f"address add {made.address(2)}/24 dev {made.bridge}",
            f"address add {made.address6(2)}/64 dev {made.bridge} nodad",
            f"route add {BEYOND} via {made.router}",
            f"route add {BEYOND6} via {made.router6}",
        ):
            run(["ip", *command.split()]).ok()
        yield made


@pytest.fixture
def name() -> Iterator[str]:
    made = "nt" + secrets.token_hex(4)
    yield made
    run([CONTROL, "network", "remove", "--force", made])


def state() -> tuple[object, ...]:
    """All that making a network may change: settings, interfaces, tables."""
    settings = {
        str(path): path.read_text()
        for path in (
            SYS / "ipv4/ip_forward",
            *SYS.glob("ipv4/conf/*/forwarding"),
            *SYS.glob("ipv4/conf/*/accept_redirects"),
            *SYS.glob("ipv6/conf/*/forwarding"),
            *SYS.glob("ipv6/conf/*/accept_ra"),
        )
    }
    devices = [one["ifname"] for one in json.loads(run(["ip", "-json", "link"]).ok().text)]
    return settings, devices, run(["nft", "list", "ruleset"]).ok().text


def test_a_bridge_with_a_way_out_that_is_undone_exactly(
    uplink: Lan, name: str, enabled: Callable[..., User]
) -> None:
    before = state()
    run([CONTROL, "network", "create", name]).ok()
    made = json.loads(run([CONTROL, "network", "show", "--json", name]).ok().text)["network"]
    assert made["state"] == "there"
    assert made["from"] == "network create"
    user = enabled(f"[{name}]")
    program = f"""{ASK}
def refused(host):
    try:
        ask(host, wait=1)
    except OSError:
        return True
print(ask('{BEYOND}'), ask('{BEYOND6}'), refused('{uplink.address(2)}'), refused('169.254.169.254'))
"""
    # Its own services are closed to sessions, whichever address of the host is asked.
    with_service = f"""
import socket
server = socket.create_server(("", {PORT}), backlog=5)
print("ready", flush=True)
input()
"""
    import subprocess

    service = subprocess.Popen(
        ["python3", "-c", with_service], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert service.stdout
        assert service.stdout.readline() == "ready\n"
        seen = python_inside(user, program).ok().text.split()
    finally:
        service.communicate("\n")
    assert seen == [uplink.address(2), uplink.address6(2), "True", "True"]
    refused = run([CONTROL, "network", "remove", name])
    assert refused.status == 126
    assert user.name in refused.errors
    run([CONTROL, "disable", user.name]).ok()
    run([CONTROL, "network", "remove", name]).ok()
    assert state() == before


def test_it_comes_back_at_boot_and_a_second_time_changes_nothing(name: str) -> None:
    before = state()
    run([CONTROL, "network", "create", "--internal", name, "--subnet", "10.76.0.0/24"]).ok()
    whole = state()
    # What a boot leaves: nothing.
    run(["ip", "link", "delete", name]).ok()
    run(["nft", "delete", "table", "inet", f"ssh2container-{name}"]).ok()
    run([CONTROL, "enable", "--runtime"]).ok()
    assert state()[2] == whole[2]
    assert name in run(["ip", "-br", "address"]).ok().text
    assert "the network" not in run([CONTROL, "enable", "--runtime"]).ok().text
    run([CONTROL, "network", "remove", name]).ok()
    assert state() == before


def test_what_is_somebody_elses_is_left_alone_and_named(uplink: Lan, name: str) -> None:
    taken = run([CONTROL, "network", "create", uplink.bridge])
    assert taken.status == 126
    assert "has an interface of that name" in taken.errors
    overlapping = run([CONTROL, "network", "create", name, "--subnet", uplink.address(0) + "/25"])
    assert overlapping.status == 126
    assert "overlaps" in overlapping.errors
    run(["nft", "-f", "-"], stdin=RULES.encode()).ok()
    try:
        done = run([CONTROL, "network", "create", name]).ok()
        assert "the nftables chain ip firewall forward drops" in done.errors
        run([CONTROL, "network", "remove", name]).ok()
        assert "chain forward" in run(["nft", "list", "table", "ip", "firewall"]).ok().text
    finally:
        run(["nft", "delete", "table", "ip", "firewall"]).ok()
    unknown = run([CONTROL, "network", "remove", "none-such"])
    assert unknown.status == 126


def test_the_ancestors_own_example(uplink: Lan, enabled: Callable[..., User]) -> None:
    """Its bridge, its addresses and its masquerading, by hand; then all of its options in one policy."""
    before = state()
    commands = (
        "ip link add name mybr0 type bridge",
        "ip addr add 172.34.44.1/24 dev mybr0",
        "ip link set mybr0 up",
        "sysctl -qw net/ipv4/ip_forward=1",
        "nft add table ip mynat",
        "nft add chain ip mynat out { type nat hook postrouting priority 100; }",
        "nft add rule ip mynat out ip saddr 172.34.44.0/24 oifname != mybr0 masquerade",
    )
    try:
        for command in commands:
            run(command.split()).ok()
        user = enabled("{mybr0: {ipv4_address: 172.34.44.2/24, gateway: 172.34.44.1}}")
        done = python_inside(user, f"{ASK}\nprint(ask('{BEYOND}'))").ok()
        assert done.text.strip() == uplink.address(2)
        assert "172.34.44.2/24" in inside(user, "ip -o address show dev eth0").ok().text
        run([CONTROL, "disable", user.name]).ok()
    finally:
        run(["nft", "delete", "table", "ip", "mynat"])
        run(["ip", "link", "delete", "mybr0"])
        (SYS / "ipv4/ip_forward").write_text(next(iter(before[0].values())))  # type: ignore[attr-defined]
    assert state() == before


def test_the_doctor_says_what_is_missing(name: str, enabled: Callable[..., User]) -> None:
    def found(*users: str) -> dict[str, tuple[str, str]]:
        done = run([CONTROL, "doctor", "--json", *users])
        findings = json.loads(done.text)["findings"]
        return {
            one["check"]: (one["level"], one["text"])
            for one in findings
            if one["check"].startswith("networks")
        }

    run([CONTROL, "network", "create", "--ipv4-only", name]).ok()
    user = enabled(f"[{name}]", "network_pool: 1\n")
    assert found(user.name)["networks.prepared"][0] == "ok"
    assert found()["networks.made"][0] == "ok"
    with live(user) as session:
        assert session.ask("echo in") == "in\n"
        assert found(user.name)["networks.used"][0] == "warning"
    run(["nft", "delete", "table", "inet", f"ssh2container-{name}"]).ok()
    level, text = found()["networks.made"]
    assert level == "problem"
    assert f"inet ssh2container-{name} is not there" in text
    run(["ip", "link", "delete", name]).ok()
    level, text = found(user.name)["networks.prepared"]
    assert level == "problem"
    assert name in text or "not those of the policy" in text

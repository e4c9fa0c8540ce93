"""Bridges of ours: with addresses, and a way out by address translation, for hosts that have none.

All of it can be undone exactly: a bridge, one nftables table for each, and settings of forwarding, of which
the former values are kept. Nothing of anybody else's tables is touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from ssh2container.admin import atomic
from ssh2container.admin.durable import listed, read_json
from ssh2container.admin.networks import forwarding, tools
from ssh2container.errors import Refusal, SessionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ssh2container.admin.networks.definitions import IpNetwork

RECORDS = "/var/lib/ssh2container/bridges"
"""A file for each bridge of ours, and one for the settings that they have changed."""
_FIRST_OF_TEN, _LAST_OF_TEN = 77, 254
_PRIVATE = "10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16"
_PRIVATE6 = "fc00::/7"


class Bridge(NamedTuple):
    """One of ours.

    subnets: the first address of each is the bridge's. isolated: sessions do not reach each other. internal:
    it has no way out. internet_only: private ranges are out of reach. host_services: the host's are in reach.
    """

    name: str
    subnets: tuple[str, ...]
    isolated: bool = True
    internal: bool = False
    internet_only: bool = False
    host_services: bool = False

    def networks(self) -> list[IpNetwork]:
        """Return the subnets."""
        return [ipaddress.ip_network(subnet) for subnet in self.subnets]

    def addresses(self) -> list[str]:
        """Return the bridge's own addresses with their prefixes."""
        return [f"{network.network_address + 1}/{network.prefixlen}" for network in self.networks()]

    @property
    def table(self) -> str:
        """The name of its table."""
        return f"ssh2container-{self.name}"


def ours() -> dict[str, Bridge]:
    """Return those that were made and not removed, by name."""
    found = {}
    for file in listed(RECORDS):
        if file.endswith(".json"):
            with contextlib.suppress(OSError, ValueError, TypeError):
                fields = read_json(f"{RECORDS}/{file}")
                found[file.removesuffix(".json")] = Bridge(**{**fields, "subnets": tuple(fields["subnets"])})
    return found


def make(bridge: Bridge) -> None:
    """Make a new one, now and for every boot to come. Raises SessionError; then nothing is left of it."""
    if bridge.name in ours() or bridge.name in tools.devices():
        raise Refusal(
            f"cannot make the network {bridge.name}",
            "the host has an interface of that name",
            "choose another name; a bridge that is there already needs none: policies name it as it is",
            "networks",
        )
    _require_apart(bridge)
    os.makedirs(RECORDS, 0o755, exist_ok=True)
    atomic.write(f"{RECORDS}/{bridge.name}.json", json.dumps(bridge._asdict(), indent=1) + "\n")
    try:
        bring_up(bridge)
    except BaseException:
        take_down(bridge)
        raise


def bring_up(bridge: Bridge) -> bool:
    """Make what is missing of one; tell whether anything was. Raises SessionError."""
    if not missing(bridge):
        return False
    name = bridge.name
    if name not in tools.devices():
        tools.ip([f"link add {name} type bridge"])
    there = tools.addresses(name)
    tools.ip(
        [f"address add {one} dev {name}{' nodad' * (':' in one)}" for one in bridge.addresses()
         if one.partition("/")[0] not in there]
        + [f"link set {name} up"]
    )  # fmt: skip
    if not bridge.internal:
        forwarding.begin({network.version for network in bridge.networks()})
    tools.nft(rules(bridge))
    return True


def missing(bridge: Bridge) -> list[str]:
    """Return in words what of one is not there. Raises SessionError."""
    device = tools.devices().get(bridge.name)
    if device is None:
        return [f"the bridge {bridge.name} is not there"]
    own = {address.partition("/")[0] for address in bridge.addresses()}
    found = [] if device.is_up else [f"{bridge.name} is down"]
    found += [f"it has no address {address}" for address in sorted(own - tools.addresses(bridge.name))]
    found += [] if bridge.table in tables() else [f"the nftables table inet {bridge.table} is not there"]
    return found + [
        f"{name.replace('/', '.')} is off" for name in _needed(bridge) if forwarding.read(name) != "1"
    ]


def _needed(bridge: Bridge) -> list[str]:
    if bridge.internal:
        return []
    return [forwarding.FORWARD[network.version] for network in bridge.networks()]


def take_down(bridge: Bridge) -> None:
    """Undo all of :func:`make`; what forwarding was before the first of ours comes back with the last."""
    with contextlib.suppress(SessionError):
        if bridge.table in tables():
            tools.nft(f"delete table inet {bridge.table}\n")
    with contextlib.suppress(SessionError):
        if bridge.name in tools.devices():
            tools.ip([f"link delete {bridge.name}"])
    with contextlib.suppress(OSError):
        os.unlink(f"{RECORDS}/{bridge.name}.json")
    left = {name for other in ours().values() for name in _needed(other)}
    forwarding.end(left)
    with contextlib.suppress(OSError):
        os.rmdir(RECORDS)


def tables() -> set[str]:
    """Return the names of the nftables tables of the family inet. Raises SessionError."""
    found = json.loads(tools.run([tools.need("nft"), "-j", "list", "tables"]) or '{"nftables": []}')
    tables_ = (one["table"] for one in found["nftables"] if "table" in one)
    return {str(table["name"]) for table in tables_ if table["family"] == "inet"}


def dropping() -> list[str]:
    """Return other tables' chains that drop what is forwarded unless a rule of theirs accepts it."""
    found = json.loads(tools.run([tools.need("nft"), "-j", "list", "chains"]) or '{"nftables": []}')
    chains = (one["chain"] for one in found["nftables"] if "chain" in one)
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward" and chain.get("policy") == "drop"
    ]


def rules(bridge: Bridge) -> str:
    """Return the table of one bridge, in place of any former one. Numbers: /etc/protocols may be missing."""
    name, table = f'"{bridge.name}"', f"inet {bridge.table}"
    forward = [
        f"iifname {name} oifname {name} {'drop' if bridge.isolated else 'accept'}",
        # Where clouds hand out the host's credentials.
        f"iifname {name} ip daddr 169.254.0.0/16 drop",
        f"iifname {name} ip6 daddr fe80::/10 drop",
    ]
    if bridge.internet_only:
        forward += [
            f"iifname {name} ip daddr {{ {_PRIVATE} }} drop",
            f"iifname {name} ip6 daddr {_PRIVATE6} drop",
        ]
    if bridge.internal:
        forward += [f"iifname {name} drop", f"oifname {name} drop"]
    else:
        forward += [
            f"iifname {name} accept",
            f"oifname {name} ct state established,related accept",
            f"oifname {name} drop",
        ]
    enter = [] if bridge.host_services else [
        f"iifname {name} ct state established,related accept",
        f"iifname {name} meta l4proto {{ 1, 58 }} accept",
        f"iifname {name} drop",
    ]  # fmt: skip
    leave = [] if bridge.internal else [
        f"{'ip' if network.version == 4 else 'ip6'} saddr {network} oifname != {name} masquerade"  # noqa: PLR2004
        for network in bridge.networks()
    ]  # fmt: skip
    chains = (
        ("forward", "filter hook forward priority 0", forward),
        ("input", "filter hook input priority 0", enter),
        ("postrouting", "nat hook postrouting priority 100", leave),
    )
    body = "".join(
        f"  chain {chain} {{\n    type {kind}; policy accept;\n"
        + "".join(f"    {line}\n" for line in lines)
        + "  }\n"
        for chain, kind, lines in chains
        if lines
    )
    return f"table {table}\ndelete table {table}\ntable {table} {{\n{body}}}\n"


def choose_subnets(name: str, versions: Iterable[int] = (4, 6)) -> Iterator[str]:
    """Yield ranges that this host uses nowhere. Raises SessionError where there is none."""
    used = _used()
    digest = hashlib.blake2b(f"{tools.machine()} {name}".encode()).digest()
    for version in versions:
        if version == 6:  # noqa: PLR2004
            # RFC 4193: 40 bits at random.
            yield str(ipaddress.ip_network((b"\xfd" + digest[:5] + bytes(10), 64)))
            continue
        ways = _LAST_OF_TEN - _FIRST_OF_TEN + 1
        for step in range(ways):
            number = _FIRST_OF_TEN + (digest[0] + step) % ways
            candidate = ipaddress.ip_network(f"10.{number}.0.0/24")
            if not any(candidate.overlaps(other) for other in used if other.version == version):
                yield str(candidate)
                break
        else:
            raise SessionError("cannot choose a range", "all that we know are in use", "name one: --subnet")


def _require_apart(bridge: Bridge) -> None:
    for network in bridge.networks():
        for other in _used():
            if network.version == other.version and network.overlaps(other):
                raise Refusal(
                    f"cannot make the network {bridge.name}",
                    f"{network} overlaps {other}, to which this host has a route",
                    "name another: --subnet",
                    "networks",
                )


def _used() -> list[IpNetwork]:
    """Return what this host has routes to, but the default ones."""
    found = []
    for version in ("-4", "-6"):
        for route in tools.query(version, "route"):
            with contextlib.suppress(ValueError, KeyError):
                found.append(ipaddress.ip_network(route["dst"]))
    return [network for network in found if not network.is_link_local]

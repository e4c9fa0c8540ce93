"""What the networks are that policies name: those of config.yaml, ours, or a bridge by its name."""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING, NamedTuple

from ssh2container.admin.networks import bridges, tools
from ssh2container.admin.policy.compile import compiler
from ssh2container.admin.policy.types.site_networks import Definitions
from ssh2container.errors import SessionError
from ssh2container.policy import store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from ssh2container.admin.networks.bridges import Bridge
    from ssh2container.admin.networks.tools import Device

    IpNetwork = IPv4Network | IPv6Network
    IpAddress = IPv4Address | IPv6Address


_PAUSE_S = 0.2


class Subnet(NamedTuple):
    """Addresses of a network. ip_range: the part of it that sessions get theirs from."""

    network: IpNetwork
    gateway: IpAddress | None
    ip_range: IpNetwork


class Definition(NamedTuple):
    """A network of the host.

    driver: "bridge", "macvlan" or "interface". parent: the bridge, or the interface. mode: macvlan's.
    isolated: sessions do not reach each other over the bridge. dhcp: addresses come from a DHCP server.
    internal: no default route. dns: name servers; none are the host's.
    """

    name: str
    driver: str = "bridge"
    parent: str = ""
    mode: str | None = None
    mtu: int | None = None
    isolated: bool = False
    dhcp: bool = False
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False
    dns: tuple[str, ...] = ()

    def words(self) -> str:
        """Say what it is."""
        return {
            "bridge": f"the bridge {self.parent}",
            "macvlan": f"macvlan on {self.parent}",
            "interface": f"the interface {self.parent}",
        }[self.driver]


def of_site() -> dict[str, Definition]:
    """Return the networks of config.yaml. Raises SessionError where that is not valid."""
    values = compiler.part("config", store.STANDARD).layers[0][2]
    return {name: read(name, value) for name, value in values["networks"].items()}


def read(name: str, value: tuple[object, ...]) -> Definition:
    """Return what ``value``, as the policy language keeps it, defines."""
    flat = dict(zip(Definitions.fields_in_order, value, strict=True))
    subnets = []
    for subnet, gateway, ip_range in flat["config"]:  # type: ignore[attr-defined]
        whole = ipaddress.ip_network(subnet)
        via = None if gateway is None else ipaddress.ip_address(gateway)
        subnets.append(Subnet(whole, via, whole if ip_range is None else ipaddress.ip_network(ip_range)))
    return Definition(
        name,
        str(flat["driver"]),
        str(flat["parent"]),
        flat["mode"],  # type: ignore[arg-type]
        flat["mtu"],  # type: ignore[arg-type]
        bool(flat["isolated"]),
        flat["ipam_driver"] == "dhcp",
        tuple(subnets),
        bool(flat["internal"]),
        flat["dns"],  # type: ignore[arg-type]
    )


def of_bridge(bridge: Bridge) -> Definition:
    """Return what one of our bridges is to policies."""
    subnets = tuple(
        Subnet(network, None if bridge.internal else network.network_address + 1, network)
        for network in bridge.networks()
    )
    return Definition(
        bridge.name, parent=bridge.name, isolated=bridge.isolated, subnets=subnets, internal=bridge.internal
    )


def known() -> dict[str, Definition]:
    """Return every network that a policy can name on this host. Raises SessionError."""
    return {
        **{name: Definition(name, parent=name) for name in host_bridges()},
        **{name: of_bridge(bridge) for name, bridge in bridges.ours().items()},
        **of_site(),
    }


def written(definition: Definition) -> str:
    """Return how config.yaml says it."""
    value = (
        definition.driver,
        definition.parent,
        definition.mode,
        definition.mtu,
        definition.isolated,
        "dhcp" if definition.dhcp else "default",
        tuple(
            (str(one.network), None if one.gateway is None else str(one.gateway), _part(one))
            for one in definition.subnets
        ),
        definition.internal,
        definition.dns,
    )
    return Definitions().write_entry(definition.name, value)


def _part(subnet: Subnet) -> str | None:
    return None if subnet.ip_range == subnet.network else str(subnet.ip_range)


def find(name: str, site: dict[str, Definition]) -> Definition:
    """Return what the network ``name`` of a policy is. Raises SessionError where it is nothing."""
    if name in site:
        return site[name]
    made = bridges.ours().get(name)
    if made is not None:
        return of_bridge(made)
    if is_bridge(name):
        return Definition(name, parent=name)
    there = sorted({*site, *host_bridges()})
    raise SessionError(
        f"there is no network {name}",
        "config.yaml names none, and the host has no bridge of that name",
        (f"there are: {', '.join(there)}" if there else "make one: ssh2containerctl network create " + name),
        "networks",
    )


def require_parent(definition: Definition, there: dict[str, Device]) -> None:
    """Raise SessionError where the interface that ``definition`` stands on is not ``there``, and up."""
    parent = definition.parent
    found = there.get(parent)
    if found is not None and not found.is_up and definition.driver != "interface":
        raise SessionError(
            f"cannot use the network {definition.name}",
            f"{parent} is down",
            f"bring it up (ip link set {parent} up), then: ssh2containerctl compile",
        )
    if definition.driver == "bridge" and (found is None or found.kind != "bridge"):
        what = "is no bridge" if found is not None else "is not there"
        remedy = f"make it (ip link add {parent} type bridge), then: ssh2containerctl compile"
        raise SessionError(f"cannot use the network {definition.name}", f"the bridge {parent} {what}", remedy)
    if found is None:
        raise SessionError(
            f"cannot use the network {definition.name}",
            f"the interface {parent} is not there",
            "name another parent in config.yaml, or bring it back, then: ssh2containerctl compile",
        )


def await_parents(found: Iterable[Definition], seconds: float) -> None:
    """Wait until what all of ``found`` stand on is there, so long at most: at boot others make it."""
    wanted, end = list(found), time.monotonic() + seconds
    while wanted and time.monotonic() < end:
        there = tools.devices()
        if all(_stands(definition, there) for definition in wanted):
            return
        time.sleep(_PAUSE_S)


def _stands(definition: Definition, there: dict[str, Device]) -> bool:
    try:
        require_parent(definition, there)
    except SessionError:
        return False
    return True


def is_bridge(name: str) -> bool:
    """Tell whether the host has a bridge ``name``."""
    return name in host_bridges()


def host_bridges() -> list[str]:
    """Return the host's bridges."""
    return sorted(name for name, one in tools.devices().items() if one.kind == "bridge")

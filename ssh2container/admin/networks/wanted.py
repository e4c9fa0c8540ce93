"""From a policy to the namespaces that its sessions need: interfaces, addresses and routes of each. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
from typing import TYPE_CHECKING, NamedTuple

from ssh2container.admin.policy.networks import no_address
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ssh2container.admin.networks.definitions import Definition, IpNetwork, Subnet
    from ssh2container.policy.networks import Network
    from ssh2container.policy.policy import Policy

UNWRITTEN, MOST = 4, 64
"""How many are prepared where the policy says nothing, and at most."""
_VERSIONS = (4, 6)
_LOOKED_AT = 1 << 20
"""So many addresses of a range are looked at for a free one."""


class Link(NamedTuple):
    """An interface of a session.

    name: inside. addresses: with the prefix of their network. gateways: of default routes. routes: (range,
    address of the router) pairs.
    """

    name: str
    definition: Definition
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]

    def words(self) -> str:
        """Say what it is, on one line."""
        addresses = ", ".join(self.addresses) or (
            "addresses by DHCP" if self.definition.dhcp else "no address"
        )
        parts = [f"{self.name} on {self.definition.words()} with {addresses}"]
        parts += [f"the default route by {gateway}" for gateway in self.gateways]
        parts += [f"{to} by {via}" for to, via in self.routes]
        return ", ".join(parts)


def count(policy: Policy) -> int:
    """Return how many namespaces a user of ``policy`` needs."""
    if policy.values["network_pool"] is not None:
        return int(policy.values["network_pool"])
    if policy.sessions.max is not None and policy.written("sessions.max") is not None:
        return min(policy.sessions.max, MOST)
    return UNWRITTEN


def is_single(policy: Policy, defined: Callable[[str], Definition]) -> bool:
    """Tell whether there can be one alone: an address, or an interface, can be in one place."""
    return any(
        network.ipv4_address
        or network.ipv6_address
        or network.mac_address
        or defined(network.name).driver == "interface"
        for network in policy.networks
    )


def links(
    policy: Policy,
    defined: Callable[[str], Definition],
    taken: dict[str, set[str]],
    seed: str,
    former: dict[str, list[str]],
) -> tuple[Link, ...]:
    """Return the interfaces of one more namespace; what it takes joins ``taken`` (network -> addresses).

    seed: what tells this namespace from all others, for addresses of the link layer. former: the addresses
    that it had, which it keeps if it can.
    Raises SessionError where addresses have run out or are somebody else's.
    """
    found = []
    for index, network in enumerate(policy.networks):
        definition = defined(network.name)
        here = taken.setdefault(network.name, set())
        own = tuple(_addresses(network, definition, here, former.get(network.name, [])))
        here.update(address.partition("/")[0] for address in own)
        found.append(
            Link(
                network.interface_name or f"eth{index}",
                definition,
                network.mac_address or _mac(f"{seed} {network.name}"),
                own,
                (),
                network.routes or (),
            )
        )
    names = [link.name for link in found]
    if len(set(names)) < len(names) or "lo" in names:
        raise SessionError("two networks have one interface_name", ", ".join(names), "name each another")
    return tuple(_with_gateways(found, policy.networks))


def _with_gateways(found: list[Link], networks: tuple[Network, ...]) -> Iterator[Link]:
    """Give the default route of each kind of address to the network with the highest gw_priority."""
    order = sorted(range(len(found)), key=lambda index: -(networks[index].gw_priority or 0))
    chosen: dict[int, list[str]] = {index: [] for index in order}
    for version in _VERSIONS:
        for index in order:
            gateway = _gateway(networks[index], found[index].definition, version)
            own = {ipaddress.ip_interface(address).version for address in found[index].addresses}
            if gateway and version in own:
                chosen[index].append(gateway)
                break
    for index, link in enumerate(found):
        yield link._replace(gateways=tuple(chosen[index]))


def _gateway(network: Network, definition: Definition, version: int) -> str | None:
    written = network.gateway if version == 4 else network.ipv6_gateway  # noqa: PLR2004
    if written or definition.internal:
        return written
    known = (subnet.gateway for subnet in definition.subnets if subnet.network.version == version)
    return next((str(gateway) for gateway in known if gateway is not None), None)


def _addresses(
    network: Network, definition: Definition, taken: Collection[str], former: Collection[str]
) -> Iterator[str]:
    wrong = no_address(network, [subnet.network for subnet in definition.subnets], dhcp=definition.dhcp)
    if wrong is not None:
        raise wrong
    if definition.dhcp:
        return
    for version, address in {4: network.ipv4_address, 6: network.ipv6_address}.items():
        if address is not None:
            yield _complete(address, network.name, definition, taken)
            continue
        for subnet in definition.subnets:
            if subnet.network.version == version:
                yield _next(subnet, network.name, taken, former)
                break


def _complete(address: str, name: str, definition: Definition, taken: Collection[str]) -> str:
    """Return a written address with its prefix."""
    plain, slash, _ = address.partition("/")
    if plain in taken:
        raise SessionError(f"cannot give a session {plain} on {name}", "another user's sessions have it")
    around = (one.network for one in definition.subnets if ipaddress.ip_address(plain) in one.network)
    return address if slash else f"{plain}/{next(around).prefixlen}"


def _next(subnet: Subnet, name: str, taken: Collection[str], former: Collection[str]) -> str:
    """Return the former address, or the first that nobody has."""
    known = [ipaddress.ip_address(address) for address in former]
    for host in itertools.chain((one for one in known if one in subnet.ip_range), _hosts(subnet.ip_range)):
        if str(host) not in taken and host != subnet.gateway and host not in _ends(subnet.network):
            return f"{host}/{subnet.network.prefixlen}"
    raise SessionError(
        f"cannot give sessions an address on {name}",
        f"all of {subnet.ip_range} are taken",
        "a larger ip_range in config.yaml, or a smaller network_pool in policies",
    )


def _hosts(part: IpNetwork) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    address = part.network_address
    for number in range(min(part.num_addresses, _LOOKED_AT)):
        yield address + number


def _ends(network: IpNetwork) -> tuple[object, ...]:
    """Return the addresses that are dealt to nobody: the network's own, a router's by custom, broadcast."""
    if network.num_addresses <= 2:  # noqa: PLR2004
        return ()
    return (network.network_address, network.network_address + 1, network.broadcast_address)


def _mac(seed: str) -> str:
    """Return an address of the link layer that is locally administered (IEEE 802) and stays the same."""
    digest = hashlib.blake2b(seed.encode(), digest_size=5).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest))

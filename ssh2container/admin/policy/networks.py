"""Networks of a policy: what is weaker than it looks, what this host lacks, what config.yaml contradicts."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ssh2container import paths
from ssh2container.admin.policy.types.site_networks import Definitions
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan import private

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from ssh2container.policy.networks import Network
    from ssh2container.policy.policy import Policy, Values

    IpNetwork = IPv4Network | IPv6Network

METADATA = ipaddress.ip_address("169.254.169.254")


def of_policy(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield what is weak in a private network: the key to blame, what was found, a hint."""
    if policy.network_mode != "private":
        return
    egress = policy.egress
    if egress == "any":
        found = (
            "the session reaches the host's own services, private ranges and the metadata address of a cloud"
        )
        yield "egress", found, "egress: internet, or a list: [internet, 10.1.2.3:5432]"
    for key, one in policy.values["egress"].items() if isinstance(egress, tuple) else ():
        if "/" in one[0] and METADATA in ipaddress.ip_network(one[0]):
            found = f"{METADATA}, where clouds hand out the host's credentials, is among {one[0]}"
            yield f"egress.{key}", found, "leave link-local addresses out"
    for port in policy.ports:
        if not ipaddress.ip_address(port.address).is_loopback:
            found = f"{port} can be reached from other hosts"
            yield port.key, found, "127.0.0.1 publishes it for this host alone"


def of_host(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield why no session gets the network of the policy on this host."""
    if policy.network_mode != "private":
        return
    try:
        seen = private.observe(policy)
    except Refusal as error:
        yield "network_mode", f"{error}: logins are refused", ""
        return
    if not seen.has_resolver and policy.egress != "none":
        found = f"there is no name server in {paths.RESOLV_CONF}: for names this host itself is asked"
        yield "network_mode", found, "it is read again whenever it changes"


def against_site(policy: Policy, site: Values) -> Iterator[tuple[str, str, str]]:
    """Yield the networks of config.yaml on which the policy can have no address: key, message, what to write.

    site: the settings of config.yaml.
    """
    for network in policy.networks:
        value = site["networks"].get(network.name)
        if value is not None:
            defined = dict(zip(Definitions.fields_in_order, value, strict=True))
            subnets = [ipaddress.ip_network(subnet) for subnet, _, _ in defined["config"]]
            wrong = no_address(network, subnets, dhcp=defined["ipam_driver"] == "dhcp")
            if wrong is not None:
                yield f"networks.{network.name}", wrong.reason(), wrong.remedy


def no_address(network: Network, subnets: Sequence[IpNetwork], *, dhcp: bool) -> SessionError | None:
    """Return why no session can have an address on ``network``, None where one can.

    subnets: those of the network. dhcp: its addresses are a server's.
    """
    written = [one for one in (network.ipv4_address, network.ipv6_address) if one is not None]
    if dhcp:
        if not written:
            return None
        return SessionError(
            f"cannot give an address on {network.name}", "its addresses come from DHCP", "leave it out"
        )
    for address in written:
        plain, slash, _ = address.partition("/")
        one = ipaddress.ip_address(plain)
        if any(one in subnet for subnet in subnets):
            continue
        others = [str(subnet) for subnet in subnets if subnet.version == one.version]
        if slash and not others:
            continue
        length = f"{plain}/{24 if '.' in plain else 64}"
        return SessionError(
            f"cannot give a session {plain} on {network.name}",
            "no subnet of that network has it" if subnets else "the length of its prefix is not known",
            f"an address of {' or '.join(others)}" if others
            else f"write it with one ({length}), or the subnet into config.yaml",
        )  # fmt: skip
    if written or subnets:
        return None
    return SessionError(
        f"cannot give sessions an address on {network.name}",
        "neither the policy nor config.yaml says one",
        "write ipv4_address into the policy, or ipam with a subnet or with driver: dhcp into config.yaml",
    )

"""What a policy says of a private network: where it leads, what of it the host shows. Pure.

Imported only for a policy with ``network_mode: private``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .policy import Policy, Values

    Range = tuple[int, int]
    """First and last port."""

MOST_PORTS = 256
"""How many a session may publish: each is a socket of its forwarder's."""
MOST_RULES = 4096
"""How many lines ``egress`` may come to in the forwarder: a line for each destination and range of ports."""
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - what is compared, not bound
NEEDS_PRIVATE = {"egress": "internet", "egress_log": "none", "ports": {}}
"""Key that means nothing without a private network -> the value that asks for nothing."""


class Port:
    """Published ports: ``count`` of the host's from ``published`` on lead to those inside from ``target`` on.

    address: of the host, as text. protocol: "tcp" or "udp".
    """

    __slots__ = ("address", "count", "protocol", "published", "target")

    def __init__(self, address: str, published: int, target: int, count: int, protocol: str) -> None:
        self.address = address
        self.published = published
        self.target = target
        self.count = count
        self.protocol = protocol

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        last = f"-{self.published + self.count - 1}" if self.count > 1 else ""
        return f"{address}:{self.published}{last}/{self.protocol}"

    @property
    def key(self) -> str:
        """The item of the policy that it is."""
        return f"ports.{self}"

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield each published port with the one inside."""
        for number in range(self.count):
            yield self.published + number, self.target + number

    def meets(self, other: Port) -> bool:
        """Tell whether both want one port of the host."""
        addresses = {self.address, other.address}
        same_family = (":" in self.address) == (":" in other.address)
        same_address = len(addresses) == 1 or (same_family and not addresses.isdisjoint(_EVERY_ADDRESS))
        latest = max(self.published, other.published)
        first_end = min(self.published + self.count, other.published + other.count)
        return self.protocol == other.protocol and same_address and latest < first_end


class Destination:
    """One entry of ``egress``.

    to: a network in CIDR form, a DNS name, or "internet". ports: none for all of them.
    protocol: "tcp", "udp", "icmp" or "any".
    """

    __slots__ = ("ports", "protocol", "to")

    def __init__(self, to: str, ports: tuple[Range, ...], protocol: str) -> None:
        self.to = to
        self.ports = ports
        self.protocol = protocol

    @property
    def is_name(self) -> bool:
        """Whether it is a name, which is resolved while the session runs."""
        return "/" not in self.to and self.to != "internet"

    def __str__(self) -> str:
        listed = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ports)
        protocol = "" if self.protocol == "any" else f" {self.protocol}"
        return self.to + protocol + (f" port {listed}" if listed else "")


def ports(values: Values) -> tuple[Port, ...]:
    """Return what ``values``, the merged settings of a policy, publish."""
    return tuple(Port(*item) for item in values["ports"].values())


def egress(values: Values) -> str | tuple[Destination, ...]:
    """Return where ``values`` let a private network lead: "internet", "any", "none" or the entries."""
    found = values["egress"]
    if isinstance(found, str):
        return found
    return tuple(Destination(*item) for item in found.values())


def broken(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what was found, what is allowed) of keys that contradict each other or the mode."""
    if policy.network_mode != "private":
        for key, nothing in NEEDS_PRIVATE.items():
            if policy.values[key] != nothing:
                found = f"{key} is about a private network, and network_mode is {policy.network_mode}"
                yield key, found, f"network_mode: private beside {key}, or {key}: !reset null"
        return
    egress = policy.egress
    lines = (
        0 if isinstance(egress, str) else sum(len(one.ports) or 1 for one in egress if one.to != "internet")
    )
    if lines > MOST_RULES:
        found = f"{lines} destinations, each range of ports counted"
        yield (
            "egress",
            found,
            f"at most {MOST_RULES}: networks in place of addresses, all ports in place of some",
        )
    listed = policy.ports
    total = sum(port.count for port in listed)
    if total > MOST_PORTS:
        yield "ports", f"{total} ports are to be published", f"at most {MOST_PORTS}"
    for place, port in enumerate(listed):
        for other in listed[:place]:
            if port.meets(other):
                yield port.key, f"{port} and {other} are the same port of the host", "each of them once"

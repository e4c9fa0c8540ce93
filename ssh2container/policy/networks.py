"""The networks that a policy names, for the sessions that have any (``networks``)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .policy import Values


class Network:
    """A network that the session is on: addresses (with a prefix, or without), gateways, further routes.

    routes: (range, address of the router) pairs. gw_priority: the highest has the default route.
    """

    __slots__ = (
        "gateway",
        "gw_priority",
        "interface_name",
        "ipv4_address",
        "ipv6_address",
        "ipv6_gateway",
        "mac_address",
        "name",
        "routes",
    )

    def __init__(
        self,
        name: str,
        gateway: str | None,
        gw_priority: int | None,
        interface_name: str | None,
        ipv4_address: str | None,
        ipv6_address: str | None,
        ipv6_gateway: str | None,
        mac_address: str | None,
        routes: tuple[tuple[str, str], ...] | None,
    ) -> None:
        self.name = name
        self.gateway = gateway
        self.gw_priority = gw_priority
        self.interface_name = interface_name
        self.ipv4_address = ipv4_address
        self.ipv6_address = ipv6_address
        self.ipv6_gateway = ipv6_gateway
        self.mac_address = mac_address
        self.routes = routes


def of(values: Values) -> tuple[Network, ...]:
    """Return the networks of a policy, in the order in which they were written."""
    return tuple(Network(name, *item) for name, item in values["networks"].items())

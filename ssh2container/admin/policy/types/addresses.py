"""Kinds of single values of a network: addresses, ranges of them, names of interfaces."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import ipaddress

from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report, flow
from ssh2container.admin.policy.types.scalars import Text
from ssh2container.admin.policy.yaml.nodes import Node
from ssh2container.admin.policy.yaml.problems import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INTERFACE = r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}"
"""The name of an interface (dev_valid_name, net/core/dev.c), of characters that mean nothing elsewhere."""
INTERFACE_WORDS = "the name of an interface, 1 to 15 letters, digits and _ . -"
MAC = r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"


def interface() -> Text:
    """Return the kind of a name of an interface."""
    return Text(INTERFACE_WORDS, INTERFACE)


class Address(Kind):
    """An address of one host. version: 4, 6 or 0 for either. prefix: /LENGTH of its network may follow."""

    name = "address"

    def __init__(self, version: int = 0, *, prefix: bool = False) -> None:
        self.version = version
        self.prefix = prefix
        example = "fd00::7" if version == 6 else "10.0.0.7"  # noqa: PLR2004
        self.allowed = f"an IPv{version} address" if version else "an address"
        self.allowed += f" such as {example}"
        if prefix:
            self.allowed += f", with the length of its network's prefix as in {example}/24"

    def read(self, node: Node, report: Report) -> Any:
        text = self.text(node, report)
        if text is None:
            return INVALID
        try:
            found = ipaddress.ip_interface(text) if self.prefix else ipaddress.ip_address(text)
        except ValueError:
            return report.fail(node, f"found {quoted(text)}", self.allowed)
        if self.version not in (0, found.version):
            return report.fail(node, f"{quoted(text)} is IPv{found.version}", self.allowed)
        address = found.ip if isinstance(found, ipaddress.IPv4Interface | ipaddress.IPv6Interface) else found
        if address.is_unspecified or address.is_multicast or address.is_loopback:
            return report.fail(node, f"{quoted(text)} can be no interface's", self.allowed)
        return str(found) if "/" in text else str(address)

    def write(self, value: str) -> str:
        return flow(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


class Range(Kind):
    """A range of addresses in CIDR form."""

    name = "range"
    allowed = "a range such as 10.0.0.0/24 or fd00::/64"

    def read(self, node: Node, report: Report) -> Any:
        text = self.text(node, report)
        if text is None:
            return INVALID
        if "/" not in text:
            return report.fail(node, f"found {quoted(text)}", self.allowed)
        try:
            return str(ipaddress.ip_network(text))
        except ValueError as error:
            return report.fail(node, f"found {quoted(text)}: {error}", self.allowed)

    def write(self, value: str) -> str:
        return flow(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}

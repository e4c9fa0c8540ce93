"""Kinds of the network: published ports, destinations, bridges."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import ipaddress
import re

from ssh2container.admin.language.entries import Fields, Items
from ssh2container.admin.language.kinds import INVALID, Entries, Kind, Report, flow, surprise
from ssh2container.admin.language.nodes import Mapping, Node, Scalar, Sequence
from ssh2container.admin.language.problems import quoted
from ssh2container.admin.language.scalars import Choice, Count, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Ports(Items):
    """Compose's ports; without a host address they are bound on 127.0.0.1."""

    name = "list of ports"
    allowed = "[ADDRESS:][PUBLISHED:]TARGET[/tcp|/udp], in quotes"

    def entry(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        trap = surprise(scalar)
        if trap and not re.fullmatch(r"[1-9][0-9]{0,4}", scalar.text):
            return report.fail(node, f"{scalar.text} {trap}", self.allowed, f'write "{scalar.text}"')
        shape = r"(?:(\[[0-9a-f:]+\]|[0-9.]+):)?(?:([1-9][0-9]{0,4}):)?([1-9][0-9]{0,4})(?:/(tcp|udp))?"
        match = re.fullmatch(shape, scalar.text)
        if not match:
            return report.fail(node, f"found {quoted(scalar.text)}", self.allowed)
        address, published, target, protocol = match.groups()
        if address and address.isdecimal() and not published:
            address, published = None, address
        try:
            ip = ipaddress.ip_address((address or "127.0.0.1").strip("[]"))
        except ValueError:
            return report.fail(node, f"the address {quoted(address or '')}", "an IPv4 or [IPv6] address")
        ends = (int(published or target), int(target))
        if not all(0 < port < 65536 for port in ends):  # noqa: PLR2004
            return report.fail(node, f"found {quoted(scalar.text)}", "ports from 1 to 65535")
        return (str(ip), *ends, protocol or "tcp")

    def key(self, value: tuple[str, int, int, str]) -> str:
        address, published, _, protocol = value
        return f"{address}:{published}/{protocol}"

    def write_entry(self, key: str, value: tuple[str, int, int, str]) -> str:
        address, published, target, protocol = value
        shown = f"[{address}]" if ":" in address else address
        return f'"{shown}:{published}:{target}/{protocol}"'

    def entry_schema(self) -> dict[str, Any]:
        return {"type": ["string", "integer"]}


class EgressRules(Items):
    """Destinations that a private network may reach."""

    name = "list of destinations"
    allowed = "a map with to, ports and protocol"

    def __init__(self) -> None:
        self.fields = Fields(
            {"to": _Cidr(), "ports": _PortRanges(), "protocol": Choice("tcp", "udp", "any")}, ("to",), {}
        )  # fmt: skip

    def entry(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            return report.fail(node, f"{node.found} instead of a map", self.allowed)
        found = self.fields.read(node, report)
        if found is None:
            return INVALID
        return (found["to"], found.get("ports", ()), found.get("protocol", "any"))

    def key(self, value: tuple[str, tuple[tuple[int, int], ...], str]) -> str:
        network, ports, protocol = value
        return f"{network} {_PortRanges().write(ports)} {protocol}"

    def write_entry(self, key: str, value: tuple[str, tuple[tuple[int, int], ...], str]) -> str:
        network, ports, protocol = value
        return f"{{to: {flow(network)}, ports: {_PortRanges().write(ports)}, protocol: {protocol}}}"

    def entry_schema(self) -> dict[str, Any]:
        return self.fields.schema()


class _Cidr(Kind):
    allowed = "a network such as 10.0.0.0/8 or an address"

    def read(self, node: Node, report: Report) -> Any:
        text = self.text(node, report)
        if text is None:
            return INVALID
        try:
            return str(ipaddress.ip_network(text))
        except ValueError as error:
            return report.fail(node, f"found {quoted(text)}: {error}", self.allowed)

    def write(self, value: str) -> str:
        return flow(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


class _PortRanges(Kind):
    allowed = 'a list of ports and ranges such as [443, "8000-8010"]'

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Sequence):
            return report.fail(node, f"{node.found} instead of a list", self.allowed)
        ranges = [self._range(item, report) for item in node.items]
        return INVALID if INVALID in ranges else tuple(ranges)

    def _range(self, node: Node, report: Report) -> Any:
        if isinstance(node, Scalar):
            match = re.fullmatch(r"([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?", node.text)
            if match:
                first = int(match[1])
                last = int(match[2] or first)
                if first <= last <= 65535:  # noqa: PLR2004
                    return (first, last)
        return report.fail(node, "found " + (quoted(node.text) if isinstance(node, Scalar) else node.found),
                           self.allowed)  # fmt: skip

    def write(self, value: tuple[tuple[int, int], ...]) -> str:
        shown = [str(first) if first == last else f'"{first}-{last}"' for first, last in value]
        return "[" + ", ".join(shown) + "]"

    def schema(self) -> dict[str, Any]:
        item = {"anyOf": [Count(1, 65535).schema(), {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}]}
        return {"type": "array", "items": item}


class Networks(Entries):
    """Link-layer interfaces on bridges of the host, by the bridge's name."""

    name = "map of networks"
    allowed = "a map BRIDGE: {ipv4_address: ADDRESS/PREFIX, gateway: ADDRESS}"

    def __init__(self) -> None:
        address = Text("an address such as 10.0.0.7/24", r"[0-9.]{7,15}/([0-9]|[12][0-9]|3[0-2])")
        self.fields = Fields(
            {"ipv4_address": address, "gateway": Text("an address", r"[0-9.]{7,15}")}, (), {}
        )

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            return report.fail(node, f"{node.found} instead of a map", self.allowed)
        entries: dict[str, tuple[Any, Node]] = {}
        for key, value in node.pairs:
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", key.text) or key.text in (".", ".."):
                report.fail(key, f"the bridge {quoted(key.text)}", "the name of an interface")
            elif not isinstance(value, Mapping):
                report.fail(value, f"{value.found} instead of a map", self.allowed)
            else:
                found = self.fields.read(value, report)
                if found is not None:
                    entries[key.text] = ((key.text, found.get("ipv4_address"), found.get("gateway")), key)
        return entries

    def write_entry(self, key: str, value: tuple[str, str | None, str | None]) -> str:
        named = zip(("ipv4_address", "gateway"), value[1:], strict=True)
        return f"{key}: {{" + ", ".join(f"{name}: {text}" for name, text in named if text) + "}"

    def write(self, value: Any) -> str:
        return "{" + ", ".join(self.write_entry(name, entry) for name, entry in value.items()) + "}"

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.fields.schema()}

"""The kind of ``networks`` in a policy: which ones a session is on, and as whom."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import ipaddress
import re

from ssh2container.admin.policy.types import lists
from ssh2container.admin.policy.types.addresses import INTERFACE, MAC, Address, Range, interface
from ssh2container.admin.policy.types.entries import Fields
from ssh2container.admin.policy.types.kinds import INVALID, Entries, Kind, Report, flow
from ssh2container.admin.policy.types.numbers import Count
from ssh2container.admin.policy.types.scalars import Text
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar
from ssh2container.admin.policy.yaml.problems import quoted
from ssh2container.policy.networks import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

COMPOSES_ALONE = ("aliases", "link_local_ips", "priority", "driver_opts")
"""What Compose has in an entry of networks, and a policy has not."""
NOT_OURS = "it has no meaning for a login shell: leave it out"


class Networks(Entries):
    """The networks of a session by name; Compose's words, with the gateway and routes of a session."""

    name = "map of networks"
    allowed = "a map NAME: {ipv4_address: ADDRESS}, or a list of names"
    fields_in_order = tuple(slot for slot in Network.__slots__ if slot != "name")
    """What the value of one network holds, as :class:`ssh2container.policy.networks.Network` takes it."""

    def __init__(self) -> None:
        self.fields = Fields(
            {
                "ipv4_address": Address(4, prefix=True),
                "ipv6_address": Address(6, prefix=True),
                "mac_address": Text("an address such as 02:42:ac:11:00:02", MAC),
                "gateway": Address(4),
                "ipv6_gateway": Address(6),
                "routes": _Routes(),
                "interface_name": interface(),
                "gw_priority": Count(-1000, 1000),
            },
            (),
            dict.fromkeys(COMPOSES_ALONE, NOT_OURS),
        )

    def read(self, node: Node, report: Report) -> Any:
        entries: dict[str, tuple[Any, Node]] = {}
        for name, value, place in named(node, report, self.allowed):
            if not re.fullmatch(INTERFACE, name):
                report.fail(place, f"the network {quoted(name)}", interface().allowed)
                continue
            if name in entries:
                report.fail(place, f"{quoted(name)} is listed twice", hint="keep one of them")
                continue
            found = read_fields(self.fields, value, report, self.allowed)
            if found is not None:
                fits = self._fits(found, value or place, report)
                entries[name] = (tuple(found.get(key) for key in self.fields_in_order), place)
                if not fits:
                    del entries[name]
        return entries

    def _fits(self, found: dict[str, Any], node: Node, report: Report) -> bool:
        """Report what contradicts itself within one network."""
        for version, address, gateway in (
            (4, "ipv4_address", "gateway"),
            (6, "ipv6_address", "ipv6_gateway"),
        ):
            own, via = found.get(address), found.get(gateway)
            if own and "/" in own and via:
                reach = ipaddress.ip_interface(own).network
                link_local = version == 6 and ipaddress.ip_address(via).is_link_local  # noqa: PLR2004
                if ipaddress.ip_address(via) not in reach and not link_local:
                    report.fail(node, f"the {gateway} {via} is not in {reach}", f"an address of {reach}")
                    return False
                if ipaddress.ip_interface(own).ip == ipaddress.ip_address(via):
                    report.fail(node, f"{via} is the session's and the gateway's", "two addresses")
                    return False
        return True

    def write_entry(self, key: str, value: Any) -> str:
        named = zip(self.fields_in_order, value, strict=True)
        inside = ", ".join(
            f"{name}: {self.fields.kinds[name].write(item)}" for name, item in named if item is not None
        )
        return f"{flow(key)}: {{{inside}}}"

    def write(self, value: Any) -> str:
        return "{" + ", ".join(self.write_entry(name, entry) for name, entry in value.items()) + "}"

    def schema(self) -> dict[str, Any]:
        entry = {"anyOf": [self.fields.schema(), {"type": "null"}]}
        names = {"type": "array", "items": {"type": "string"}}
        return {"anyOf": [{"type": "object", "additionalProperties": entry}, names, {"type": "string"}]}


class _Routes(Kind):
    """Further routes: a map RANGE: ADDRESS, as pairs."""

    name = "map of routes"
    allowed = "a map RANGE: ADDRESS such as {10.8.0.0/16: 10.0.0.254}"

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            return report.fail(node, f"{node.found} instead of a map", self.allowed)
        found = []
        for key, value in node.pairs:
            to, via = Range().read(key, report), Address().read(value, report)
            if INVALID in (to, via):
                return INVALID
            if ipaddress.ip_network(to).version != ipaddress.ip_address(via).version:
                return report.fail(value, f"{via} is of another kind than {to}", self.allowed)
            found.append((to, via))
        return tuple(found)

    def write(self, value: tuple[tuple[str, str], ...]) -> str:
        return "{" + ", ".join(f"{flow(to)}: {flow(via)}" for to, via in value) + "}"

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": {"type": "string"}}


def named(
    node: Node, report: Report, allowed: str, *, may_be_list: bool = True
) -> Iterable[tuple[str, Node | None, Node]]:
    """Yield (name, what stands behind it or None, its place) of a map, or of a list of names."""
    if isinstance(node, Mapping):
        for key, value in node.pairs:
            nothing = isinstance(value, Scalar) and value.plain and not value.text
            yield key.text, None if nothing else value, key
        return
    if not may_be_list:
        report.fail(node, f"{node.found} instead of a map", allowed)
        return
    for item in lists.entries(node, report, allowed, several=lists.SEVERAL_WORDS) or ():
        text = Text("a name").read(item, report)
        if text is not INVALID:
            yield text, None, item


def read_fields(fields: Fields, value: Node | None, report: Report, allowed: str) -> dict[str, Any] | None:
    """Return key -> value of a map, which may be left out; None after reporting."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        report.fail(value, f"{value.found} instead of a map", allowed)
        return None
    return fields.read(value, report)

"""The kind of ``networks`` in config.yaml: what the networks are that policies name."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import ipaddress
import re

from ssh2container.admin.policy.types import lists
from ssh2container.admin.policy.types.addresses import INTERFACE, Address, Range, interface
from ssh2container.admin.policy.types.entries import Fields, ListOf
from ssh2container.admin.policy.types.kinds import INVALID, Entries, Kind, Report, flow
from ssh2container.admin.policy.types.links import NOT_OURS, named, read_fields
from ssh2container.admin.policy.types.numbers import Count
from ssh2container.admin.policy.types.scalars import Choice, Flag
from ssh2container.admin.policy.yaml.nodes import Node
from ssh2container.admin.policy.yaml.problems import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DRIVERS = ("bridge", "macvlan", "interface")


class Definitions(Entries):
    """What the networks that policies name are on this host; Compose's words of the top level."""

    name = "map of networks"
    allowed = "a map NAME: {driver: bridge|macvlan|interface, driver_opts: {parent: INTERFACE}}"
    fields_in_order = (
        "driver", "parent", "mode", "mtu", "isolated", "ipam_driver", "config", "internal", "dns",
    )  # fmt: skip

    def __init__(self) -> None:
        self._options = Fields(
            {
                "parent": interface(),
                "mode": Choice("bridge", "private", "vepa", "passthru"),
                "mtu": Count(576, 65535),
                "isolated": Flag(),
            },
            (),
            {},
        )
        self._config = Fields({"subnet": Range(), "gateway": Address(), "ip_range": Range()}, ("subnet",), {})
        self._ipam = Fields(
            {"driver": Choice("default", "dhcp"), "config": _Maps(self._config)}, (), {"options": NOT_OURS}
        )
        self._fields = Fields(
            {
                "driver": Choice(*DRIVERS),
                "driver_opts": _Inside(self._options),
                "ipam": _Inside(self._ipam),
                "internal": Flag(),
                "dns": ListOf(Address()),
            },
            (),
            {
                "name": "use driver_opts: {parent: NAME}",
                "external": "every network is the host's own already: leave it out",
                "attachable": NOT_OURS,
                "enable_ipv6": "give ipam a subnet of IPv6",
                "labels": "use an x- key",
            },
        )

    def read(self, node: Node, report: Report) -> Any:
        entries: dict[str, tuple[Any, Node]] = {}
        for name, value, place in named(node, report, self.allowed, may_be_list=False):
            if not re.fullmatch(INTERFACE, name):
                report.fail(place, f"the network {quoted(name)}", interface().allowed)
                continue
            found = read_fields(self._fields, value, report, self.allowed)
            if found is None:
                continue
            options, ipam = found.get("driver_opts", {}), found.get("ipam", {})
            flat = {
                "driver": found.get("driver", "bridge"),
                "parent": options.get("parent", name),
                "mode": options.get("mode"),
                "mtu": options.get("mtu"),
                "isolated": options.get("isolated", False),
                "ipam_driver": ipam.get("driver", "default"),
                "config": ipam.get("config", ()),
                "internal": found.get("internal", False),
                "dns": tuple(entry for entry, _ in found.get("dns", {}).values()),
            }
            if _consistent(flat, value or place, report):
                entries[name] = (tuple(flat[key] for key in self.fields_in_order), place)
        return entries

    def write_entry(self, key: str, value: Any) -> str:
        flat = dict(zip(self.fields_in_order, value, strict=True))
        options = {name: flat[name] for name in ("parent", "mode", "mtu") if flat[name] is not None}
        parts = [f"driver: {flat['driver']}"]
        shown = [f"{name}: {item if name == 'mtu' else flow(item)}" for name, item in options.items()]
        shown += ["isolated: true"] if flat["isolated"] else []
        parts.append("driver_opts: {" + ", ".join(shown) + "}")
        ipam = [f"driver: {flat['ipam_driver']}"] if flat["ipam_driver"] != "default" else []
        if flat["config"]:
            ipam.append("config: " + _Maps(self._config).write(flat["config"]))
        if ipam:
            parts.append("ipam: {" + ", ".join(ipam) + "}")
        if flat["internal"]:
            parts.append("internal: true")
        if flat["dns"]:
            parts.append("dns: [" + ", ".join(map(flow, flat["dns"])) + "]")
        return f"{flow(key)}: {{{', '.join(parts)}}}"

    def write(self, value: Any) -> str:
        return "{" + ", ".join(self.write_entry(name, entry) for name, entry in value.items()) + "}"

    def schema(self) -> dict[str, Any]:
        entry = {"anyOf": [self._fields.schema(), {"type": "null"}]}
        return {"type": "object", "additionalProperties": entry}


def _consistent(flat: dict[str, Any], node: Node, report: Report) -> bool:
    """Report what contradicts itself within one network's definition."""
    if flat["mode"] is not None and flat["driver"] != "macvlan":
        report.fail(node, f"mode with driver: {flat['driver']}", "mode with driver: macvlan alone")
        return False
    if flat["isolated"] and flat["driver"] != "bridge":
        report.fail(node, f"isolated with driver: {flat['driver']}", "isolated with driver: bridge alone")
        return False
    if flat["config"] and flat["ipam_driver"] == "dhcp":
        report.fail(node, "addresses from DHCP, and from config", "one of them")
        return False
    for subnet, gateway, ip_range in flat["config"]:
        whole = ipaddress.ip_network(subnet)
        if gateway is not None and ipaddress.ip_address(gateway) not in whole:
            report.fail(node, f"the gateway {gateway} is not in {subnet}", f"an address of {subnet}")
            return False
        if ip_range is not None:
            part = ipaddress.ip_network(ip_range)
            if part.version != whole.version or not part.subnet_of(whole):  # type: ignore[arg-type]
                report.fail(node, f"{ip_range} is not in {subnet}", f"a part of {subnet}")
                return False
    return True


class _Inside(Kind):
    """A map with fixed keys within another."""

    name = "map"

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.allowed = "a map with " + ", ".join(fields.kinds)

    def read(self, node: Node, report: Report) -> Any:
        found = read_fields(self.fields, node, report, self.allowed)
        return INVALID if found is None else found

    def schema(self) -> dict[str, Any]:
        return self.fields.schema()


class _Maps(Kind):
    """ipam's config: a list of maps, one for each subnet, as tuples in the order of their keys."""

    name = "list of subnets"

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.allowed = "a list of {subnet: RANGE, gateway: ADDRESS, ip_range: RANGE}"

    def read(self, node: Node, report: Report) -> Any:
        items = lists.entries(node, report, self.allowed, maps=True)
        if items is None:
            return INVALID
        found = [read_fields(self.fields, item, report, self.allowed) for item in items]
        if any(one is None for one in found):
            return INVALID
        return tuple(tuple(one.get(key) for key in self.fields.kinds) for one in found if one is not None)

    def write(self, value: Any) -> str:
        shown = [
            ", ".join(
                f"{key}: {flow(item)}" for key, item in zip(self.fields.kinds, one, strict=True) if item
            )
            for one in value
        ]
        return "[" + ", ".join(f"{{{one}}}" for one in shown) + "]"

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.fields.schema()}

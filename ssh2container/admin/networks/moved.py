"""Interfaces of the host's that were moved into a prepared namespace: what they were, and bringing them home.

The kernel takes addresses, routes, bridge and state from an interface that changes its namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from ssh2container.admin.networks import tools
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ssh2container.admin.networks.wanted import Link

FILE = "moved"
"""In a namespace's directory: a line for each with its name inside, the former one, and how it was (JSON)."""
_WRITTEN = ("static", "boot")
"""The protocols of routes that somebody has written; the kernel, routers and leases make theirs again."""
_FLAGS = ("nodad", "noprefixroute")
_ANY_NAME = "dev%d"
"""The first that is free, as where the kernel itself moves one out of a namespace that ends."""


def note(place: str, links: Sequence[Link]) -> None:
    """Write down how the interfaces of ``links`` are that will be moved. Raises SessionError, OSError."""
    parents = [(link.name, link.definition.parent) for link in links if link.definition.driver == "interface"]
    if parents:
        lines = [f"{name} {parent} {json.dumps(_state(parent))}\n" for name, parent in parents]
        with open(f"{place}/{FILE}", "x", encoding="utf-8") as file:
            file.writelines(lines)


def bring_home(place: str, namespace: str) -> None:
    """Move those back that were moved in, as they were: virtual ones would go with the namespace."""
    home = f"/proc/{os.getpid()}/ns/net"
    with contextlib.suppress(OSError), open(f"{place}/{FILE}", encoding="utf-8") as lines:
        for name, former, *rest in (line.split(maxsplit=2) for line in lines):
            back = [f"link set {name} down", f"link set {name} netns {home} name"]
            with contextlib.suppress(SessionError):
                try:
                    tools.ip([back[0], f"{back[1]} {former}"], inside=namespace)
                except SessionError:
                    # Another one has its name by now.
                    tools.ip([f"{back[1]} {_ANY_NAME}"], inside=namespace)
                else:
                    tools.ip(_restoring(former, json.loads(rest[0]) if rest else {}), force=True)


def _state(device: str) -> dict[str, Any]:
    """Return what the kernel forgets of an interface."""
    found = tools.query("address", "show", "dev", device)[0]
    return {
        "up": "UP" in found.get("flags", ()),
        "mtu": found.get("mtu"),
        "master": found.get("master"),
        "addresses": list(_addresses(found)),
        "routes": [one for version in ("-4", "-6") for one in _routes(version, device)],
    }


def _addresses(found: dict[str, Any]) -> Iterator[str]:
    for one in found.get("addr_info", ()):
        if one.get("scope") != "link" and not one.get("dynamic"):
            peer = f" peer {one['address']}" if "address" in one else ""
            broadcast = f" broadcast {one['broadcast']}" if "broadcast" in one else ""
            flags = "".join(f" {flag}" for flag in _FLAGS if one.get(flag))
            yield f"{one['local']}{peer}/{one['prefixlen']}{broadcast}{flags}"


def _routes(version: str, device: str) -> Iterator[str]:
    for one in tools.query(version, "route", "show", "dev", device):
        if one.get("protocol", "boot") in _WRITTEN and one.get("type", "unicast") == "unicast":
            via = f" via {one['gateway']}" if "gateway" in one else ""
            metric = f" metric {one['metric']}" if "metric" in one else ""
            yield f"{one['dst']}{via}{metric}{' onlink' if 'onlink' in one.get('flags', ()) else ''}"


def _restoring(device: str, state: dict[str, Any]) -> list[str]:
    """Return the commands that make an interface what it was."""
    found = [f"link set {device} mtu {state['mtu']}"] if state.get("mtu") else []
    if state.get("master"):
        found.append(f"link set {device} master {state['master']}")
    found += [f"address add {one} dev {device}" for one in state.get("addresses", ())]
    if state.get("up"):
        found.append(f"link set {device} up")
        # Of IPv6, only an interface that is up has routes.
        found += [f"route add {one} dev {device}" for one in state.get("routes", ())]
    return found

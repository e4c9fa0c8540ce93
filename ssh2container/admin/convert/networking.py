"""Compose's networks and ports as those of a policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Map, Text, entries, map_at, text_at
from ssh2container.admin.policy.types.links import COMPOSES_ALONE
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar

if TYPE_CHECKING:
    from ssh2container.admin.convert.draft import Draft
    from ssh2container.admin.convert.service import Service

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a port without an address means to Compose
_RANDOM = "a free port would be chosen, and nobody would know which: write the published one, too"
_PRIVATE = ("bridge", "default", "private", "pasta", "slirp4netns", "nat")
_APART = (
    "each session has a network of its own; for one that sessions share, make a bridge (ssh2containerctl"
    " network create) and write networks"
)
_ADDRESSES = ("ipv4_address", "ipv6_address")
_FIRST_OF_ALL = 1024
"""Below it ports are root's (ip(7), ip_unprivileged_port_start)."""
_ROOTS = (
    "port {port} inside is root's: write user: root, or have the program listen on a port from 1024 on and"
    " publish that"
)
_OF_ANOTHER = "a session shares no network with another container"


def ports(draft: Draft, node: Node) -> None:
    """Convert ``ports``: without an address they are published on all of the host's."""
    for item in entries(node):
        if isinstance(item, Map):
            _long(draft, item)
        elif isinstance(item, Text):
            _short(draft, item)
        else:
            draft.notes.leave(item, "ports", f"{item.found} in place of a port")


def _short(draft: Draft, item: Text) -> None:
    name = f"ports: {item.text}"
    ends = re.sub(r"\[[^\]]*\]", "address", item.text.partition("/")[0]).split(":")
    if len(ends) == 1:
        draft.notes.leave(item, name, _RANDOM)
        return
    text = item.text.removeprefix(":") if len(ends) > 2 else item.text  # noqa: PLR2004
    address = "" if len(ends) > 2 and text == item.text else f"{EVERYWHERE}:"  # noqa: PLR2004
    draft.entry("ports", text_at(item, address + text), name)


def _long(draft: Draft, item: Map) -> None:
    target = item.get("target")
    name = f"ports: {target.text if isinstance(target, Scalar) else '?'}"
    if item.get("published") is None:
        draft.notes.leave(item, name, _RANDOM)
        return
    kept = [pair for pair in item.pairs if pair[0].text not in ("name", "app_protocol")]
    if item.get("host_ip") is None:
        kept.append((text_at(item, "host_ip"), text_at(item, EVERYWHERE)))
    draft.entry("ports", Map(item.line, item.column, item.source, kept), name)


def finish(draft: Draft, service: Service) -> None:
    """Convert ``network_mode`` and ``networks``: what a container has that names neither is private."""
    _say_what_is_roots(draft)
    mode, networks = service.root.get("network_mode"), service.root.get("networks")
    if mode is not None:
        _mode(draft, mode)
        return
    if networks is None:
        draft.set("network_mode", text_at(service.root, "private"), "networks")
        return
    _networks(draft, service, networks)


def _say_what_is_roots(draft: Draft) -> None:
    """Say which ports no program inside can open: an engine's containers start as root (networks.md)."""
    policy = draft.policy()
    if policy.ranged and policy.user == "root":
        return
    for port in policy.ports:
        if port.target < _FIRST_OF_ALL:
            place, name = draft.place_of(port.key)
            draft.notes.differ(place, name, _ROOTS.format(port=port.target))


def _mode(draft: Draft, node: Node) -> None:
    text = node.text if isinstance(node, Scalar) else ""
    word, _, options = text.partition(":")
    if word in _PRIVATE:
        text = "private"
        if options:
            draft.notes.leave(node, f"network_mode: {word}:{options}", "a private network has no options")
    elif word in ("container", "service", "ns"):
        draft.notes.leave(node, f"network_mode: {text}", _OF_ANOTHER)
        return
    draft.set("network_mode", text_at(node, text), "network_mode")


def _networks(draft: Draft, service: Service, node: Node) -> None:
    """Take the host's own networks by their names, and one of Compose's making as a private one."""
    outside, inside, internal = [], [], []
    pairs = node.pairs if isinstance(node, Mapping) else [(item, item) for item in entries(node)]
    for key, value in pairs:
        if not isinstance(key, Text):
            draft.notes.leave(key, "networks", f"{key.found} in place of a name")
            continue
        listed = service.top.get("networks")
        definition = listed.get(key.text) if listed is not None else None
        words = {
            each.text: one.text for each, one in definition.pairs if isinstance(one, Scalar)
        } if isinstance(definition, Map) else {}  # fmt: skip
        if words.get("external") == "true":
            outside.append((key, value, words.get("name", key.text)))
        else:
            inside.append((key, value))
            internal.append(words.get("internal") == "true")
    for key, value, name in outside:
        _external(draft, key, value, name)
    if draft.has("networks"):
        for key, _ in inside:
            draft.notes.leave(key, f"networks: {key.text}", _APART)
        return
    draft.set("network_mode", text_at(node, "private"), "networks")
    if internal and all(internal):
        draft.set("egress", text_at(node, "none"), "networks")
    for key, value in inside:
        if key.text != "default":
            draft.notes.differ(key, f"networks: {key.text}", _APART)
        for field, _ in value.pairs if isinstance(value, Mapping) else ():
            draft.notes.leave(field, f"networks: {key.text}: {field.text}", "a private network has its own")


def _external(draft: Draft, key: Text, value: Node, name: str) -> None:
    """Write a network that is there already, as the bridge of the host that it is."""
    fields = value if isinstance(value, Map) else map_at(key)
    kept = []
    for field, one in fields.pairs:
        if field.text in COMPOSES_ALONE:
            draft.notes.leave(
                field, f"networks: {key.text}: {field.text}", "a session has no neighbours to know it"
            )
        else:
            kept.append((field, one))
    place = text_at(key, name)
    if not draft.named(
        "networks", place, Map(key.line, key.column, key.source, kept), f"networks: {key.text}"
    ):
        return
    why = f"{name} has to be a bridge of the host, or a network that config.yaml names"
    if any(
        isinstance(one, Scalar) and field.text in _ADDRESSES and "/" not in one.text for field, one in kept
    ):
        why += ", where its subnet stands, too: the address has no length of its prefix"
    draft.notes.differ(key, f"networks: {key.text}", why)


def option(service: Service, node: Text) -> None:
    """Take ``--network``: a mode, or the name of a network with options of its own."""
    word, _, options = node.text.partition(":")
    if word in (*_PRIVATE, "none", "host", "container", "ns", "service"):
        service.set("network_mode", node)
        return
    fields = [part.partition("=") for part in options.split(",") if "=" in part]
    known = {"ip": "ipv4_address", "ip6": "ipv6_address", "mac": "mac_address"}
    values = {known[name]: text_at(node, value) for name, _, value in fields if name in known}
    there = service.root.get("networks")
    if not isinstance(there, Map):
        there = map_at(node)
        service.set("networks", there)
    there.pairs.append(
        (text_at(node, word), map_at(node, **values) if values else text_at(node, "", plain=True))
    )

"""Compose's volumes, tmpfs, secrets and configs as those of a policy."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Map, Text, entries, is_nothing, map_at, source_of, text_at
from ssh2container.admin.policy.lint import HOST_SOCKETS
from ssh2container.admin.policy.yaml.nodes import Node, Scalar

if TYPE_CHECKING:
    from ssh2container.admin.convert.draft import Draft
    from ssh2container.admin.convert.service import Service

_ALWAYS_SO = {
    "private", "rprivate", "cached", "delegated", "consistent", "nocopy", "nosuid", "nodev", "bind", "rbind",
}  # fmt: skip
"""Options that describe every volume here, or are about speed on other systems."""
_OPTIONS = {
    "z": "label the source for SELinux on the host",
    "Z": "label the source for SELinux on the host",
    "U": "give the source to its user on the host with chown",
    "O": "what is written is kept: there is no overlay over a volume",
}
_NO_OPTION = "a volume is ro or rw, its propagation is private, and what is mounted below it is in it"
_TMPFS_ALWAYS_SO = {"rw", "nosuid", "nodev", "exec", "tmpcopyup", "notmpcopyup"}
_NAMED = (
    "a named volume, whose directory only its engine knows: make one, such as {place}, copy what is to stay"
    ' into it, and write "{place}:{target}:{mode}" into volumes'
)
_SOCKET = "whoever reaches that socket is root on the host"
_HOME = "~ would be the home of whoever runs convert: write an absolute path, or %h for the user's home"


def volumes(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``volumes``."""
    for item in entries(node):
        if isinstance(item, Map):
            _long(draft, service, item)
        elif isinstance(item, Text):
            _short(draft, service, item)
        else:
            draft.notes.leave(item, "volumes", f"{item.found} in place of a volume")


def _short(draft: Draft, service: Service, item: Text) -> None:
    source, colon, rest = item.text.partition(":")
    target, _, options = rest.partition(":")
    if not colon:
        _anonymous(draft, item, source)
        return
    read_only = False
    for option in options.split(",") if options else ():
        if option in ("ro", "readonly"):
            read_only = True
        elif option != "rw" and option not in _ALWAYS_SO:
            why = _OPTIONS.get(option, _NO_OPTION)
            draft.notes.differ(item, f"volumes: {item.text}", f"{option}: {why}")
    _bind(draft, service, item, source, target, read_only=read_only)


def _anonymous(draft: Draft, item: Node, target: str) -> None:
    why = "a volume without a name: in memory, as everything is that the policy does not keep"
    draft.notes.differ(item, f"volumes: {target}", why)


def _long(draft: Draft, service: Service, item: Map) -> None:
    words = {key.text: value.text for key, value in item.pairs if isinstance(value, Scalar)}
    kind = words.get("type", "volume")
    target = words.get("target", "")
    name = f"volumes: {target or '?'}"
    if kind == "tmpfs":
        options = item.get("tmpfs")
        given = {
            key.text: value.text for key, value in options.pairs if isinstance(value, Scalar)
        } if isinstance(options, Map) else {}  # fmt: skip
        text = ",".join(f"{key}={value}" for key, value in given.items())
        _tmpfs(draft, service, text_at(item, f"{target}:{text}" if text else target))
        return
    if kind not in ("bind", "volume"):
        draft.notes.leave(item, name, f"a volume of type {kind}: there are only binds")
        return
    for key, value in item.pairs:
        if key.text == "volume" and isinstance(value, Map) and value.get("subpath") is not None:
            draft.notes.leave(item, name, "a part of a named volume: bind that directory itself")
            return
        for field, one in value.pairs if key.text in ("bind", "volume") and isinstance(value, Map) else ():
            text = one.text if isinstance(one, Scalar) else ""
            if text not in _ALWAYS_SO and field.text not in ("create_host_path", "nocopy", "labels"):
                draft.notes.differ(field, f"{name}: {field.text}", _NO_OPTION)
    if not words.get("source"):
        _anonymous(draft, item, target)
        return
    _bind(
        draft, service, item, words["source"], target, read_only=words.get("read_only") == "true", kind=kind
    )


def _bind(
    draft: Draft, service: Service, item: Node, source: str, target: str, *, read_only: bool, kind: str = ""
) -> None:
    name = f"volumes: {source}:{target}"
    if not kind:
        kind = "bind" if source.startswith(("/", ".", "~", "%", "$")) else "volume"
    if kind == "volume":
        mode = "ro" if read_only else "rw"
        known = _device_of(service, source)
        if known is None:
            place = f"/srv/{re.sub(r'[^A-Za-z0-9_.-]', '-', source)}"
            why = _NAMED.format(place=place, target=target, mode=mode)
            draft.notes.leave(item, name, why)
            return
        source = known
    place = path_of(service, item, source)
    if place.startswith("~"):
        draft.notes.leave(item, name, _HOME)
    elif place.endswith(HOST_SOCKETS):
        draft.notes.leave(item, name, _SOCKET)
    else:
        _write(draft, service, item, place, target, name, read_only=read_only)


def _write(
    draft: Draft,
    service: Service,
    item: Node,
    place: str,
    target: str,
    name: str,
    *,
    read_only: bool,
    file: bool = False,
) -> None:
    value = map_at(
        item,
        source=text_at(item, service.literal(place)),
        target=text_at(item, service.literal(target)),
        read_only=text_at(item, "true" if read_only else "false", plain=True),
    )
    unknown = service.specifiers and "%" in place
    first = ""
    if not unknown and not os.path.exists(place):
        quoted = shlex.quote(place)
        first = f"sudo install -m 644 FILE {quoted}" if file else f"sudo mkdir -p {quoted}"
    draft.entry("volumes", value, name, first)


def path_of(service: Service, node: Node, text: str) -> str:
    """Return the absolute path that ``text`` means, beside the file that ``node`` stands in."""
    if text.startswith(("/", "~", "$")) or (service.specifiers and text.startswith("%")):
        return text
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(source_of(node).path)), text))


def _device_of(service: Service, name: str) -> str | None:
    """Return the directory behind a named volume that is a bind mount itself, None for any other."""
    listed = service.top.get("volumes")
    volume = listed.get(name) if listed is not None else None
    options = volume.get("driver_opts") if isinstance(volume, Map) else None
    if not isinstance(options, Map):
        return None
    words = {key.text: value.text for key, value in options.pairs if isinstance(value, Scalar)}
    bound = "bind" in words.get("o", "").split(",")
    device = words.get("device", "")
    return device if bound and device.startswith("/") else None


def tmpfs(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``tmpfs``."""
    for item in entries(node):
        if isinstance(item, Text):
            _tmpfs(draft, service, item)
        else:
            draft.notes.leave(item, "tmpfs", f"{item.found} in place of a path")


def _tmpfs(draft: Draft, service: Service, item: Text) -> None:
    target, _, options = item.text.partition(":")
    name = f"tmpfs: {target}"
    kept = []
    for option in options.split(",") if options else ():
        word, _, value = option.partition("=")
        if word == "size" and not value.endswith("%"):
            kept.append(f"size={value}")
        elif word == "mode":
            kept.append(f"mode={value.removeprefix('0o').lstrip('0') or '0'}")
        elif option not in _TMPFS_ALWAYS_SO:
            draft.notes.leave(item, f"{name}: {option}", "of the options of a tmpfs there are size and mode")
    text = service.literal(target) + (":" + ",".join(kept) if kept else "")
    draft.entry("tmpfs", text_at(item, text), name)


def secrets(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``secrets``: files of the host, at the places where programs look for them."""
    _files(draft, service, node, "secrets", "/run/secrets/")


def configs(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``configs``."""
    _files(draft, service, node, "configs", "/")


def _files(draft: Draft, service: Service, node: Node, key: str, below: str) -> None:
    for item in entries(node):
        named = item.get("source") if isinstance(item, Map) else item
        if not isinstance(named, Text) or is_nothing(named):
            draft.notes.leave(item, key, f"{item.found} in place of a name")
            continue
        name = f"{key}: {named.text}"
        listed = service.top.get(key)
        definition = listed.get(named.text) if listed is not None else None
        file = definition.get("file") if isinstance(definition, Map) else None
        if not isinstance(file, Text):
            why = "only its engine knows it: put it into a file that its users can read, and bind that"
            draft.notes.leave(item, name, why)
            continue
        wanted = item.get("target") if isinstance(item, Map) else None
        target = wanted.text if isinstance(wanted, Text) else named.text
        for other in ("uid", "gid", "mode"):
            if isinstance(item, Map) and item.get(other) is not None:
                why = "a bound file has the owner and the mode that it has on the host"
                draft.notes.leave(item, f"{name}: {other}", why)
        place = path_of(service, file, file.text)
        if place.startswith("~"):
            draft.notes.leave(item, name, _HOME)
            continue
        inside = target if target.startswith("/") else below + target
        _write(draft, service, item, place, inside, name, read_only=True, file=True)

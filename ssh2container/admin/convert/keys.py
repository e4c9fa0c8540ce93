"""Every key of a Compose service: what it is in a policy, or why it is left out."""

from __future__ import annotations

import os
import re
import shlex

from ssh2container.admin.convert import limits, mounts, networking, program
from ssh2container.admin.convert.draft import Draft
from ssh2container.admin.convert.service import Service
from ssh2container.admin.convert.tree import Map, Text, entries, error, is_nothing, text_at
from ssh2container.admin.policy.schema import compose
from ssh2container.admin.policy.schema.foreign import elsewhere
from ssh2container.admin.policy.schema.settings import POLICY
from ssh2container.admin.policy.types.entries import Items
from ssh2container.admin.policy.types.kinds import Entries
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar, Sequence
from ssh2container.admin.policy.yaml.problems import did_you_mean
from ssh2container.plan.image import HOST

Handler = limits.Handler

_OWN_IDS = "the ids inside are those of the login or of a range: self, root or a name of the image"


def draft_of(service: Service) -> Draft:
    """Return the policy of a service, settled, and fill the service's notes."""
    draft = Draft(service.notes)
    _image(draft, service)
    for key, value in service.root.pairs:
        if not key.text.startswith("x-") and not is_nothing(value):
            _key(draft, service, key, value)
    program.environment(draft, service)
    program.finish(draft, service)
    networking.finish(draft, service)
    for key_, node, name in service.direct:
        draft.set(key_, node, name)
    draft.settle()
    return draft


def _key(draft: Draft, service: Service, key: Scalar, value: Node) -> None:
    name = key.text
    if name in _LATER:
        return
    if name in _HANDLERS:
        _HANDLERS[name](draft, service, value)
        return
    if _plain(value) in compose.ACCEPTED.get(name, ()):
        return
    setting = POLICY.settings.get(name)
    if setting is not None and setting.supported is not False and name in compose.SERVICE:
        _same(draft, name, value)
        return
    why = elsewhere(name) or f"Compose has no such key; {did_you_mean(name, compose.SERVICE)}".rstrip("; ")
    draft.notes.leave(key, name, why)


def _plain(node: Node) -> object:
    if isinstance(node, Sequence):
        return tuple(_plain(item) for item in node.items)
    return node.text if isinstance(node, Scalar) else None


def _same(draft: Draft, name: str, value: Node) -> None:
    """Take a key that is the same in a policy, entry by entry where it has some."""
    kind = POLICY.settings[name].kind
    if isinstance(kind, Items):
        for item in entries(value):
            shown = f": {item.text}" if isinstance(item, Scalar) else ""
            draft.entry(name, item, name + shown)
    elif isinstance(kind, Entries) and isinstance(value, Mapping):
        for key, one in value.pairs:
            draft.named(name, key, one, f"{name}: {key.text}")
    else:
        draft.set(name, value, name)


def _image(draft: Draft, service: Service) -> None:
    """Name the image, and the commands that bring it here."""
    image, build = service.root.get("image"), service.root.get("build")
    if image is None and build is None:
        raise error(service.root, f"{service.name} has no image", "image, or build")
    place = build or image or service.root
    if build is not None:
        name = image.text if isinstance(image, Text) else f"{service.project}-{service.name}"
        bring = _build(service, name)
    elif isinstance(image, Text):
        name = image.text.removeprefix("docker://")
        name = f"docker.io/library/{name}" if name == HOST else name
        source = service.root.get("x-source")
        bring = _bring(name, source.text if isinstance(source, Text) else "")
    else:
        raise error(place, f"{place.found} instead of an image", POLICY.settings["image"].kind.allowed)
    if not draft.set("image", text_at(place, name), "image"):
        raise error(place, service.notes.left_out[-1].why)
    draft.notes.do_first(*bring)


def _build(service: Service, name: str) -> list[str]:
    """Return the commands that build an image with its engine, and bring it here."""
    archive = re.sub(r"[^A-Za-z0-9_.-]", "-", service.name) + ".tar"
    return [
        f"docker compose -f {shlex.quote(service.source.path)} build {shlex.quote(service.name)}",
        f"docker save -o {archive} {shlex.quote(name)}",
        f"sudo ssh2containerctl image import {shlex.quote(name)} docker-archive:{archive}",
    ]


def _bring(name: str, source: str) -> list[str]:
    """Return the commands that import an image. source: the directory that it is, "" for a registry's."""
    quoted_name = shlex.quote(name)
    if source:
        return [f"sudo ssh2containerctl image import {quoted_name} {shlex.quote(source)}"]
    if name.startswith("localhost/"):
        archive = re.sub(r"[^A-Za-z0-9_.-]", "-", name.removeprefix("localhost/")) + ".tar"
        return [
            f"podman save --format oci-archive -o {archive} {quoted_name}",
            f"sudo ssh2containerctl image import {quoted_name} oci-archive:{archive}",
        ]
    return [f"sudo ssh2containerctl image import {quoted_name} docker://{quoted_name}"]


def _hostname(draft: Draft, service: Service, node: Node) -> None:
    if isinstance(node, Text):
        node = text_at(node, service.literal(node.text))
    draft.set("hostname", node, "hostname")


def _user(draft: Draft, service: Service, node: Node) -> None:
    del service
    text = node.text if isinstance(node, Scalar) else ""
    name, _, group = text.partition(":")
    if name in ("0", "root"):
        draft.set("user", text_at(node, "root"), "user")
    elif name.isdecimal() or name == "self":
        draft.notes.leave(node, f"user: {text}", _OWN_IDS)
        return
    else:
        draft.set("user", text_at(node, name), "user")
    if group not in ("", "0", "root", name):
        draft.notes.leave(node, f"user: {text}", f"{group}: the group is the user's own")


def _userns(draft: Draft, service: Service, node: Node) -> None:
    del service
    word = node.text.partition(":")[0] if isinstance(node, Scalar) else ""
    ours = {"keep-id": "single", "auto": "own_range", "private": "auto"}.get(word, word)
    if ours == "host":
        draft.notes.leave(node, "userns_mode: host", elsewhere("userns_mode"))
        return
    draft.set("userns_mode", text_at(node, ours), "userns_mode")


def _capabilities(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``cap_add``, whose names engines take in small letters, too."""
    del service
    for item in entries(node):
        shown = item.text if isinstance(item, Scalar) else "?"
        draft.entry("cap_add", text_at(item, shown.upper()), f"cap_add: {shown}")


def _capabilities_dropped(draft: Draft, service: Service, node: Node) -> None:
    """Leave out what root keeps; a session of the login's own user has none, whatever was dropped."""
    if _plain(node) in compose.ACCEPTED.get("cap_drop", ()):
        return
    user = service.root.get("user")
    root = isinstance(user, Scalar) and user.text.partition(":")[0] in ("0", "root")
    for item in entries(node) if root else ():
        shown = item.text if isinstance(item, Scalar) else "?"
        if shown.upper() != "ALL":
            draft.notes.leave(item, f"cap_drop: {shown}", elsewhere("cap_drop"))


def _devices(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``devices``; the right to make nodes, which engines give with them, is nobody's anyway."""
    for item in entries(node):
        kept = item
        shown = ""
        if isinstance(item, Text):
            shown = f": {item.text}"
            kept = text_at(item, service.literal(re.sub(r":(r|w|rw|wr)?m(r|w|rw|wr)?$", r":\1\2", item.text)))
        elif isinstance(item, Map):
            kept = Map(item.line, item.column, item.source, [_without_m(*pair) for pair in item.pairs])
        draft.entry("devices", kept, f"devices{shown}")


def _without_m(key: Scalar, value: Node) -> tuple[Scalar, Node]:
    if key.text == "permissions" and isinstance(value, Text):
        value = text_at(value, value.text.replace("m", ""))
    return key, value


def _gpus(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``gpus: all``, which the Container Device Interface has a name for."""
    del service
    if not isinstance(node, Scalar) or node.text != "all":
        draft.notes.leave(node, "gpus", elsewhere("gpus"))
    else:
        described = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
        draft.entry("devices", text_at(node, "nvidia.com/gpu=all"), "gpus", described)


def _security(draft: Draft, service: Service, node: Node) -> None:
    del service
    for item in entries(node):
        text = item.text if isinstance(item, Scalar) else ""
        word, _, value = text.replace("=", ":", 1).partition(":")
        if word == "no-new-privileges" and value in ("", "true"):
            continue
        why = elsewhere("security_opt")
        if word == "seccomp" and value not in ("", "unconfined"):
            stem = os.path.basename(value).removesuffix(".json")
            why = (
                f"copy it to /etc/ssh2container/seccomp/{stem}.json and write seccomp: {{profile: {stem}}};"
                " ssh2containerctl seccomp show says what it permits"
            )
        draft.notes.leave(item, f"security_opt: {text}", why)


def _ports(draft: Draft, service: Service, node: Node) -> None:
    del service
    networking.ports(draft, node)


_LATER = (
    "image", "build", "command", "entrypoint", "environment", "env_file", "network_mode", "networks",
    "cpu_period", "extends",
)  # fmt: skip
"""Keys that are looked at together with others."""
_HANDLERS: dict[str, Handler] = {
    "hostname": _hostname,
    "user": _user,
    "userns_mode": _userns,
    "volumes": mounts.volumes,
    "tmpfs": mounts.tmpfs,
    "secrets": mounts.secrets,
    "configs": mounts.configs,
    "ports": _ports,
    "post_start": program.hooks,
    "mem_limit": limits.limit("mem_limit"),
    "memswap_limit": limits.swap,
    "cpus": limits.limit("cpus"),
    "cpu_shares": limits.limit("cpu_shares"),
    "pids_limit": limits.limit("pids_limit"),
    "cpu_quota": limits.quota,
    "shm_size": limits.shm,
    "storage_opt": limits.storage,
    "blkio_config": limits.blkio,
    "deploy": limits.deploy,
    "cap_add": _capabilities,
    "cap_drop": _capabilities_dropped,
    "devices": _devices,
    "gpus": _gpus,
    "security_opt": _security,
    "stop_grace_period": limits.grace,
}
"""Keys that mean something else in a policy, or are written in more ways."""

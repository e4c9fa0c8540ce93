"""A container that is a whole system, by what a Compose file or a call of an engine says of it: ``boot``.

podman takes a container whose command is an init for one (podman-run(1), --systemd).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import text_at
from ssh2container.admin.policy.yaml.nodes import Scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssh2container.admin.convert.draft import Draft
    from ssh2container.admin.convert.service import Service
    from ssh2container.admin.policy.yaml.nodes import Node

OPTION = "x-systemd"
"""What ``--systemd`` says: Compose has no word for it."""
_INITS = ("init", "systemd", "openrc-init", "runit-init")
"""The files that an init is."""
_STOPS_SYSTEMD = ("SIGRTMIN+3", "RTMIN+3")
"""The signal that means something to systemd alone (systemd(1), SIGNALS)."""
_OF_SYSTEM = ("/run", "/run/lock", "/tmp")
_IN_MEMORY = "a system has it in memory, as a part of storage_opt.size"
_EACH_LOGIN = (
    "each login is a system of its own, on its terminal: container_per: user makes it one that all enter"
)
_NO_WORDS = "an init is started without arguments: write into the image what they say"


def finish(draft: Draft, service: Service, words: Sequence[tuple[str, Node]], name: str) -> bool:
    """Convert what is started in ``service`` where that is a system, and return whether it is.

    words: entrypoint and command, each with its place. name: what they are called in the file.
    """
    asked = _text(service, OPTION)
    place = words[0][1] if words else service.root.get(OPTION) or service.root.get("stop_signal")
    if place is None or asked == "false" or not _is_system(service, [text for text, _ in words], asked):
        return False
    path = words[0][0] if words else ""
    whole = text_at(place, path if path.startswith("/") else "true", plain=True)
    if not words:
        name = "--systemd" if asked else "stop_signal"
    if not draft.set("boot", whole, name):
        return True
    draft.notes.differ(place, name, _EACH_LOGIN)
    if words[1:]:
        rest = " ".join(text for text, _ in words[1:])
        draft.notes.leave(words[1][1], f"{name}: {rest}", _NO_WORDS)
    if service.root.get("user") is None:
        draft.set("user", text_at(place, "root"), name)
    for target in _OF_SYSTEM:
        draft.leave(f"tmpfs.{target}", _IN_MEMORY)
    return True


def _is_system(service: Service, words: Sequence[str], asked: str) -> bool:
    if not words:
        return asked == "always" or _text(service, "stop_signal") in _STOPS_SYSTEMD
    return os.path.basename(words[0]) in _INITS or (asked == "always" and words[0].startswith("/"))


def _text(service: Service, key: str) -> str:
    node = service.root.get(key)
    return node.text if isinstance(node, Scalar) else ""

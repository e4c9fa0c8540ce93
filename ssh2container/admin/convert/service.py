"""What is converted: one container in Compose's words, whatever language it was written in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.convert.notes import Notes
from ssh2container.admin.convert.tree import Map, list_at, map_at, text_at

if TYPE_CHECKING:
    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.admin.policy.yaml.nodes import Node


class Service:
    """One container.

    name: of the service or the unit; what: what it was read from, for the policy's first line.
    root: its keys, as in a service of Compose.
    top: Compose's maps beside ``services``: volumes, networks, secrets, configs.
    project: the prefix of what Compose names itself.
    direct: keys of a policy for what Compose has no word for: (key, value, its name in the file).
    specifiers: ``%u`` and its like keep their meaning (Quadlet); else a percent sign is one.
    environment: what variables without a value are taken from.
    raw: env_file is read as ``--env-file`` of podman and docker.
    """

    def __init__(self, name: str, what: str, root: Map, source: Source) -> None:
        self.name = name
        self.what = what
        self.root = root
        self.source = source
        self.top: dict[str, Map] = {}
        self.project = ""
        self.direct: list[tuple[str, Node, str]] = []
        self.specifiers = False
        self.environment: dict[str, str] = {}
        self.raw = False
        self.notes = Notes(source)

    def add(self, key: str, node: Node) -> None:
        """Add an entry to the list ``key``."""
        there = self.root.get(key)
        if there is None:
            self.set(key, list_at(node, [node]))
        else:
            there.items.append(node)  # type: ignore[attr-defined]

    def set(self, key: str, node: Node) -> None:
        """Set ``key``, as the last one who says it."""
        self.root.pairs = [pair for pair in self.root.pairs if pair[0].text != key]
        self.root.pairs.append((text_at(node, key), node))

    def unset(self, key: str) -> None:
        """Forget what was said of ``key`` so far."""
        self.root.pairs = [pair for pair in self.root.pairs if pair[0].text != key]

    def put(self, key: str, name: str, node: Node) -> None:
        """Set an entry of the map ``key``."""
        there = self.root.get(key)
        if not isinstance(there, Map):
            there = map_at(node)
            self.set(key, there)
        there.pairs = [pair for pair in there.pairs if pair[0].text != name]
        there.pairs.append((text_at(node, name), node))

    def literal(self, text: str) -> str:
        """Return ``text`` as a policy says it where specifiers are replaced."""
        return text if self.specifiers else text.replace("%", "%%")

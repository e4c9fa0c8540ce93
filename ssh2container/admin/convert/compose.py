"""Reading Compose files: variables, includes, what services extend."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ssh2container.admin.convert import tree, variables
from ssh2container.admin.convert.service import Service
from ssh2container.admin.convert.tree import List, Map, Text, entries, error, text_at
from ssh2container.admin.policy.yaml import files
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem, did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping as Values

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
BESIDE = ("volumes", "networks", "secrets", "configs")
"""Maps at the top of a file that services refer to."""
_REPLACED = ("command", "entrypoint", "healthcheck", "extends")
_DEEPEST = 8
_SERVICE = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}"
_PROJECT = "COMPOSE_PROJECT_NAME"


def services(path: str, environment: Values[str, str]) -> list[Service]:
    """Return the services of a Compose file, in its order.

    environment: what variables stand for, before what ``.env`` beside the file says.

    Raises PolicyError for a file that is none, or cannot be read.
    """
    project = _Project(path, environment, 0)
    found = []
    for name, root in project.services.items():
        whole = project.extended(name, root, ())
        service = Service(name, f"{path}, service {name}", whole, project.source)
        service.top = {key: Map(1, 1, project.source, top.values()) for key, top in project.beside.items()}
        service.project = project.name
        service.environment = dict(project.variables.values)
        inside = {id(node) for node in tree.walk(whole)}
        for node, variable in project.variables.unset:
            if id(node) in inside:
                service.notes.differ(node, f"${variable}", "it has no value here and no default: nothing")
        found.append(service)
    return found


class _Project:
    """One file with all it includes."""

    def __init__(self, path: str, environment: Values[str, str], depth: int, env_file: str = "") -> None:
        self.source = read(path)
        self.depth = depth
        directory = os.path.dirname(os.path.abspath(path))
        known: dict[str, str] = {}
        beside = env_file or os.path.join(directory, ".env")
        if env_file or os.path.exists(beside):
            found = variables.read_file(read(beside), environment)
            known = {name: value for name, value in found.items() if value is not None}
        self.variables = variables.Variables({**known, **environment})
        self.root = tree.parse(self.source)
        named = self.root.get("name")
        default = "".join(c for c in os.path.basename(directory).lower() if c.isalnum() or c in "-_")
        self.name = self.variables.values.get(_PROJECT, "")
        if not self.name and isinstance(named, Text):
            self.variables.expand(named)
            self.name = named.text
        self.name = self.name or default.lstrip("-_")
        self.variables.values.setdefault(_PROJECT, self.name)
        for node in tree.walk(self.root):
            if node is not named:
                self.variables.expand(node)
        self.services: dict[str, Map] = {}
        self.beside: dict[str, dict[str, tuple[Scalar, Node]]] = {key: {} for key in BESIDE}
        for included in entries(self.root.get("include")):
            self._include(included)
        self._take(self.root)

    def _take(self, root: Map) -> None:
        """Take what a file says itself."""
        listed = root.get("services")
        if listed is None and not self.services:
            raise error(root, "there are no services", "a map of services", _meant(root))
        if listed is not None and not isinstance(listed, Map):
            raise error(listed, f"services is {listed.found}", "a map of services")
        for key, value in listed.pairs if listed is not None else ():
            if not isinstance(value, Map):
                raise error(value, f"the service {quoted(key.text)} is {value.found}", "a map of its keys")
            self._add(key, value)
        for kind, known in self.beside.items():
            here = root.get(kind)
            if isinstance(here, Map):
                known.update({key.text: (key, value) for key, value in here.pairs})

    def _add(self, key: Scalar, value: Map) -> None:
        if not re.fullmatch(_SERVICE, key.text):
            raise error(key, f"the name {quoted(key.text)} of a service", "letters, digits, _, . and -")
        if key.text in self.services:
            raise error(key, f"the service {quoted(key.text)} is in an included file, too", "one of them")
        self.services[key.text] = value

    def _include(self, node: Node) -> None:
        env_file = ""
        paths: list[Node] = [node]
        if isinstance(node, Map):
            unknown = [key for key, _ in node.pairs if key.text not in ("path", "env_file")]
            if unknown:
                found = f"{quoted(unknown[0].text)} of an include"
                raise error(unknown[0], found, "path, env_file", "convert that file by itself")
            paths = entries(node.get("path"))
            named = node.get("env_file")
            if named is not None:
                env_file = self._path(named)
        for one in paths:
            if self.depth >= _DEEPEST:
                raise error(one, f"more than {_DEEPEST} files that include each other")
            other = _Project(self._path(one), self.variables.values, self.depth + 1, env_file)
            self.variables.unset += other.variables.unset
            for name, root in other.services.items():
                self._add(text_at(root, name), other.extended(name, root, ()))
            for kind, known in other.beside.items():
                self.beside[kind].update(known)

    def _path(self, node: Node) -> str:
        """Return the file that a value names: it is sought beside the file that the value stands in."""
        if not isinstance(node, Text) or not node.text:
            raise error(node, f"{node.found} instead of a path", "the path of a file")
        return os.path.join(os.path.dirname(os.path.abspath(node.source.path)), node.text)

    def extended(self, name: str, root: Map, seen: tuple[tuple[str, str], ...]) -> Map:
        """Return a service with what it extends."""
        node = root.get("extends")
        if node is None:
            return root
        here = (self.source.path, name)
        if here in seen or len(seen) >= _DEEPEST:
            raise error(node, f"the service {quoted(name)} extends itself", "a service that does not")
        wanted = node.get("service") if isinstance(node, Map) else node
        if not isinstance(wanted, Text):
            raise error(node, "extends names no service", "a service, or a map with file and service")
        file = node.get("file") if isinstance(node, Map) else None
        other = self
        if file is not None:
            if self.depth >= _DEEPEST:
                raise error(node, f"more than {_DEEPEST} files that extend each other")
            other = _Project(self._path(file), self.variables.values, self.depth + 1)
            self.variables.unset += other.variables.unset
        base = other.services.get(wanted.text)
        if base is None:
            hint = did_you_mean(wanted.text, other.services)
            raise error(wanted, f"there is no service {quoted(wanted.text)}", ", ".join(other.services), hint)
        merged = _merged(other.extended(wanted.text, base, (*seen, here)), root)
        merged.pairs = [pair for pair in merged.pairs if pair[0].text != "extends"]
        return merged


def read(path: str, *, tabs: bool = False) -> files.Source:
    """Read a file that is converted. Raises PolicyError also where there is none."""
    try:
        return files.read_any(path, tabs=tabs)
    except FileNotFoundError:
        hint = ""
        if os.path.isdir(path):
            hint = next((f"{path}/{name}" for name in NAMES if os.path.exists(f"{path}/{name}")), "")
        raise PolicyError([Problem(path, 0, 0, "there is no such file", hint=hint)]) from None


def _meant(root: Map) -> str:
    if root.get("image") is not None:
        return "write the keys of a container below services: and a name"
    return did_you_mean("services", [key.text for key, _ in root.pairs])


def _merged(base: Map, own: Map) -> Map:
    """Return ``base`` with ``own`` over it: maps merge, lists grow, all else replaces."""
    pairs = {key.text: (key, value) for key, value in base.pairs}
    for key, value in own.pairs:
        below = pairs[key.text][1] if key.text in pairs else None
        pairs[key.text] = (key, value if below is None else _over(key.text, below, value))
    return Map(own.line, own.column, own.source, pairs.values())


def _over(key: str, below: Node, value: Node) -> Node:
    if key in _REPLACED:
        return value
    if key == "environment":
        below, value = as_map(below), as_map(value)
    if isinstance(below, Map) and isinstance(value, Map):
        return _merged(below, value)
    if isinstance(below, List) and isinstance(value, List):
        named = {_name(key, item): item for item in (*below.items, *value.items)}
        return List(value.line, value.column, value.source, named.values())
    return value


def _name(key: str, item: Node) -> str:
    """Return what makes two entries of a list the same one."""
    if isinstance(item, Mapping):
        fields = {name.text: value.text for name, value in item.pairs if isinstance(value, Scalar)}
        return fields.get("target") or repr(sorted(fields.items()))
    text = item.text if isinstance(item, Scalar) else repr(id(item))
    if key in ("volumes", "devices"):
        parts = text.split(":")
        return parts[1] if len(parts) > 1 else parts[0]
    return text


def as_map(node: Node) -> Node:
    """Return a list of NAME=VALUE as the map that it means; a map as it is."""
    if not isinstance(node, List):
        return node
    pairs: list[tuple[Scalar, Node]] = []
    for item in node.items:
        if not isinstance(item, Text):
            raise error(item, f"{item.found} in a list of variables", "NAME=VALUE")
        name, equals, value = item.text.partition("=")
        pairs.append((text_at(item, name), text_at(item, value, plain=not equals)))
    return Map(node.line, node.column, node.source, pairs)

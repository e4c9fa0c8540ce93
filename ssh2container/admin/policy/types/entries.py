"""Kinds of lists and maps whose entries merge one by one, each under a key of its own."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import re

from ssh2container.admin.policy.types import lists
from ssh2container.admin.policy.types.kinds import INVALID, Entries, Kind, Report, flow
from ssh2container.admin.policy.types.numbers import Count
from ssh2container.admin.policy.types.scalars import Text
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar, Sequence
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENVIRONMENT_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,254}"


class Fields:
    """A map with fixed keys as one entry of a list: reads all of them, reports every error."""

    def __init__(self, kinds: dict[str, Kind], required: tuple[str, ...], remarks: dict[str, str]) -> None:
        self.kinds = kinds
        self.required = required
        self.remarks = remarks

    def read(self, node: Mapping, report: Report) -> dict[str, Any] | None:
        """Return key -> value for the keys that are there, or None after reporting."""
        found: dict[str, Any] = {}
        for key, value in node.pairs:
            if key.text in self.remarks:
                report.fail(key, f"{quoted(key.text)} is not possible here", hint=self.remarks[key.text])
                found[key.text] = INVALID
            elif key.text not in self.kinds:
                known = ", ".join(self.kinds)
                hint = did_you_mean(key.text, self.kinds)
                report.fail(key, f"unknown key {quoted(key.text)}", known, hint)
                found[key.text] = INVALID
            else:
                found[key.text] = self.kinds[key.text].read(value, report)
        missing = [name for name in self.required if name not in found]
        if missing:
            report.fail(node, f"{' and '.join(missing)} missing", "a map with " + ", ".join(self.kinds))
            return None
        return None if any(value is INVALID for value in found.values()) else found

    def schema(self) -> dict[str, Any]:
        """Return the map as JSON Schema."""
        return {
            "type": "object",
            "additionalProperties": False,
            "required": list(self.required),
            "properties": {name: kind.schema() for name, kind in self.kinds.items()},
        }


class Items(Entries):
    """A list whose entries are read by ``entry``; a later file appends to it.

    maps: an entry may be a map.
    """

    name = "list"
    maps = False

    def read(self, node: Node, report: Report) -> Any:
        items = lists.entries(node, report, self.allowed, maps=self.maps)
        if items is None:
            return INVALID
        entries: dict[str, tuple[Any, Node]] = {}
        for item in items:
            value = self.entry(item, report)
            if value is INVALID:
                continue
            key = self.key(value)
            if key in entries:
                found = self.repeated(key, entries[key][1], item)
                report.fail(item, found, hint="keep one of them")
                continue
            entries[key] = (value, item)
        return entries

    def entry(self, node: Node, report: Report) -> Any:
        """Return one entry's value or INVALID."""
        raise NotImplementedError

    def key(self, value: Any) -> str:
        """Return what makes an entry the same as one of a lower layer."""
        return str(value)

    def repeated(self, key: str, first: Node, second: Node) -> str:
        """Say that two entries of one list have the same key."""
        return f"{quoted(key)} is listed twice"

    def entry_schema(self) -> dict[str, Any]:
        """Return one entry as JSON Schema."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        entry = self.entry_schema()
        return {"anyOf": [entry, {"type": "array", "items": entry}]}


class ListOf(Items):
    """A list of single values of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name = f"list of {kind.name}s"
        self.allowed = f"one, or a list, of: {kind.allowed}"

    def entry(self, node: Node, report: Report) -> Any:
        return self.kind.read(node, report)

    def write_entry(self, key: str, value: Any) -> str:
        return self.kind.write(value)

    def entry_schema(self) -> dict[str, Any]:
        return self.kind.schema()


class ImageNames(ListOf):
    """A list of images, of which there is one at least."""

    def read(self, node: Node, report: Report) -> Any:
        found = super().read(node, report)
        if found == {} and isinstance(node, Sequence) and not node.items:
            return report.fail(
                node, "an empty list", self.allowed, "a session has an image; write image: host"
            )
        return found

    def schema(self) -> dict[str, Any]:
        entry = self.entry_schema()
        return {"anyOf": [entry, {"type": "array", "items": entry, "minItems": 1}]}


class Environment(Entries):
    """Compose's environment, as a map or a list; a key without a value is taken from the client."""

    name = "map of variables"
    allowed = "a map NAME: VALUE, NAME=VALUE, or a list of NAME=VALUE"

    def read(self, node: Node, report: Report) -> Any:
        if isinstance(node, Mapping):
            pairs: list[tuple[str, Node, Node]] = [(key.text, value, key) for key, value in node.pairs]
        else:
            items = lists.entries(node, report, self.allowed)
            if items is None:
                return INVALID
            pairs = []
            for item in items:
                text = self.text(item, report)
                if text is not None:
                    name, equals, rest = text.partition("=")
                    line, column = item.line, item.column
                    pairs.append((name, Scalar(rest, line, column, plain=not equals), item))
        entries: dict[str, tuple[Any, Node]] = {}
        for name, value, place in pairs:
            if not re.fullmatch(ENVIRONMENT_NAME, name):
                report.fail(place, f"the variable name {quoted(name)}", "letters, digits and _")
            elif name in entries:
                report.fail(place, f"{quoted(name)} is listed twice", hint="keep one of them")
            else:
                text = self._value(value, report)
                if text is not INVALID:
                    entries[name] = (text, place)
        return entries

    def _value(self, node: Node, report: Report) -> Any:
        if isinstance(node, Scalar) and node.plain and not node.text:
            return None
        return Text("a text", numeric=True, limit=65536).read(node, report)

    def write_entry(self, key: str, value: str | None) -> str:
        name = flow(key)
        return f"{name}:" if value is None else f"{name}: {flow(value)}"

    def write(self, value: Any) -> str:
        return "{" + ", ".join(self.write_entry(name, text) for name, text in value.items()) + "}"

    def schema(self) -> dict[str, Any]:
        value = {"type": ["string", "integer", "null"], "maxLength": 65536}
        as_map = {
            "type": "object",
            "propertyNames": {"pattern": f"^{ENVIRONMENT_NAME}$"},
            "additionalProperties": value,
        }
        item = {"type": "string", "pattern": f"^{ENVIRONMENT_NAME}(=[\\s\\S]*)?$"}
        return {"anyOf": [as_map, item, {"type": "array", "items": item}]}


class Ulimits(Entries):
    """Compose's ulimits: NAME: NUMBER, or NAME: {soft: NUMBER, hard: NUMBER}; -1 is unlimited."""

    name = "map of limits"
    names = (
        "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue",
        "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
    )  # fmt: skip
    allowed = "a map of " + ", ".join(names)

    def __init__(self) -> None:
        self.number = Count(-1, 2**63 - 1)
        self.number.allowed = "a whole number from 0, or -1 for unlimited"
        self.pair = Fields({"soft": self.number, "hard": self.number}, ("soft", "hard"), {})

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            return report.fail(node, f"{node.found} instead of a map", self.allowed)
        entries: dict[str, tuple[Any, Node]] = {}
        for key, value in node.pairs:
            if key.text not in self.names:
                hint = did_you_mean(key.text, self.names)
                report.fail(key, f"unknown limit {quoted(key.text)}", ", ".join(self.names), hint)
                continue
            limit = self._limit(value, report)
            if limit is not INVALID:
                entries[key.text] = (limit, key)
        return entries

    def _limit(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            number = self.number.read(node, report)
            return INVALID if number is INVALID else (number, number)
        found = self.pair.read(node, report)
        if found is None:
            return INVALID
        soft, hard = found["soft"], found["hard"]
        if hard != -1 and (soft == -1 or soft > hard):
            return report.fail(node, f"soft {soft} is above hard {hard}", "soft up to hard")
        return (soft, hard)

    def write_entry(self, key: str, value: tuple[int, int]) -> str:
        soft, hard = value
        return f"{key}: {soft}" if soft == hard else f"{key}: {{soft: {soft}, hard: {hard}}}"

    def write(self, value: Any) -> str:
        return "{" + ", ".join(self.write_entry(name, limit) for name, limit in value.items()) + "}"

    def schema(self) -> dict[str, Any]:
        limit = {"anyOf": [self.number.schema(), self.pair.schema()]}
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(self.names, limit),
        }

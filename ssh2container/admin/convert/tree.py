"""YAML as Compose reads it: with anchors and merge keys, written out, and every value with its file and line.

A policy has neither (:mod:`ssh2container.admin.policy.yaml.nodes`), as nobody can read at a line what it
says. What comes from here is a tree of the same nodes in which all is written out, bounded in size and
depth before anything looks at it ("billion laughs").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.policy.yaml import nodes
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar, Sequence
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    import yaml

    from ssh2container.admin.policy.yaml.files import Source

MOST_NODES = 50_000
"""Of a file whose aliases are written out; the longest Compose files in the field have a tenth of it."""
DEEPEST = 40
MERGE = "<<"
_NULLS = ("", "~", "null", "Null", "NULL")


class Text(Scalar):
    """A single value and where it comes from.

    ``plain`` is left to nothing (an empty text), true and false; all else is a text, whatever YAML would
    make of it.
    """

    __slots__ = ("source",)

    def __init__(self, text: str, line: int, column: int, source: Source, *, plain: bool = False) -> None:
        super().__init__(text, line, column, plain=plain)
        self.source = source


class List(Sequence):
    """A list and where it comes from."""

    __slots__ = ("source",)

    def __init__(self, line: int, column: int, source: Source, items: Iterable[Node] = ()) -> None:
        super().__init__(line, column)
        self.source = source
        self.items = list(items)


class Map(Mapping):
    """A map and where it comes from."""

    __slots__ = ("source",)

    def __init__(
        self, line: int, column: int, source: Source, pairs: Iterable[tuple[Scalar, Node]] = ()
    ) -> None:
        super().__init__(line, column)
        self.source = source
        self.pairs = list(pairs)

    def get(self, name: str) -> Node | None:
        """Return the value of a key, None where there is none or it is nothing."""
        found = next((value for key, value in self.pairs if key.text == name), None)
        return None if found is None or is_nothing(found) else found


def source_of(node: Node) -> Source:
    """Return the file that ``node`` stands in."""
    if not isinstance(node, Text | List | Map):
        raise TypeError(node)
    return node.source


def is_nothing(node: Node) -> bool:
    """Tell whether a key has no value, or null."""
    return isinstance(node, Scalar) and node.plain and node.text == ""


def text_at(node: Node, text: str, *, plain: bool = False) -> Text:
    """Return ``text`` as if it stood where ``node`` does."""
    return Text(text, node.line, node.column, source_of(node), plain=plain)


def map_at(node: Node, **values: Node) -> Map:
    """Return a map as if it stood where ``node`` does."""
    pairs = [(text_at(node, name), value) for name, value in values.items()]
    return Map(node.line, node.column, source_of(node), pairs)


def list_at(node: Node, items: Iterable[Node]) -> List:
    """Return a list as if it stood where ``node`` does."""
    return List(node.line, node.column, source_of(node), items)


def entries(node: Node | None) -> list[Node]:
    """Return the entries of a list, or the one that stands in its place."""
    if node is None or is_nothing(node):
        return []
    return node.items if isinstance(node, Sequence) else [node]


def walk(node: Node) -> Iterable[Text]:
    """Yield the single values in ``node``; keys are none."""
    if isinstance(node, Text):
        yield node
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from walk(item)
    elif isinstance(node, Mapping):
        for _, value in node.pairs:
            yield from walk(value)


def parse(source: Source) -> Map:
    """Return the root of a file. Raises PolicyError when it is not one map of YAML, or too large."""
    tree = _Anchored(source).built()
    if tree.problems:
        raise PolicyError(tree.problems)
    return _Copy(source).whole(tree.root)


def error(node: Node, message: str, allowed: str = "", hint: str = "") -> PolicyError:
    """Return what stops a conversion, at the place of ``node``."""
    source = source_of(node)
    text = source.line(node.line)
    return PolicyError([Problem(source.path, node.line, node.column, message, allowed, hint, text)])


class _Anchored(nodes.Builder):
    depth = 32
    single = "one Compose file is one document"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.anchors: dict[str, Node] = {}

    def _anchor(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, node: Node) -> None:
        if event.anchor is not None:
            self.anchors[event.anchor] = node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        name = event.anchor or ""
        node = self.anchors.get(name)
        if node is not None and not any(node is outer for outer in self.open):
            return node
        what = "nothing before it has that name" if node is None else "it stands in what it names"
        self._problem(event, f"the alias {quoted('*' + name)}: {what}", "write the value out")
        return Scalar("", *self._place(event), plain=False)


class _Copy:
    """Writes a tree out: each alias becomes a copy of its own, and merge keys what they bring."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.left = MOST_NODES

    def whole(self, root: Mapping) -> Map:
        return Map(root.line, root.column, self.source, self._pairs(root, 1))

    def copy(self, node: Node, depth: int) -> Text | List | Map:
        self.left -= 1
        place = node.line, node.column, self.source
        if self.left < 0 or depth > DEEPEST:
            raise error(
                Text("", *place),
                f"more than {MOST_NODES} values, or {DEEPEST} levels, once its aliases are written out",
            )
        if isinstance(node, Sequence):
            return List(*place, [self.copy(item, depth + 1) for item in node.items])
        if isinstance(node, Mapping):
            return Map(*place, self._pairs(node, depth + 1))
        return self._text(node) if isinstance(node, Scalar) else Text("", *place, plain=True)

    def _text(self, node: Scalar) -> Text:
        place = node.line, node.column, self.source
        if node.plain and node.text in _NULLS:
            return Text("", *place, plain=True)
        word = node.text.lower() if node.plain else ""
        return Text(word, *place, plain=True) if word in ("true", "false") else Text(node.text, *place)

    def _pairs(self, node: Mapping, depth: int) -> list[tuple[Scalar, Node]]:
        pairs: dict[str, tuple[Scalar, Node]] = {}
        merged: list[Node] = []
        for key, value in node.pairs:
            if value.tag == nodes.RESET:
                continue
            copied = self.copy(value, depth)
            if key.plain and key.text == MERGE:
                merged += entries(copied)
            else:
                pairs[key.text] = (Text(key.text, key.line, key.column, self.source), copied)
        for one in merged:
            if not isinstance(one, Map):
                raise error(one, f"{one.found} as a merge key ({MERGE})", "a map, or a list of maps")
            for key, value in one.pairs:
                pairs.setdefault(key.text, (key, value))
        return list(pairs.values())

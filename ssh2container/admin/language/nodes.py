"""A policy file as a tree whose every node knows its line and column.

The tree is built from PyYAML's events, not by its constructor: nothing is ever resolved to
another type than text behind the author's back, an anchor or a foreign tag never becomes a
value, and depth and size are bounded while reading (CVE-2013-6393, "billion laughs").
"""

from __future__ import annotations

import yaml

from ssh2container.admin.language.problems import PolicyError, Problem, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.language.reading import Source

DEPTH_LIMIT = 16
"""The deepest key of the language stands at depth 5."""

OVERRIDE = "!override"
RESET = "!reset"

# libyaml is some ten times faster than the Python parser, which `check` of a thousand files notices.
_PARSER: type = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class Node:
    """A place in a policy file.

    tag: OVERRIDE, RESET or "".
    line, column: counted from 1.
    """

    __slots__ = ("column", "line", "tag")
    found = "nothing"

    def __init__(self, line: int, column: int, tag: str = "") -> None:
        self.line = line
        self.column = column
        self.tag = tag


class Scalar(Node):
    """A text; ``plain`` when it stands without quotes, so that YAML would give it a type."""

    __slots__ = ("plain", "text")

    def __init__(self, text: str, line: int, column: int, tag: str = "", *, plain: bool = True) -> None:
        super().__init__(line, column, tag)
        self.text = text
        self.plain = plain

    @property
    def found(self) -> str:  # type: ignore[override]
        """A key without a value has one without text."""
        return "a single value" if self.text or not self.plain else "nothing"


class Sequence(Node):
    """A list."""

    __slots__ = ("items",)
    found = "a list"

    def __init__(self, line: int, column: int, tag: str = "") -> None:
        super().__init__(line, column, tag)
        self.items: list[Node] = []


class Mapping(Node):
    """A map: pairs of a key and a value, in the order of the file."""

    __slots__ = ("pairs",)
    found = "a map"

    def __init__(self, line: int, column: int, tag: str = "") -> None:
        super().__init__(line, column, tag)
        self.pairs: list[tuple[Scalar, Node]] = []


class Tree:
    """The root map of a file, and the problems that were found while it was built."""

    __slots__ = ("problems", "root")

    def __init__(self, root: Mapping, problems: list[Problem]) -> None:
        self.root = root
        self.problems = problems


def parse(source: Source) -> Tree:
    """Build the tree of one file.

    Anchors, tags other than ours and duplicate keys are collected in the tree's problems.
    Raises PolicyError when the text is no YAML or no single map.
    """
    builder = _Builder(source)
    try:
        for event in yaml.parse(source.text, Loader=_PARSER):
            builder.add(event)
    except yaml.YAMLError as error:
        raise PolicyError([*builder.problems, _syntax(source, error)]) from None
    return builder.tree()


def walk(node: Node) -> Iterator[Node]:
    """Yield ``node`` and everything below it."""
    yield node
    if isinstance(node, Sequence):
        for item in node.items:
            yield from walk(item)
    elif isinstance(node, Mapping):
        for key, value in node.pairs:
            yield key
            yield from walk(value)


class _Builder:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.documents = 0
        self.root: Node | None = None
        self.open: list[Sequence | Mapping] = []
        self.keys: list[Scalar | None] = []
        # A collection as a key is skipped as a whole: it has no name that a message could use.
        self.seen: list[set[str]] = []

    def add(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._document(event)
        elif isinstance(event, yaml.AliasEvent):
            self._problem(event, "an alias (*)", "write the value out")
            self._put(Scalar("", *self._place(event), plain=False))
        elif isinstance(event, yaml.ScalarEvent):
            plain = event.style is None or event.style == ""
            self._put(Scalar(event.value, *self._place(event), self._tag(event), plain=plain))
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open(event, Sequence(*self._place(event), self._tag(event)))
        elif isinstance(event, yaml.MappingStartEvent):
            self._open(event, Mapping(*self._place(event), self._tag(event)))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()

    def tree(self) -> Tree:
        root = self.root
        if root is None or (isinstance(root, Scalar) and root.plain and root.text == ""):
            root = Mapping(1, 1)
        if not isinstance(root, Mapping):
            message = f"the file is {root.found}"
            self.problems.append(
                Problem(self.source.path, root.line, root.column, message, "key: value lines",
                        text=self.source.line(root.line))
            )  # fmt: skip
            raise PolicyError(self.problems)
        return Tree(root, self.problems)

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        self.documents += 1
        if self.documents > 1:
            self._problem(event, "a second document (---) in the file", "one policy a file")
            raise PolicyError(self.problems)
        if event.version or event.tags:
            self._problem(event, "a YAML directive (%)", "remove the line")

    def _tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> str:
        if event.anchor is not None:
            self._problem(event, f"an anchor ({quoted('&' + event.anchor)})", "write the value out")
        tag: str | None = event.tag
        if tag is None:
            return ""
        if tag not in (OVERRIDE, RESET):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(event, f"the tag {quoted(shown)}", f"the tags are {OVERRIDE} and {RESET}")
            return ""
        return tag

    def _open(self, event: yaml.CollectionStartEvent, node: Sequence | Mapping) -> None:
        if len(self.open) >= DEPTH_LIMIT:
            self._problem(event, f"more than {DEPTH_LIMIT} levels of nesting")
            raise PolicyError(self.problems)
        self._put(node)
        self.open.append(node)
        self.keys.append(None)
        self.seen.append(set())

    def _close(self) -> None:
        self.open.pop()
        self.keys.pop()
        self.seen.pop()

    def _put(self, node: Node) -> None:
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
            return
        key = self.keys[-1]
        if key is None:
            self.keys[-1] = self._key(node)
            return
        self.keys[-1] = None
        if key.text in self.seen[-1]:
            self._problem(key, f"the key {quoted(key.text)} stands here a second time", "keep one of them")
            return
        self.seen[-1].add(key.text)
        parent.pairs.append((key, node))

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar):
            if node.tag:
                self._problem(node, f"a tag ({node.tag}) at a key", "put it before the value")
            return node
        hint = 'specifiers are written with a percent sign: "use %u", not {u}'
        self._problem(node, f"{node.found} where a key belongs", hint)
        raise PolicyError(self.problems)

    def _problem(self, at: yaml.Event | Node, message: str, hint: str = "") -> None:
        line, column = (at.line, at.column) if isinstance(at, Node) else self._place(at)
        text = self.source.line(line)
        self.problems.append(Problem(self.source.path, line, column, message, hint=hint, text=text))

    def _place(self, event: yaml.Event) -> tuple[int, int]:
        mark = event.start_mark
        return _within(self.source, mark.line + 1, mark.column + 1) if mark else (1, 1)


def _within(source: Source, line: int, column: int) -> tuple[int, int]:
    """Return a place that the file has: libyaml counts its end as a line of its own."""
    last = source.text.count("\n") + 1
    return (line, column) if line <= last else (last, len(source.line(last)) + 1)


def _syntax(source: Source, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = _within(source, mark.line + 1, mark.column + 1) if mark else (0, 0)
    said = getattr(error, "problem", None) or str(error).partition("\n")[0]
    context = getattr(error, "context", None)
    message = f"not YAML: {context}, {said}" if context else f"not YAML: {said}"
    text = source.line(line)
    hint = ""
    if "{" in text:
        hint = "specifiers are written %u, not {u}"
    elif "%" in text[column - 1 : column]:
        hint = "put a value that starts with % in quotes"
    return Problem(source.path, line, column, message, hint=hint, text=text)

"""A policy file as a tree whose every node knows its line and column.

The tree is built from PyYAML's events, not by its constructor: nothing is ever resolved to
another type than text behind the author's back, an anchor or a foreign tag never becomes a
value, and depth and size are bounded while reading (CVE-2013-6393, "billion laughs").
"""

from __future__ import annotations

import re

import yaml

from ssh2container.admin.policy.yaml.problems import PolicyError, Problem, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.policy.yaml.files import Source

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
    return Builder(source).built()


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


class Builder:
    """Makes a tree of the events of YAML, and collects what a policy may not have."""

    depth = DEPTH_LIMIT
    single = "one policy a file"

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.documents = 0
        self.root: Node | None = None
        self.open: list[Sequence | Mapping] = []
        self.keys: list[Scalar | None] = []
        # A collection as a key is skipped as a whole: it has no name that a message could use.
        self.seen: list[set[str]] = []

    def built(self) -> Tree:
        """Return the tree of the whole file. Raises PolicyError when it is no YAML or no single map."""
        try:
            for event in yaml.parse(self.source.text, Loader=_PARSER):
                self._add(event)
        except yaml.YAMLError as error:
            raise PolicyError([*self.problems, _syntax(self.source, error)]) from None
        return self._tree()

    def _add(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._document(event)
        elif isinstance(event, yaml.AliasEvent):
            self._put(self._alias(event))
        elif isinstance(event, yaml.ScalarEvent):
            plain = event.style is None or event.style == ""
            node = Scalar(event.value, *self._place(event), self._tag(event), plain=plain)
            self._anchor(event, node)
            self._put(node)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open(event, Sequence(*self._place(event), self._tag(event)))
        elif isinstance(event, yaml.MappingStartEvent):
            self._open(event, Mapping(*self._place(event), self._tag(event)))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()

    def _alias(self, event: yaml.AliasEvent) -> Node:
        self._problem(event, "an alias (*)", f"write the value out; {_quotes('*')}")
        return Scalar("", *self._place(event), plain=False)

    def _anchor(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, node: Node) -> None:
        """Take note of the name that ``node`` has, if it has one."""
        del node
        if event.anchor is not None:
            self._problem(
                event, f"an anchor ({quoted('&' + event.anchor)})", f"write the value out; {_quotes('&')}"
            )

    def _tree(self) -> Tree:
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
            self._problem(event, "a second document (---) in the file", self.single)
            raise PolicyError(self.problems)
        if event.version or event.tags:
            self._problem(event, "a YAML directive (%)", "remove the line")

    def _tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> str:
        tag: str | None = event.tag
        if tag is None:
            return ""
        if tag not in (OVERRIDE, RESET):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(
                event, f"the tag {quoted(shown)}", f"the tags are {OVERRIDE} and {RESET}; {_quotes('!')}"
            )
            return ""
        return tag

    def _open(self, event: yaml.CollectionStartEvent, node: Sequence | Mapping) -> None:
        if len(self.open) >= self.depth:
            self._problem(event, f"more than {self.depth} levels of nesting")
            raise PolicyError(self.problems)
        self._anchor(event, node)
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


def _quotes(sign: str) -> str:
    return f"put a text that starts with {sign} in quotes"


def _remedy(rest: str, text: str, said: str) -> str:
    """Return what to do about a syntax error. rest: the line ``text`` from the error on."""
    word = re.match(r"[^\s,\]}#]+", rest)
    if word and rest[0] in "%@`*&!|>":
        return f'{_quotes(rest[0])}: "{word[0]}"' if '"' not in word[0] else _quotes(rest[0])
    if re.search(r"\{\w\}", text):
        return "specifiers are written %u, not {u}; put a text that starts with { in quotes"
    if "flow mapping" in said or "'}'" in said:
        return "close the { with }, or put a text that starts with { in quotes"
    if "flow sequence" in said or "']'" in said:
        return "close the [ with ], or put a text that starts with [ in quotes"
    if said.startswith("mapping values") and re.search(r":\s.*:(\s|$)", text):
        return "put a text with a colon and a space in it in quotes"
    return ""


def _syntax(source: Source, error: yaml.YAMLError) -> Problem:
    said = getattr(error, "problem", None) or str(error).partition("\n")[0]
    context = getattr(error, "context", None)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if context in ("while scanning an alias", "while scanning an anchor", "while scanning a tag"):
        # The sign itself, not what follows it.
        mark = getattr(error, "context_mark", None) or mark
    line, column = _within(source, mark.line + 1, mark.column + 1) if mark else (0, 0)
    message = f"not YAML: {context}, {said}" if context else f"not YAML: {said}"
    text = source.line(line)
    hint = _remedy(text[column - 1 :], text, said)
    return Problem(source.path, line, column, message, hint=hint, text=text)

"""The base of all kinds of values: one object reads, describes, writes and schematises a kind."""

# ruff: noqa: ANN401 - values of any type; what each method does stands in kinds.Kind  # noqa: RUF100

from __future__ import annotations

import re

import yaml

from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar
from ssh2container.admin.policy.yaml.problems import ERROR, Problem, quoted, shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ssh2container.admin.policy.yaml.files import Source

INVALID: Any = object()
"""What a kind returns after it has reported a problem."""

BRACES_HINT = "specifiers are written with a percent sign: use %u, not {u}"


class Report:
    """Collects the problems of one file."""

    __slots__ = ("problems", "source")

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems

    def fail(self, node: Node, message: str, allowed: str = "", hint: str = "", severity: str = ERROR) -> Any:
        """Note a problem at ``node`` and return INVALID."""
        self.problems.append(
            Problem(
                self.source.path,
                node.line,
                node.column,
                message,
                allowed,
                hint,
                self.source.line(node.line),
                severity,
            )
        )
        return INVALID


class Kind:
    """What values a setting takes.

    allowed: the values in words, for messages and the reference.
    name: the kind in one or two words, for the reference table.
    """

    name = "value"
    allowed = ""
    collection = False

    def read(self, node: Node, report: Report) -> Any:
        """Return the value in the policy's unit, or INVALID after reporting why not."""
        raise NotImplementedError

    def write(self, value: Any) -> str:
        """Return ``value`` as an administrator would write it in YAML."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """Return the kind as JSON Schema (draft 7)."""
        raise NotImplementedError

    def scalar(self, node: Node, report: Report) -> Scalar | None:
        """Return ``node`` when it is a single value, else report and return None."""
        if isinstance(node, Scalar):
            return node
        hint = BRACES_HINT if isinstance(node, Mapping) and _looks_like_braces(node) else ""
        report.fail(node, f"{node.found} instead of a single value", self.allowed, hint)
        return None

    def text(self, node: Node, report: Report) -> str | None:
        """Return the text of ``node``, refusing what YAML readers take for something else."""
        scalar = self.scalar(node, report)
        if scalar is None:
            return None
        trap = surprise(scalar)
        if trap:
            report.fail(
                node, f"{shortened(scalar.text) or 'nothing'} {trap}", self.allowed, _in_quotes(scalar.text)
            )
            return None
        if "\0" in scalar.text:
            report.fail(node, "a NUL character", self.allowed)
            return None
        return scalar.text


class Entries(Kind):
    """A kind that holds several values under keys of their own, which merge one by one."""

    collection = True

    def read(self, node: Node, report: Report) -> dict[str, tuple[Any, Node]] | Any:
        """Return key -> (value, node); invalid entries are reported and left out."""
        raise NotImplementedError

    def write_entry(self, key: str, value: Any) -> str:
        """Return one entry as it stands in YAML after the dash or as ``key: value``."""
        raise NotImplementedError

    def write(self, value: Any) -> str:
        """Return all entries as a YAML flow list."""
        return "[" + ", ".join(self.write_entry(key, entry) for key, entry in value.items()) + "]"


def surprise(scalar: Scalar) -> str:
    """Say what a YAML reader would make of an unquoted text, "" when it stays a text.

    The types are YAML 1.1's (https://yaml.org/type/), as PyYAML resolves them, with ``y``, ``n`` and
    YAML 1.2's ``0o17`` and ``1e5``, which other readers know.
    """
    text = scalar.text
    if not scalar.plain:
        return ""
    if not text:
        return "where a value belongs"
    if text.lower() in ("y", "n"):
        return "is a boolean in YAML 1.1"
    if text.startswith(("0o", "0O")) and text[2:].isdecimal():
        return "is an octal number in YAML 1.2"
    if _FRACTION.fullmatch(text):
        return "is a fraction in YAML 1.2"
    tag: str = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    kind = _SURPRISES.get(tag, "")
    if kind == "the number":
        kind += _number(tag, text)
    return f"is {kind} in YAML 1.1" if kind else ""


# What YAML 1.1 takes for a text: its fractions have a point, and the exponent a sign.
_FRACTION = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+", re.ASCII)
_RESOLVER = yaml.SafeLoader("")
_SURPRISES = {
    "tag:yaml.org,2002:bool": "a boolean",
    "tag:yaml.org,2002:null": "null",
    "tag:yaml.org,2002:int": "the number",
    "tag:yaml.org,2002:float": "a fraction",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:value": "a default marker",
    "tag:yaml.org,2002:merge": "a merge key",
}
_LONGEST_NUMBER_SHOWN = 20


def _number(tag: str, text: str) -> str:
    if len(text) > _LONGEST_NUMBER_SHOWN:
        return ""
    try:
        return f" {yaml.constructor.SafeConstructor().construct_yaml_int(yaml.ScalarNode(tag, text))}"
    except (ValueError, IndexError):
        return ""


def found_text(text: str, trap: str) -> str:
    """Return the message for an unfit value: what :func:`surprise` says of it, or the value alone."""
    return f"{shortened(text)} {trap}" if trap and text else f"found {quoted(text)}"


def _in_quotes(text: str) -> str:
    return f"write {quoted(text)} with quotes" if text else ""


def _looks_like_braces(node: Mapping) -> bool:
    return all(isinstance(value, Scalar) and value.text == "" for _, value in node.pairs)


def flow(text: str) -> str:
    """Return ``text`` as a YAML scalar that any reader takes for exactly this text, in a flow list too."""
    plain = text and not set(text) & set("\"'#&*!|>%@`{}[],:\\\n\t ?-") and text.isprintable()
    if plain and not surprise(Scalar(text, 0, 0)):
        return text
    safe = set(text) <= _SAFE_INSIDE and text[:1] not in "-?:%@" and ": " not in text and " #" not in text
    outside = text.endswith((":", " ")) or text.startswith(" ")
    if text and safe and not outside and not surprise(Scalar(text, 0, 0)):
        return text
    return in_quotes(text)


def in_quotes(text: str) -> str:
    """Return ``text`` as a YAML scalar in double quotes, which may stand anywhere."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(_escape(c) for c in escaped) + '"'


_SAFE_INSIDE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:%@+=~ ")
_LAST_SHORT, _LAST_MIDDLE = 0xFF, 0xFFFF


def _escape(character: str) -> str:
    code = ord(character)
    if character.isprintable():
        return character
    if character == "\n":
        return "\\n"
    if code <= _LAST_SHORT:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _LAST_MIDDLE else f"\\U{code:08x}"

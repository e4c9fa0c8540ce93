"""The kind of `access.commands`."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind  # noqa: RUF100

from __future__ import annotations

import re

from ssh2container.admin.policy.types import lists
from ssh2container.admin.policy.types.entries import Fields, Items
from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report, flow
from ssh2container.admin.policy.types.scalars import Flag, Text, Words
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted
from ssh2container.errors import Refusal
from ssh2container.policy.commands import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Commands(Items):
    """any, none, or a list of programs and exact commands."""

    name = "commands"
    allowed = "any | none | a program name or {exact: COMMAND}, or a list of them"
    maps = True
    program = r"(?!-)[A-Za-z0-9_.+/@-]{1,255}"

    def __init__(self) -> None:
        self.exact = Fields({"exact": Text("a command line")}, ("exact",), {})

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Scalar):
            return super().read(node, report)
        if node.text in ("any", "none"):
            return node.text
        hint = _INSTEAD.get(node.text.lower()) or did_you_mean(node.text, ("any", "none"))
        if hint or not node.text:
            return report.fail(node, f"found {quoted(node.text)}", self.allowed, hint)
        return super().read(node, report)

    def entry(self, node: Node, report: Report) -> Any:
        if isinstance(node, Mapping):
            found = self.exact.read(node, report)
            return self._exact(found["exact"], node, report) if found else INVALID
        text = self.text(node, report)
        if text is None:
            return INVALID
        if text in ("any", "none"):
            hint = f"write commands: {text}; a program of this name is {{exact: {text}}}"
            return report.fail(node, f"{quoted(text)} in a list", "the name of a program", hint)
        if not re.fullmatch(self.program, text) or text.endswith("/"):
            hint = f"for one whole command write {{exact: {quoted(text)}}}" if " " in text else ""
            return report.fail(node, f"found {quoted(text)}", "the name of a program", hint)
        return ((text,), False)

    def _exact(self, text: str, node: Node, report: Report) -> Any:
        try:
            words = tuple(word.decode() for word in split(text.encode()))
        except Refusal as refusal:
            return report.fail(node, f"found {quoted(text)}: {refusal.why}", "words as a shell splits them")
        return (words, True) if words else report.fail(node, "an empty command", "a command line")

    def key(self, value: tuple[tuple[str, ...], bool]) -> str:
        words, exact = value
        return "exact " + " ".join(_quote_word(word) for word in words) if exact else words[0]

    def write_entry(self, key: str, value: tuple[tuple[str, ...], bool]) -> str:
        words, exact = value
        return f"{{exact: {flow(key.removeprefix('exact '))}}}" if exact else flow(words[0])

    def write(self, value: Any) -> str:
        return value if isinstance(value, str) else super().write(value)

    def entry_schema(self) -> dict[str, Any]:
        program = {"type": "string", "pattern": f"^{self.program}$"}
        return {"anyOf": [program, self.exact.schema()]}

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": ["any", "none"]}, super().schema()]}


class Program(Words):
    """The words of a program call: a list, or a text split as a shell does it, as in Compose's command."""

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Scalar):
            return super().read(node, report)
        text = self.text(node, report)
        if text is None:
            return INVALID
        try:
            parts = [word.decode() for word in split(text.encode())]
        except Refusal as refusal:
            return report.fail(node, f"found {quoted(text)}: {refusal.why}", self.allowed)
        if not parts:
            return report.fail(node, "an empty command", self.allowed)
        words = [self.kind.read(Scalar(part, node.line, node.column, plain=False), report) for part in parts]
        return INVALID if any(word is INVALID for word in words) else tuple(words)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, self.list_schema()]}


class FlagOrProgram(Kind):
    """true, false, or a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.name = f"boolean or {program.name}"
        self.allowed = f"true | false | {program.allowed}"

    def read(self, node: Node, report: Report) -> Any:
        if isinstance(node, Mapping):
            return report.fail(node, "a map", self.allowed)
        if not isinstance(node, Scalar):
            return self.program.read(node, report)
        word = node.text.lower()
        meant = did_you_mean(word, ("true", "false")) or _BOOLEAN.get(word)
        if word and meant is None:
            return self.program.read(node, report)
        if meant and word not in Flag.words:
            return report.fail(node, f"found {quoted(node.text)}", self.allowed, meant)
        flag = Flag()
        flag.allowed = self.allowed
        return flag.read(node, report)

    def write(self, value: Any) -> str:
        return Flag().write(value) if isinstance(value, bool) else self.program.write(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, self.program.schema()]}


_BOOLEAN = (
    dict.fromkeys(("any", "all", "allow", "enabled", "shell"), "write true")
    | dict.fromkeys(("none", "never", "null", "~", "deny", "disabled"), "write false")
    | dict.fromkeys(Flag.words, "")
)
_INSTEAD = dict.fromkeys((*lists.YES, "all"), "write any") | dict.fromkeys(lists.NO, "write none")


def _quote_word(word: str) -> str:
    if word and re.fullmatch(r"[A-Za-z0-9_.+/@:=,%-]+", word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"

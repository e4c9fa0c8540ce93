"""The kind of ``host_commands``: names inside that run programs of the host."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import re

from ssh2container.admin.policy.types.entries import Fields
from ssh2container.admin.policy.types.kinds import INVALID, Entries, Report
from ssh2container.admin.policy.types.numbers import Count
from ssh2container.admin.policy.types.scalars import Path, Text, Words
from ssh2container.admin.policy.yaml.nodes import Mapping, Node
from ssh2container.admin.policy.yaml.problems import quoted
from ssh2container.policy.host_commands import DEFAULT_TIMEOUT_S, SELF, HostCommand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}"
_LONGEST_S = 3600
_NO_SESSION = "a command is run for a user: %u, %U, %g and %h are known"


class HostCommands(Entries):
    """A map of commands; one of a later file replaces that of the same name."""

    name = "map of commands"
    allowed = "a map NAME: PROGRAM, or NAME: {path: PROGRAM, args, accept, user, timeout}"

    def __init__(self) -> None:
        self.program = Path("the absolute path of a program of the host", specific=False)
        self.fields = Fields(
            {
                "path": self.program,
                "args": Words(_Argument(), "a list of texts", minimum=0),
                "accept": Words(
                    _Pattern(), "a list of regular expressions, one for each argument", minimum=0
                ),
                "user": _User(),
                "timeout": Count(1, _LONGEST_S),
            },
            ("path",),
            {
                "env": "a command has no environment; let its program set what it needs",
                "environment": "a command has no environment; let its program set what it needs",
                "command": "write path, and args for what it is always given; no shell reads it",
            },
        )

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            return report.fail(node, f"{node.found} instead of a map", self.allowed)
        entries: dict[str, tuple[Any, Node]] = {}
        for key, value in node.pairs:
            if not re.fullmatch(_NAME, key.text):
                report.fail(key, f"the name {quoted(key.text)}", "a name of letters, digits and . _ + -")
                continue
            found = self._command(value, report)
            if found is not INVALID:
                entries[key.text] = (found, key)
        return entries

    def _command(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            path = self.program.read(node, report)
            return INVALID if path is INVALID else (path, (), (), SELF, DEFAULT_TIMEOUT_S)
        found = self.fields.read(node, report)
        if found is None:
            return INVALID
        timeout = found.get("timeout", DEFAULT_TIMEOUT_S)
        return (
            found["path"],
            found.get("args", ()),
            found.get("accept", ()),
            found.get("user", SELF),
            timeout,
        )

    def write_entry(self, key: str, value: Any) -> str:
        command = HostCommand(key, *value)
        kinds = self.fields.kinds
        names = [name for name in ("args", "accept") if getattr(command, name)]
        written = (
            f"{name}: {kinds[name].write(getattr(command, name))}" for name in ("path", *names, "user")
        )
        return f"{key}: {{{', '.join(written)}, timeout: {command.timeout}}}"

    def write(self, value: Any) -> str:
        return "{" + ", ".join(self.write_entry(name, one) for name, one in value.items()) + "}"

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_NAME}$"},
            "additionalProperties": {"anyOf": [self.program.schema(), self.fields.schema()]},
        }


class _Argument(Text):
    """What the program is always given, with what is known of the user."""

    def __init__(self) -> None:
        super().__init__("a text", specific=True, numeric=True)

    def check(self, text: str, node: Node, report: Report) -> Any:
        if "%i" in text.replace("%%", ""):
            return report.fail(node, f"the specifier %i in {quoted(text)}", hint=_NO_SESSION)
        return super().check(text, node, report)


class _Pattern(Text):
    """A regular expression that one argument has to match as a whole."""

    def __init__(self) -> None:
        super().__init__("a regular expression", numeric=True, limit=1000)

    def check(self, text: str, node: Node, report: Report) -> Any:
        if super().check(text, node, report) is INVALID:
            return INVALID
        try:
            re.compile(text, re.ASCII)
        except (re.error, OverflowError, RecursionError) as error:
            hint = "the syntax is that of Python's module re"
            return report.fail(node, f"{quoted(text)} is no regular expression: {error}", self.allowed, hint)
        return text


class _User(Text):
    """``self``, or the name of a user of the host."""

    def __init__(self) -> None:
        super().__init__(f"{SELF}, or the name of a user of the host", r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,254}")

    def check(self, text: str, node: Node, report: Report) -> Any:
        if text == "root":
            return report.fail(node, "found root", self.allowed, "no command runs as root")
        return super().check(text, node, report)

"""The kind of ``hooks``: programs of the administrator's beside a session, in OCI's words."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

import re

from ssh2container.admin.policy.types.entries import ENVIRONMENT_NAME, Fields, Items
from ssh2container.admin.policy.types.kinds import INVALID, Report
from ssh2container.admin.policy.types.numbers import Count
from ssh2container.admin.policy.types.scalars import Flag, Path, Text, Words
from ssh2container.admin.policy.yaml.nodes import Mapping, Node
from ssh2container.admin.policy.yaml.problems import WARNING, quoted
from ssh2container.policy.hooks import DEFAULT_TIMEOUT_S, PREFIX, Hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LONGEST_S = 3600
_PATH = "the absolute path of a program"
_AS_THE_USER = "a hook runs as the session's user; what needs root is a socket unit of your own"


class Hooks(Items):
    """The hooks of one stage, in the order in which they run; those of a later file come behind."""

    name = "list of hooks"
    allowed = "a map with path, args, env, timeout and ignore_failure, or a list of them"
    maps = True
    fields_in_order = Hook.__slots__[1:]
    """What the value of one hook holds, as :class:`ssh2container.policy.hooks.Hook` takes it."""

    def __init__(self) -> None:
        text = Text("a text", numeric=True)
        self.fields = Fields(
            {
                "path": _Program(),
                "args": Words(text, "a list of texts, of which the first is the program's name"),
                "env": Words(_Variable(), "a list of NAME=VALUE", minimum=0),
                "timeout": Count(1, _LONGEST_S),
                "ignore_failure": Flag(),
            },
            ("path",),
            {
                "command": "a hook has path, and args that begin with the program's name; no shell reads it",
                "user": _AS_THE_USER,
                "privileged": _AS_THE_USER,
                "working_dir": "a hook starts in /",
            },
        )

    def entry(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            return report.fail(node, f"{node.found} instead of a map", self.allowed, "write {path: PROGRAM}")
        found = self.fields.read(node, report)
        if found is None:
            return INVALID
        arguments = found.get("args") or (found["path"],)
        if arguments[0].startswith("-"):
            hint = f"write [{found['path']}, …]: the first one is what the program sees as its own name"
            report.fail(node, f"args begins with the option {quoted(arguments[0])}", "", hint, WARNING)
        timeout = found.get("timeout", DEFAULT_TIMEOUT_S)
        return (found["path"], arguments, found.get("env", ()), timeout, found.get("ignore_failure", False))

    def key(self, value: Any) -> str:
        path, arguments, *_ = value
        return " ".join((path, *arguments[1:]))

    def write_entry(self, key: str, value: Any) -> str:
        path, arguments, environment, timeout, ignored = value
        kinds = self.fields.kinds
        parts = [f"path: {kinds['path'].write(path)}"]
        if arguments != (path,):
            parts.append(f"args: {kinds['args'].write(arguments)}")
        if environment:
            parts.append(f"env: {kinds['env'].write(environment)}")
        parts.append(f"timeout: {timeout}")
        if ignored:
            parts.append(f"ignore_failure: {kinds['ignore_failure'].write(ignored)}")
        return "{" + ", ".join(parts) + "}"

    def entry_schema(self) -> dict[str, Any]:
        return self.fields.schema()


class _Program(Path):
    """A path without specifiers."""

    def __init__(self) -> None:
        super().__init__(_PATH, specific=False)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^/", "maxLength": self.limit}


class _Variable(Text):
    """NAME=VALUE, of a name that is not ours."""

    def __init__(self) -> None:
        super().__init__("NAME=VALUE", rf"{ENVIRONMENT_NAME}=[\s\S]*")

    def check(self, text: str, node: Node, report: Report) -> Any:
        if re.match(PREFIX, text):
            return report.fail(
                node, f"found {quoted(text)}", f"a name without {PREFIX}", "a hook has it already"
            )
        return super().check(text, node, report)

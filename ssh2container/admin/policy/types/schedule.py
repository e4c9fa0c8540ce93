"""The kind of ``schedule``: jobs at times, in cron's words."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

from ssh2container.admin.policy.types.entries import Fields, Items
from ssh2container.admin.policy.types.kinds import INVALID, Report
from ssh2container.admin.policy.types.scalars import Choice, Text
from ssh2container.admin.policy.yaml.nodes import Mapping, Node
from ssh2container.admin.schedule import fields
from ssh2container.policy.schedule import LOG, OUTPUTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AS_THE_USER = "a job runs as the user, in a container as a login has it"
_MOST = 100


class Jobs(Items):
    """The jobs in their order, which gives them their numbers; those of a later file come behind."""

    name = "list of jobs"
    allowed = "a map with at, command and output, or a list of them"
    maps = True

    def __init__(self) -> None:
        self.fields = Fields(
            {"at": At(), "command": _Command(), "output": Choice(*OUTPUTS)},
            ("at", "command"),
            {
                "user": _AS_THE_USER,
                "mailto": "output: mail is mail to the user",
                "env": "variables of sessions stand in environment",
            },
        )

    def read(self, node: Node, report: Report) -> Any:
        found = super().read(node, report)
        if found is not INVALID and len(found) > _MOST:
            return report.fail(node, f"{len(found)} jobs", f"at most {_MOST}")
        return found

    def entry(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            hint = 'write {at: "0 4 * * *", command: COMMAND}'
            return report.fail(node, f"{node.found} instead of a map", self.allowed, hint)
        found = self.fields.read(node, report)
        return INVALID if found is None else (found["at"], found["command"], found.get("output", LOG))

    def key(self, value: Any) -> str:
        at, command, _ = value
        return f"{at} {command}"

    def write_entry(self, key: str, value: Any) -> str:
        pairs = zip(self.fields.kinds.items(), value, strict=True)
        written = (f"{name}: {kind.write(one)}" for (name, kind), one in pairs)
        return "{" + ", ".join(written) + "}"

    def entry_schema(self) -> dict[str, Any]:
        return self.fields.schema()


class At(Text):
    """When, with one space between fields."""

    def __init__(self) -> None:
        super().__init__(fields.ALLOWED, limit=200)

    def check(self, text: str, node: Node, report: Report) -> Any:
        if super().check(text, node, report) is INVALID:
            return INVALID
        try:
            fields.parse(text)
        except fields.Wrong as wrong:
            return report.fail(node, str(wrong), wrong.allowed)
        return " ".join(text.split())

    def schema(self) -> dict[str, Any]:
        words = "|".join(fields.WORDS)
        return {
            "type": "string",
            "pattern": rf"^\s*(?:\S+(?:\s+\S+){{4}}|{words})\s*$",
            "maxLength": self.limit,
        }


class _Command(Text):
    """What a client would ask for; a shell of the session's reads it where the policy allows any command."""

    def __init__(self) -> None:
        super().__init__("a command", r"[\s\S]*\S[\s\S]*")

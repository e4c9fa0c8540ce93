"""Kinds of limits that a cgroup enforces."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind

from __future__ import annotations

from ssh2container.admin.policy.types.entries import Fields, Items
from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report, flow
from ssh2container.admin.policy.types.numbers import Size
from ssh2container.admin.policy.types.scalars import Path
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar
from ssh2container.admin.policy.yaml.problems import quoted
from ssh2container.policy import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Limit(Kind):
    """Another kind, or none for no limit (None); ``same`` are words of Compose's that mean none, too."""

    word = "none"

    def __init__(self, kind: Kind, *same: str, off: tuple[str, ...] = ()) -> None:
        """``off``: what turns a limit off in other languages, and here is refused with a hint."""
        self.kind = kind
        self.same = same
        self.off = off
        self.name = kind.name
        self.allowed = f"{kind.allowed}, or {self.word}"

    def read(self, node: Node, report: Report) -> Any:
        if isinstance(node, Scalar):
            if node.text == self.word or node.text in self.same:
                return None
            if node.text in self.off:
                hint = f"write {self.word} for no limit"
                return report.fail(node, f"found {node.text}", self.allowed, hint)
        return self.kind.read(node, report)

    def write(self, value: Any) -> str:
        return self.word if value is None else self.kind.write(value)

    def schema(self) -> dict[str, Any]:
        words: list[Any] = [self.word, *self.same]
        words += [int(word) for word in self.same if word.startswith("-")]
        return {"anyOf": [{"enum": words}, self.kind.schema()]}


class MemoryAndSwap(Kind):
    """Compose's memswap_limit: memory and swap together, none (-1, unlimited), or as much as mem_limit."""

    name = "size"
    unlimited = ("none", "-1", "unlimited")
    as_memory = "mem_limit"

    def __init__(self, minimum: int, maximum: int) -> None:
        self.size = Size(minimum, maximum)
        self.size.allowed += f", {self.as_memory} for no swap, or none for all there is"
        self.allowed = self.size.allowed

    def read(self, node: Node, report: Report) -> Any:
        if isinstance(node, Scalar):
            if node.text in self.unlimited:
                return limits.UNLIMITED
            if node.text == self.as_memory:
                return limits.AS_MEMORY
        return self.size.read(node, report)

    def write(self, value: int) -> str:
        if value == limits.UNLIMITED:
            return self.unlimited[0]
        return self.as_memory if value == limits.AS_MEMORY else self.size.write(value)

    def schema(self) -> dict[str, Any]:
        words: list[Any] = [*self.unlimited, self.as_memory, -1]
        return {"anyOf": [{"enum": words}, self.size.schema()]}


class _Device(Path):
    """A path that a unit's file and systemd's bus mean the same by (systemd.syntax(7), QUOTING)."""

    def check(self, text: str, node: Node, report: Report) -> Any:
        if set(text) & set(" \t\"'\\%"):
            return report.fail(node, f"found {quoted(text)}", self.allowed)
        return super().check(text, node, report)


class Rates(Items):
    """Compose's device_read_bps and its like: maps with the path of a device and a rate for each second."""

    name = "list of device rates"
    maps = True

    def __init__(self, rate: Kind) -> None:
        self.rate = rate
        path = _Device("an absolute path on the host without blanks, quotes, % and \\", specific=False)
        remarks = {"weight": "blkio_config.weight is one for all devices"}
        self.fields = Fields({"path": path, "rate": rate}, ("path", "rate"), remarks)
        self.allowed = f"{{path: a block device or a file on it, rate: {rate.allowed}}}, or a list of them"

    def entry(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Mapping):
            return report.fail(node, f"{node.found} instead of a map", self.allowed)
        found = self.fields.read(node, report)
        return INVALID if found is None else (found["path"], found["rate"])

    def key(self, value: tuple[str, int]) -> str:
        return value[0]

    def write_entry(self, key: str, value: tuple[str, int]) -> str:
        path, rate = value
        return f"{{path: {flow(path)}, rate: {self.rate.write(rate)}}}"

    def entry_schema(self) -> dict[str, Any]:
        return self.fields.schema()

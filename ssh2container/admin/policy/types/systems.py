"""Kinds of what a whole system takes: its init, and the signal that ends it."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind  # noqa: RUF100

from __future__ import annotations

import signal

from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report
from ssh2container.admin.policy.types.scalars import Flag, Path
from ssh2container.admin.policy.yaml.nodes import Node, Scalar
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class FlagOrPath(Kind):
    """true, false, or a path inside."""

    name = "boolean or path"

    def __init__(self) -> None:
        self._path = Path("an absolute path inside", specific=False)
        self.allowed = f"true | false | {self._path.allowed}"

    def read(self, node: Node, report: Report) -> Any:
        if isinstance(node, Scalar) and node.text.startswith("/"):
            return self._path.read(node, report)
        flag = Flag()
        flag.allowed = self.allowed
        return flag.read(node, report)

    def write(self, value: Any) -> str:
        return Flag().write(value) if isinstance(value, bool) else self._path.write(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^/", "maxLength": 4095}]}


class Signal(Kind):
    """A signal by its name (signal(7)), as Compose has it; its number is the value."""

    name = "signal"
    allowed = "the name of a signal such as SIGTERM or SIGRTMIN+3"

    def __init__(self) -> None:
        first, last = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
        named = {one.name: int(one) for one in signal.Signals if not one.name.startswith("SIGRT")}
        named |= {f"SIGRTMIN+{number - first}": number for number in range(first + 1, last + 1)}
        named["SIGRTMIN"] = first
        self._numbers = {name: number for name, number in named.items() if name not in ("SIGKILL", "SIGSTOP")}

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        name = scalar.text if scalar.text.startswith("SIG") else "SIG" + scalar.text
        if name not in self._numbers:
            hint = did_you_mean(name, tuple(self._numbers))
            return report.fail(node, f"found {quoted(scalar.text)}", self.allowed, hint)
        return self._numbers[name]

    def write(self, value: int) -> str:
        return next(name for name, number in self._numbers.items() if number == value)

    def schema(self) -> dict[str, Any]:
        return {"enum": [*self._numbers, *(name.removeprefix("SIG") for name in self._numbers)]}

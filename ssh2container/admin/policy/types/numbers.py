# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind  # noqa: RUF100
"""Numbers in a policy: counts, fractions, sizes, durations, octal modes."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind  # noqa: RUF100

from __future__ import annotations

import re

from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report, found_text, surprise
from ssh2container.admin.policy.yaml.nodes import Node, Scalar
from ssh2container.admin.policy.yaml.problems import quoted, shortened
from ssh2container.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WHOLE_NUMBER = r"-?(0|[1-9][0-9]{0,18})"
SIZE_UNITS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
DURATION_UNITS_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Count(Kind):
    """A whole number within a range."""

    name = "number"

    def __init__(self, minimum: int, maximum: int) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.allowed = f"a whole number from {minimum} to {maximum}"

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        if not re.fullmatch(WHOLE_NUMBER, scalar.text):
            trap = surprise(scalar)
            found = found_text(scalar.text, trap)
            return report.fail(node, found, self.allowed)
        number = int(scalar.text)
        if not self.minimum <= number <= self.maximum:
            return report.fail(node, f"found {number}", self.allowed)
        return number

    def write(self, value: int) -> str:
        return str(value)

    def schema(self) -> dict[str, Any]:
        whole = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        return {"anyOf": [whole, {"type": "string", "pattern": f"^{WHOLE_NUMBER}$"}]}


class Fraction(Kind):
    """A decimal number within a range."""

    name = "decimal number"

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.allowed = f"a number from {minimum:g} to {maximum:g}"

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        if not re.fullmatch(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?", scalar.text):
            return report.fail(node, f"found {quoted(scalar.text)}", self.allowed)
        number = float(scalar.text)
        if not self.minimum <= number <= self.maximum:
            return report.fail(node, f"found {shortened(scalar.text)}", self.allowed)
        return number

    def write(self, value: float) -> str:
        return f"{value:.6f}".rstrip("0").rstrip(".")

    def schema(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": self.minimum, "maximum": self.maximum}
        return {"anyOf": [number, {"type": "string", "pattern": "^(0|[1-9][0-9]{0,8})(\\.[0-9]{1,6})?$"}]}


class Size(Kind):
    """A number of bytes, as Compose writes byte values: k, m and g are powers of 1024 in any case.

    A fraction of such a unit is rounded down to a byte.
    """

    name = "size"
    pattern = r"(0|[1-9][0-9]{0,14})(?:(b|k|kb|m|mb|g|gb)?|(\.[0-9]{1,6})(k|kb|m|mb|g|gb))"

    def __init__(self, minimum: int, maximum: int) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.allowed = f"a size such as 64m, from {self.write(minimum)} to {self.write(maximum)}"

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        return INVALID if scalar is None else self.check(scalar, scalar.text, report)

    def check(self, node: Scalar, text: str, report: Report) -> Any:
        """Check a size that was found at ``node``, perhaps as a part of it."""
        match = re.fullmatch(self.pattern, text, re.IGNORECASE | re.ASCII)
        if not match:
            negative = text.startswith("-")
            trap = surprise(node) if text == node.text and not negative else ""
            hint = ""
            if re.fullmatch(r"[0-9]+ *[kmg]i?b?", text, re.IGNORECASE | re.ASCII):
                hint = "write it as in 256m; k, m and g are powers of 1024"
            found = found_text(text, trap)
            return report.fail(node, found, self.allowed, hint)
        unit = SIZE_UNITS[(match[2] or match[4] or "b")[0].lower()]
        number = int(match[1]) * unit
        if match[3]:
            number += int(match[3][1:]) * unit // 10 ** (len(match[3]) - 1)
        if not self.minimum <= number <= self.maximum:
            return report.fail(node, f"found {text}", self.allowed)
        return number

    def write(self, value: int) -> str:
        for unit in ("g", "m", "k"):
            if value and value % SIZE_UNITS[unit] == 0:
                return f"{value // SIZE_UNITS[unit]}{unit}"
        return str(value)

    def schema(self) -> dict[str, Any]:
        whole = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        text = {"type": "string", "pattern": "^(0|[1-9][0-9]{0,14})([bB]|(\\.[0-9]{1,6})?[kKmMgG][bB]?)?$"}
        return {"anyOf": [whole, text]}


def _seconds(text: str) -> float:
    parts = re.findall(r"([0-9]+)([a-z]+)", text)
    return sum(int(amount) * DURATION_UNITS_SECONDS[unit] for amount, unit in parts)


def seconds_of(text: str) -> float:
    """Return the seconds of a duration on a command line. Raises Refusal for anything else."""
    if not re.fullmatch(Duration.pattern, text) or not _seconds(text):
        raise Refusal(f"{text!r} is no duration", "", "write it as 10m, 90s or 1h30m", "usage")
    return _seconds(text)


class Duration(Kind):
    """A time span as Compose writes it; seconds as a float."""

    name = "duration"
    pattern = r"(?:[0-9]{1,9}(?:us|ms|h|m|s))+"

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.allowed = f"a duration such as 1h30m, from {self.write(minimum)} to {self.write(maximum)}"

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        if not re.fullmatch(self.pattern, scalar.text):
            digits = re.fullmatch(r"0|[1-9][0-9]{0,8}", scalar.text)
            trap = "" if digits else surprise(scalar)
            found = found_text(scalar.text, trap)
            hint = f"write {scalar.text}s for seconds" if digits else ""
            return report.fail(node, found, self.allowed, hint)
        seconds = _seconds(scalar.text)
        if not self.minimum <= seconds <= self.maximum:
            return report.fail(node, f"found {shortened(scalar.text)}", self.allowed)
        return round(float(seconds), 6)

    def write(self, value: float) -> str:
        rest = round(value * 1_000_000)
        text = ""
        for unit in ("h", "m", "s", "ms", "us"):
            size = round(DURATION_UNITS_SECONDS[unit] * 1_000_000)
            if rest >= size:
                text += f"{rest // size}{unit}"
                rest %= size
        return text or "0s"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{self.pattern}$"}


class Octal(Kind):
    """Permission bits as chmod(1) and umask(1) write them, in quotes because YAML 1.1 reads 027 as 23."""

    name = "permission bits"

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.allowed = f'octal digits in quotes such as "027", up to "{maximum:03o}"'

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        if scalar.plain:
            trap = surprise(scalar)
            found = found_text(scalar.text, trap)
            return report.fail(node, found, self.allowed, f"write {quoted(scalar.text)} with quotes")
        return self.check(node, scalar.text, report)

    def check(self, node: Node, text: str, report: Report) -> Any:
        """Check digits that were found at ``node``, perhaps as a part of it."""
        if not re.fullmatch(r"[0-7]{1,4}", text) or int(text, 8) > self.maximum:
            return report.fail(node, f"found {quoted(text)}", self.allowed)
        return int(text, 8)

    def write(self, value: int) -> str:
        return f'"{value:03o}"'

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-7]{1,4}$"}

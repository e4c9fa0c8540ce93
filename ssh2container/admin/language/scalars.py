"""Kinds of single values: texts, choices, numbers, sizes, times, paths."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind  # noqa: RUF100

from __future__ import annotations

import posixpath
import re

from ssh2container.admin.language.kinds import BRACES_HINT, INVALID, Kind, Report, flow, found_text, surprise
from ssh2container.admin.language.nodes import Mapping, Node, Scalar, Sequence
from ssh2container.admin.language.problems import did_you_mean, quoted, shortened
from ssh2container.policy import specifiers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WHOLE_NUMBER = r"-?(0|[1-9][0-9]{0,18})"
SIZE_UNITS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
DURATION_UNITS_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Text(Kind):
    """A text that matches ``pattern``.

    specific: specifiers are allowed. numeric: so are numbers without quotes, where a number that is
    its own text cannot surprise.
    """

    name = "text"

    def __init__(
        self,
        allowed: str = "a text",
        pattern: str = r"(?s).*",
        *,
        specific: bool = False,
        numeric: bool = False,
        limit: int = 4096,
    ) -> None:
        self.allowed = allowed
        self.pattern = re.compile(pattern)
        self.specific = specific
        self.numeric = numeric
        self.limit = limit

    def read(self, node: Node, report: Report) -> Any:
        if self.numeric and isinstance(node, Scalar) and re.fullmatch(WHOLE_NUMBER, node.text):
            return self.check(node.text, node, report)
        text = self.text(node, report)
        if text is None:
            return INVALID
        return self.check(text, node, report)

    def check(self, text: str, node: Node, report: Report) -> Any:
        """Check a text that was found at ``node``, perhaps as a part of it."""
        if len(text) > self.limit:
            return report.fail(node, f"a text of {len(text)} characters", f"at most {self.limit}")
        if self.specific:
            wrong = specifiers.unknown(text)
            if wrong:
                known = " ".join("%" + letter for letter in specifiers.MEANING)
                return report.fail(node, f"the unknown specifier {quoted(wrong[0])}", known)
        if not self.pattern.fullmatch(text):
            hint = BRACES_HINT if "{" in text or "}" in text else ""
            return report.fail(node, f"found {quoted(text)}", self.allowed, hint)
        return text

    def write(self, value: str) -> str:
        return flow(value)

    def schema(self) -> dict[str, Any]:
        type_: str | list[str] = ["string", "integer"] if self.numeric else "string"
        schema: dict[str, Any] = {"type": type_, "maxLength": self.limit}
        if self.pattern.pattern != r"(?s).*":
            schema["pattern"] = f"^(?:{self.pattern.pattern})$"
        return schema


class Path(Text):
    """An absolute path without ``..``; it is normalised, so that equal paths are equal texts."""

    name = "path"

    def __init__(
        self, allowed: str = "an absolute path", *, specific: bool = True, inside: bool = False
    ) -> None:
        super().__init__(allowed, r"/[^\0\n]*", specific=specific, limit=4095)
        self.inside = inside

    def check(self, text: str, node: Node, report: Report) -> Any:
        # %h is an absolute path itself.
        shape = "/" + text if self.specific and text.startswith("%h") else text
        if not shape.startswith("/"):
            hint = "relative paths, ~ and named volumes do not exist here"
            hint = BRACES_HINT if text.startswith("{") else hint
            return report.fail(node, f"found {quoted(text)}", self.allowed, hint)
        if ".." in text.split("/"):
            return report.fail(node, f'".." in the path {quoted(text)}', self.allowed)
        if super().check(shape, node, report) is INVALID:
            return INVALID
        path = posixpath.normpath(shape)
        path = "/" + path.lstrip("/")
        if self.inside:
            for place, remedy in _OURS_INSIDE.items():
                if path == place or (place != "/" and path.startswith(place + "/")):
                    return report.fail(node, f"{quoted(path)} is made by the container itself", hint=remedy)
        return path[1:] if shape is not text else path

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^(/|%h)", "maxLength": self.limit}


_OURS_INSIDE = {
    "/": "use image for the root directory",
    "/proc": "choose another target",
    "/sys": "choose another target",
    "/dev": "choose another target",
    "/run/ssh2container": "choose another target",
}


class SystemCall(Text):
    """A system call that some machine has."""

    def __init__(self) -> None:
        name = r"[a-z_][a-z0-9_]{0,63}|0|[1-9][0-9]{0,3}"
        super().__init__("a system call by name or number", name, numeric=True)

    def check(self, text: str, node: Node, report: Report) -> Any:
        # libseccomp is loaded (30 ms) only where a policy names a call.
        from ssh2container.admin.seccomp import syscalls

        checked = super().check(text, node, report)
        if checked is INVALID:
            return INVALID
        try:
            syscalls.number(text, syscalls.native())
        except syscalls.UnknownSyscallError as error:
            return report.fail(node, str(error), self.allowed)
        except OSError:
            pass  # a machine without filters of ours: whoever builds one says so
        return checked


class Choice(Kind):
    """One of a few words."""

    name = "word"

    def __init__(self, *words: str, instead: dict[str, str] | None = None) -> None:
        """``instead``: words of other languages, each with a hint."""
        self.words = words
        self.allowed = " | ".join(words)
        self.instead = instead or {}

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        if scalar.text not in self.words:
            hint = self.instead.get(scalar.text) or did_you_mean(scalar.text, self.words)
            return report.fail(node, f"found {quoted(scalar.text)}", self.allowed, hint)
        return scalar.text

    def write(self, value: str) -> str:
        return flow(value)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


class Flag(Kind):
    """true or false, written so that YAML 1.1 and 1.2 agree."""

    name = "boolean"
    allowed = "true | false"

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        if scalar.plain and scalar.text in ("true", "false"):
            return scalar.text == "true"
        hint = ""
        if scalar.text.lower() in ("true", "yes", "on", "y", "1"):
            hint = "write true" + ("" if scalar.plain else " without quotes")
        elif scalar.text.lower() in ("false", "no", "off", "n", "0"):
            hint = "write false" + ("" if scalar.plain else " without quotes")
        return report.fail(node, f"found {quoted(scalar.text)}", self.allowed, hint)

    def write(self, value: bool) -> str:  # noqa: FBT001
        return "true" if value else "false"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


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
    """A number of bytes, as Compose writes byte values: k, m and g are powers of 1024 in any case."""

    name = "size"
    pattern = r"(0|[1-9][0-9]{0,14})(b|k|kb|m|mb|g|gb)?"

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
        number = int(match[1]) * SIZE_UNITS[(match[2] or "b")[0].lower()]
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
        text = {"type": "string", "pattern": "^(0|[1-9][0-9]{0,14})([bB]|[kKmMgG][bB]?)?$"}
        return {"anyOf": [whole, text]}


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
        parts = re.findall(r"([0-9]+)([a-z]+)", scalar.text)
        seconds = sum(int(amount) * DURATION_UNITS_SECONDS[unit] for amount, unit in parts)
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


class Optional(Kind):
    """Another kind, or ``word`` for None."""

    def __init__(self, kind: Kind, word: str) -> None:
        self.kind = kind
        self.word = word
        self.name = kind.name
        self.allowed = f"{kind.allowed}, or {word}"

    def read(self, node: Node, report: Report) -> Any:
        if isinstance(node, Scalar) and node.text == self.word:
            return None
        return self.kind.read(node, report)

    def write(self, value: Any) -> str:
        return self.word if value is None else self.kind.write(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"const": self.word}, self.kind.schema()]}


class Words(Kind):
    """The words of a program call, or a list whose order decides: a later file replaces all of them."""

    name = "list of texts"

    def __init__(self, kind: Kind, allowed: str, minimum: int = 1, *, unique: bool = False) -> None:
        self.kind = kind
        self.allowed = allowed
        self.minimum = minimum
        self.unique = unique

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Sequence):
            found = node.text if isinstance(node, Scalar) else ""
            hint = f"write [{found}]" if found else ""
            return report.fail(node, f"{node.found} instead of a list", self.allowed, hint)
        if len(node.items) < self.minimum:
            return report.fail(node, "an empty list", self.allowed)
        words = [self.kind.read(item, report) for item in node.items]
        for place, word in enumerate(words):
            if self.unique and word is not INVALID and word in words[:place]:
                report.fail(node.items[place], f"{quoted(word)} is listed twice", hint="keep one of them")
                words[place] = INVALID
        return INVALID if any(word is INVALID for word in words) else tuple(words)

    def write(self, value: tuple[Any, ...]) -> str:
        return "[" + ", ".join(self.kind.write(word) for word in value) + "]"

    def schema(self) -> dict[str, Any]:
        schema = {"type": "array", "items": self.kind.schema(), "minItems": self.minimum}
        return schema | ({"uniqueItems": True} if self.unique else {})


class FlagOr(Kind):
    """true, false, or another kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name = f"boolean or {kind.name}"
        self.allowed = f"true | false | {kind.allowed}"

    def read(self, node: Node, report: Report) -> Any:
        if isinstance(node, Scalar):
            scalar_only = Flag()
            scalar_only.allowed = self.allowed
            return scalar_only.read(node, report)
        if isinstance(node, Mapping):
            return report.fail(node, "a map", self.allowed)
        return self.kind.read(node, report)

    def write(self, value: Any) -> str:
        return Flag().write(value) if isinstance(value, bool) else self.kind.write(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, self.kind.schema()]}

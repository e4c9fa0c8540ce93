"""Kinds of single values: texts, choices, flags, paths, words."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind  # noqa: RUF100

from __future__ import annotations

import posixpath
import re

from ssh2container import paths
from ssh2container.admin.policy.types import lists
from ssh2container.admin.policy.types.kinds import BRACES_HINT, INVALID, Kind, Report, flow
from ssh2container.admin.policy.types.numbers import WHOLE_NUMBER
from ssh2container.admin.policy.yaml.nodes import Node, Scalar
from ssh2container.admin.policy.yaml.problems import WARNING, did_you_mean, quoted
from ssh2container.policy import specifiers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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

    def read(self, node: Node, report: Report) -> Any:
        path = super().read(node, report)
        if path is not INVALID:
            warn_of_options(path, node, report, "a path stands alone")
        return path

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
    paths.RUNTIME: "choose another target",
}


def warn_of_options(path: str, node: Node, report: Report, hint: str) -> None:
    """Report a path that ends in what is surely meant as options: it is taken as it stands."""
    if _OPTIONS.search(path):
        report.fail(node, f"the path {quoted(path)} looks as if it held options", hint=hint, severity=WARNING)


_OPTIONS = re.compile(
    r"(?:size|mode|uid|gid|nr_inodes)=|[,:=](?:ro|rw|z|Z|U|exec|noexec|suid|nosuid|dev|nodev|bind|rbind)(?![^,:=])"
)


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
    """true or false, written so that YAML 1.1 and 1.2 agree.

    words: what other languages write for them.
    """

    name = "boolean"
    allowed = "true | false"
    words = ("true", "yes", "on", "y", "1", "false", "no", "off", "n", "0")

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        if scalar.plain and scalar.text in ("true", "false"):
            return scalar.text == "true"
        hint = ""
        if scalar.text.lower() in self.words[:5]:
            hint = "write true" + ("" if scalar.plain else " without quotes")
        elif scalar.text.lower() in self.words[5:]:
            hint = "write false" + ("" if scalar.plain else " without quotes")
        return report.fail(node, f"found {quoted(scalar.text)}", self.allowed, hint)

    def write(self, value: bool) -> str:  # noqa: FBT001
        return "true" if value else "false"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


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
        items = lists.entries(node, report, self.allowed, several=lists.SEVERAL_WORDS)
        if items is None:
            return INVALID
        if len(items) < self.minimum:
            return report.fail(node, "an empty list", self.allowed)
        words = [self.kind.read(item, report) for item in items]
        for place, word in enumerate(words):
            if self.unique and word is not INVALID and word in words[:place]:
                report.fail(items[place], f"{quoted(word)} is listed twice", hint="keep one of them")
                words[place] = INVALID
        return INVALID if any(word is INVALID for word in words) else tuple(words)

    def write(self, value: tuple[Any, ...]) -> str:
        return "[" + ", ".join(self.kind.write(word) for word in value) + "]"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.kind.schema(), self.list_schema()]}

    def list_schema(self) -> dict[str, Any]:
        """Return the list alone as JSON Schema."""
        schema = {"type": "array", "items": self.kind.schema(), "minItems": self.minimum}
        return schema | ({"uniqueItems": True} if self.unique else {})

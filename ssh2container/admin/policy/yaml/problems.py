"""What is wrong in a policy: where, what was found, what is allowed."""

from __future__ import annotations

import difflib

from ssh2container.errors import Refusal, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ERROR = "error"
WARNING = "warning"

REMEDY = "the administrator finds all errors with: ssh2containerctl check"


class Problem:
    """One finding in one file.

    line, column: counted from 1; 0 when the file as a whole is meant.
    message: what was found, without a final stop.
    allowed: what may stand there, "" when the message says it.
    hint: what the author probably wants, "" when nobody can know.
    text: the line of the file, for the marker.
    severity: ERROR (the policy is refused) or WARNING (it is weaker than it looks).
    """

    __slots__ = ("allowed", "column", "file", "hint", "line", "message", "severity", "text")

    def __init__(
        self,
        file: str,
        line: int,
        column: int,
        message: str,
        allowed: str = "",
        hint: str = "",
        text: str = "",
        severity: str = ERROR,
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.message = message
        self.allowed = allowed
        self.hint = hint
        self.text = text
        self.severity = severity

    def place(self) -> str:
        """Return ``file:line:column``, or the file alone when it is meant as a whole."""
        if not self.line:
            return printable(self.file)
        return printable(f"{self.file}:{self.line}:{self.column}")

    def __str__(self) -> str:
        line = self.message
        if self.allowed:
            line += f"; allowed: {self.allowed}"
        if self.hint:
            line += f"; {self.hint}"
        return f"{self.place()}: {printable(line)}"

    def key(self) -> tuple[str, int, int, str]:
        """Order of appearance."""
        return (self.file, self.line, self.column, self.message)

    def as_dict(self) -> dict[str, str | int]:
        """Return the finding for ``check --json``."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "severity": self.severity,
            "message": self.message,
            "allowed": self.allowed,
            "hint": self.hint,
        }


class PolicyError(Refusal):
    """A policy cannot be used. ``problems`` holds every error that was found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=Problem.key)
        first = str(self.problems[0])
        more = len(self.problems) - 1
        if more:
            first += f" (and {more} more)"
        super().__init__("the policy is not valid", first, REMEDY, step="policy")


def shortened(text: str, limit: int = 60) -> str:
    """Return ``text`` on one line, shortened to ``limit`` characters."""
    return printable(text if len(text) <= limit else text[:limit] + "…")


def quoted(text: str, limit: int = 60) -> str:
    """Return ``text`` in quotes and on one line, shortened to ``limit`` characters."""
    return '"' + shortened(text, limit) + '"'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean "x"?`` when one of ``known`` is close to ``word``, else ""."""
    close = difflib.get_close_matches(word[:80], list(known), n=1, cutoff=0.7)
    return f"did you mean {quoted(close[0])}?" if close else ""

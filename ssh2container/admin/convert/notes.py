"""What a conversion says beside its policy: what it left out and why, what differs, what to prepare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import List, Map, Text, source_of
from ssh2container.admin.policy.types.kinds import INVALID, Report
from ssh2container.admin.policy.yaml.problems import ERROR, WARNING, Problem
from ssh2container.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.admin.policy.yaml.nodes import Node


class Note:
    """One thing to say of one place.

    key: what stands there, in the words of the file.
    why: a sentence without its capital and its stop.
    """

    __slots__ = ("column", "file", "key", "line", "text", "why")

    def __init__(self, node: Node, key: str, why: str) -> None:
        source = source_of(node)
        self.file = source.path
        self.line = node.line
        self.column = node.column
        self.text = source.line(node.line)
        self.key = key
        self.why = why

    def as_dict(self) -> dict[str, str | int]:
        """Return the note for ``convert --json``."""
        return {"file": self.file, "line": self.line, "column": self.column, "key": self.key, "why": self.why}

    def problem(self, verb: str) -> Problem:
        """Return the note as it is printed: ``verb`` says what happened to the key."""
        message = f"{self.key} {verb}"
        return Problem(self.file, self.line, self.column, message, "", self.why, self.text, WARNING)


class Notes(Report):
    """Collects what there is to say of one policy.

    left_out: what the policy does not have. differs: what it has, and means otherwise than before.
    prepare: commands, in order, without which its logins would be refused.
    """

    __slots__ = ("differs", "left_out", "prepare")

    def __init__(self, source: Source) -> None:
        super().__init__(source, [])
        self.left_out: list[Note] = []
        self.differs: list[Note] = []
        self.prepare: list[str] = []

    def fail(self, node: Node, message: str, allowed: str = "", hint: str = "", severity: str = ERROR) -> Any:  # noqa: ANN401
        """Note a problem that a kind of values has with ``node``, and return INVALID."""
        # A kind makes nodes of its own of the parts of a text; those are in the main file, or say no place.
        source = node.source if isinstance(node, Text | List | Map) else self.source
        text = source.line(node.line)
        self.problems.append(
            Problem(source.path, node.line, node.column, message, allowed, hint, text, severity)
        )
        return INVALID

    def leave(self, node: Node, key: str, why: str) -> None:
        """Say that ``key`` is left out."""
        self.left_out.append(Note(node, key, why))

    def differ(self, node: Node, key: str, why: str) -> None:
        """Say that ``key`` means something else in the policy."""
        self.differs.append(Note(node, key, why))

    def do_first(self, *commands: str) -> None:
        """Name commands that have to run before the policy's first login; each is named once."""
        self.prepare = list(dict.fromkeys((*self.prepare, *commands)))

    def read(self, reader: Callable[[Node, Report], Any], node: Node, key: str) -> Any:  # noqa: ANN401
        """Return what a kind of values makes of ``node``, INVALID after leaving ``key`` out."""
        before = len(self.problems)
        value = reader(node, self)
        found = self.problems[before:]
        del self.problems[before:]
        for problem in found:
            allowed = f"allowed: {problem.allowed}" if problem.allowed else ""
            why = "; ".join(part for part in (problem.message, allowed, problem.hint) if part)
            if problem.severity == ERROR:
                self.leave(node, key, why)
                value = INVALID
            else:
                self.differ(node, key, why)
        return value


def in_order(notes: Sequence[Note]) -> list[Note]:
    """Return notes by their places, each once."""
    found = {(note.file, note.line, note.column, note.key, note.why): note for note in notes}
    return [found[key] for key in sorted(found)]


def line_of(note: Note, file: str = "") -> str:
    """Return a note on one line, with its place; file: what its file is called there, "" for its path."""
    place = f"{file or note.file}:{note.line}" if note.line else file or note.file
    return f"{place}: {note.key}: {note.why}"


def comments(
    first: str, prepare: Sequence[str], left_out: Sequence[str], differs: Sequence[str]
) -> list[str]:
    """Return what stands above a policy that was made from something else.

    first: its first line; prepare: see :class:`Notes`; left_out, differs: notes on one line each.
    """
    lines = [first]
    for heading, entries in (
        ("To do first", prepare),
        ("Left out", left_out),
        ("Not quite the same", differs),
    ):
        if entries:
            lines += ["", f"{heading}:", *(f"  {entry}" for entry in entries)]
    return [f"# {printable(line)}".rstrip() for line in lines]

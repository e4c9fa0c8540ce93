"""The syntax of systemd's unit files (systemd.syntax(7)): sections, continued lines, words, drop-ins."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ssh2container.admin.convert import compose
from ssh2container.admin.convert.tree import Text, error
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem, quoted

if TYPE_CHECKING:
    from ssh2container.admin.policy.yaml.files import Source

LONGEST_LINES = 5000
_SECTION = re.compile(r"\[([^\[\]]+)\]")
_ASSIGNMENT = re.compile(r"([A-Za-z0-9_-]+)[ \t]*=[ \t]*(.*)", re.DOTALL)
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"',
    "'": "'", "s": " ",
}  # fmt: skip


class Assignment:
    """One ``Key=Value`` of a section; the value is where its key is."""

    __slots__ = ("key", "section", "value")

    def __init__(self, section: str, key: str, value: Text) -> None:
        self.section = section
        self.key = key
        self.value = value


def read(path: str) -> list[Assignment]:
    """Return what a unit and its drop-ins say, in the order in which it comes to hold.

    Raises PolicyError for a file that cannot be read, and for a line that is none of a unit's.
    """
    found = parse(compose.read(path, tabs=True))
    for drop_in in _drop_ins(path):
        found += parse(compose.read(drop_in, tabs=True))
    return found


def parse(source: Source) -> list[Assignment]:
    """Return the assignments of one file, in its order."""
    found = []
    section = ""
    for number, text in _lines(source):
        place = Text("", number, 1, source)
        if not text:
            continue
        heading = _SECTION.fullmatch(text)
        if heading:
            section = heading[1]
            continue
        match = _ASSIGNMENT.fullmatch(text)
        if match is None:
            raise error(place, f"found {quoted(text)}", "[SECTION], KEY=VALUE, or a comment with # or ;")
        if not section:
            raise error(place, f"{match[1]} stands in no section", "[Container] above it")
        found.append(Assignment(section, match[1], Text(match[2].strip(), number, 1, source)))
    return found


def _lines(source: Source) -> list[tuple[int, str]]:
    """Return (number, text) of each line; one that ends in a backslash goes on in the next."""
    lines = source.text.split("\n")
    if len(lines) > LONGEST_LINES:
        raise PolicyError([Problem(source.path, 0, 0, f"more than {LONGEST_LINES} lines")])
    found = []
    parts: list[str] = []
    start = 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith(("#", ";")):
            continue  # between continued lines, too
        if not parts:
            start = number
        if text.endswith("\\"):
            parts.append(text[:-1].rstrip())
            continue
        found.append((start, " ".join([*parts, text]).strip()))
        parts = []
    if parts:
        found.append((start, " ".join(parts).strip()))
    return found


def _drop_ins(path: str) -> list[str]:
    """Return the drop-ins beside a unit; of two with one name, that of the more specific directory."""
    directory, name = os.path.split(os.path.abspath(path))
    stem, suffix = os.path.splitext(name)
    prefix, at, instance = stem.partition("@")
    places = [f"{suffix[1:]}.d"]
    dashes = [index + 1 for index, letter in enumerate(prefix) if letter == "-" and index + 1 < len(stem)]
    places += [f"{prefix[:index]}{suffix}.d" for index in dashes]
    if at and instance:
        places.append(f"{prefix}@{suffix}.d")
    places.append(f"{name}.d")
    chosen: dict[str, str] = {}
    for place in places:
        try:
            entries = os.listdir(f"{directory}/{place}")
        except OSError:
            continue
        chosen.update({entry: f"{directory}/{place}/{entry}" for entry in entries if entry.endswith(".conf")})
    return [chosen[entry] for entry in sorted(chosen)]


def words(node: Text) -> list[Text]:
    """Return the words of a value, as systemd splits and unquotes them.

    Raises PolicyError for a quote that is not closed.
    """
    found: list[Text] = []
    text, at = node.text, 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        word, at = _word(node, at)
        found.append(Text(word, node.line, node.column, node.source))
    return found


def _word(node: Text, at: int) -> tuple[str, int]:
    text = node.text
    letters = []
    quote = ""
    while at < len(text) and (quote or not text[at].isspace()):
        letter = text[at]
        at += 1
        if letter == "\\" and at < len(text):
            unescaped, at = _escape(text, at)
            letters.append(unescaped)
        elif quote and letter == quote:
            quote = ""
        elif not quote and letter in "\"'":
            quote = letter
        else:
            letters.append(letter)
    if quote:
        raise error(node, f"a quote is not closed in {quoted(text)}", "a second one")
    return "".join(letters), at


def _escape(text: str, at: int) -> tuple[str, int]:
    """Return what the escape behind a backslash at ``at`` - 1 means, and where the text goes on."""
    letter = text[at]
    number = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([0-7]{3})").match(text, at)
    if number:
        code = int(number[3], 8) if number[3] else int(number[1] or number[2], 16)
        return chr(code), number.end()
    return _ESCAPES.get(letter, "\\" + letter), at + 1

"""Reading other projects' files: bounded, without running or expanding anything that stands in them."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssh2container.admin.convert import compose
from ssh2container.admin.convert.tree import Text
from ssh2container.admin.foreign.told import unreadable
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.policy.yaml.files import Source

MOST_FILES = 100
"""Of one configuration."""
MOST_LINES = 20_000
_SECTION = re.compile(r"\[(?P<name>[^\[\]]+)\]\s*(?:[#;].*)?")
_OPTION = re.compile(r"(?P<key>[^\s:=\[][^:=]*?)\s*[:=]\s*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Option:
    """One ``KEY = VALUE`` of a section; the value stands where its key does."""

    section: str
    key: str
    value: Text


def read(path: str) -> Source:
    """Return a file. Raises PolicyError where there is none, or it is too large or no text."""
    source = compose.read(path, tabs=True)
    if source.text.count("\n") > MOST_LINES:
        raise PolicyError([Problem(path, 0, 0, f"more than {MOST_LINES} lines")])
    return source


def matching(pattern: str) -> list[str]:
    """Return the files that a pattern names, in order. Raises PolicyError for too many."""
    found = sorted(glob.glob(pattern))
    if len(found) > MOST_FILES:
        raise PolicyError([Problem(pattern, 0, 0, f"more than {MOST_FILES} files")])
    return [path for path in found if os.path.isfile(path)]


def lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of each line that says something; a comment takes a whole line."""
    for number, line in enumerate(source.text.split("\n"), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield number, text


def sections(source: Source, comments: str = "#;") -> list[Option]:
    """Return the options of a file of sections; an indented line goes on with the value before it.

    comments: what a line of comment begins with.
    Raises PolicyError for a line that is no part of such a file.
    """
    found: list[Option] = []
    section = ""
    for number, line in enumerate(source.text.split("\n"), 1):
        text = line.strip()
        if not text or text[0] in comments:
            continue
        if line[0] in " \t" and found and found[-1].section == section:
            found[-1].value.text += f"\n{text}"
            continue
        heading = _SECTION.fullmatch(text)
        if heading:
            section = heading["name"].strip()
            continue
        match = _OPTION.fullmatch(text)
        if match is None:
            raise unreadable(source, number, f"found {quoted(text)}", "[SECTION], KEY = VALUE, or a comment")
        if not section:
            raise unreadable(
                source, number, f"{quoted(match['key'])} stands in no section", "a [SECTION] above it"
            )
        found.append(Option(section, match["key"].strip().lower(), Text(match["value"], number, 1, source)))
    return found

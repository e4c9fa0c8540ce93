"""Which verbs there are: each file beside this one that declares one, and what it says of itself.

A file is a verb when it has ``SECTION`` and a command with a ``short_help``. Both are read from its text:
help and completion would spend a second on importing every verb, to show a line of each.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

SECTIONS = ("Policies", "Users", "Sessions", "Images and filters", "The host")
"""Headings of ``--help`` and of the manual page, in their order."""
_HERE = os.path.dirname(os.path.abspath(__file__))
_DECLARED = re.compile(
    r'^SECTION = "(?P<section>[^"]+)"$.*?'
    r'^@click\.(?:command|group)\(\s*"(?P<name>[a-z-]+)",\s*short_help="(?P<help>[^"]+)"',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: its name, its module, its line of help, its heading."""

    name: str
    module: str
    help: str
    section: str


def found() -> dict[str, Verb]:
    """Return the verbs by name, in the order of their headings and then of the alphabet."""
    verbs = []
    for entry in sorted(os.listdir(_HERE)):
        stem = entry.removesuffix(".py")
        path = f"{_HERE}/{entry}" if stem != entry else f"{_HERE}/{entry}/__init__.py"
        if not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8") as file:
            declared = _DECLARED.search(file.read())
        if declared:
            verbs.append(
                Verb(declared["name"], f"{__package__}.{stem}", declared["help"], declared["section"])
            )
    return {verb.name: verb for verb in sorted(verbs, key=lambda verb: SECTIONS.index(verb.section))}

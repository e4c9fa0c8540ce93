"""Variables in Compose files, and the files they are set in.

``$NAME``, ``${NAME}``, and with braces the operators ``:-`` ``-`` (a default), ``:?`` ``?`` (an error) and
``:+`` ``+`` (a replacement); ``$$`` is a dollar sign (Compose Specification, 12-interpolation.md).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Text, error
from ssh2container.admin.policy.yaml.problems import PolicyError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssh2container.admin.policy.yaml.files import Source

_START = re.compile(r"\$(?:(?P<dollar>\$)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<brace>\{))")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<operator>:?[-?+])?")
_FORMS = "$NAME, ${NAME}, ${NAME:-DEFAULT}, ${NAME:?ERROR}, ${NAME:+REPLACEMENT}, or $$ for a dollar sign"
LONGEST = 65536
"""Characters of a value once its variables are replaced."""
_DEEPEST = 16


class Variables:
    """What variables stand for. unset: (where, name) of those that had no value and no default."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)
        self.unset: list[tuple[Text, str]] = []

    def expand(self, node: Text) -> None:
        """Replace the variables in ``node``. Raises PolicyError for a wrong form or one that is required."""
        if "$" in node.text:
            node.text = self._expanded(node.text, node, 0)

    def _expanded(self, text: str, node: Text, depth: int) -> str:
        if depth > _DEEPEST:
            raise error(node, f"more than {_DEEPEST} variables within each other")
        done = []
        size = at = 0
        while (dollar := text.find("$", at)) != -1:
            match = _START.match(text, dollar)
            if match is None:
                raise error(node, f"the $ in {quoted(text)}", _FORMS)
            value, end = self._value(match, node, depth)
            done += [text[at:dollar], value]
            size += len(value) + dollar - at
            if size > LONGEST:
                raise error(node, f"a text of more than {LONGEST} characters once its variables are replaced")
            at = end
        return "".join(done) + text[at:]

    def _value(self, match: re.Match[str], node: Text, depth: int) -> tuple[str, int]:
        """Return the value and where the text goes on behind it."""
        if match["dollar"]:
            return "$", match.end()
        if match["name"]:
            return self._plain(match["name"], node), match.end()
        text = match.string
        end = _closing(text, match.end())
        inside = _INSIDE.match(text, match.end())
        if end == -1 or inside is None or (inside["operator"] is None and inside.end() != end):
            raise error(node, f"found {quoted(text[match.start() :])}", _FORMS)
        name, operator = inside["name"], inside["operator"]
        rest = text[inside.end() : end]
        found = self.values.get(name)
        has = bool(found) if operator and operator.startswith(":") else found is not None
        if operator is None:
            value = self._plain(name, node)
        elif operator[-1] == "+":
            value = self._expanded(rest, node, depth + 1) if has else ""
        elif has:
            value = found or ""
        elif operator[-1] == "?":
            raise error(node, f"the variable {name} has no value", "", rest or "set it, or write a default")
        else:
            value = self._expanded(rest, node, depth + 1)
        return value, end + 1

    def _plain(self, name: str, node: Text) -> str:
        found = self.values.get(name)
        if found is None:
            self.unset.append((node, name))
        return found or ""


def _closing(text: str, at: int) -> int:
    """Return where the brace that is open at ``at`` is closed, -1 where it is not."""
    depth = 1
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    return -1


_ENTRY = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*
    (?:[=:][ \t]*(?:'(?P<literal>[^']*)'|"(?P<escaped>(?:[^"\\]|\\.)*)"|(?P<plain>[^\n]*))|)
    [ \t]*(?:\#[^\n]*)?\r?$""",
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_AN_ENTRY = "NAME=VALUE"
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?\r?$", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_file(source: Source, known: Mapping[str, str], *, raw: bool = False) -> dict[str, str | None]:
    """Return the variables that a file sets; None is one that is only named.

    known: what ``$NAME`` in it stands for, beside what the file has set before.
    raw: as ``--env-file`` of podman and docker: a line is NAME=VALUE, without quotes and variables.

    Raises PolicyError for a line that is none.
    """
    if raw:
        return _raw(source)
    found: dict[str, str | None] = {}
    at = 0
    while at < len(source.text):
        blank = _BLANK.match(source.text, at)
        if blank:
            at = blank.end() + 1
            continue
        line = source.text.count("\n", 0, at) + 1
        place = Text("", line, 1, source)
        match = _ENTRY.match(source.text, at)
        if match is None:
            raise error(place, f"found {quoted(source.line(line))}", _AN_ENTRY)
        settled = {name: value for name, value in found.items() if value is not None}
        found[match["name"]] = _of_entry(match, place, {**settled, **known})
        at = match.end() + 1
    return found


def _raw(source: Source) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for number, line in enumerate(source.text.split("\n"), 1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if any(letter.isspace() for letter in name):
            raise error(Text("", number, 1, source), f"found {quoted(line)}", _AN_ENTRY)
        found[name] = value if equals else None
    return found


def _of_entry(match: re.Match[str], place: Text, known: Mapping[str, str]) -> str | None:
    if match["literal"] is not None:
        return match["literal"]
    if match["escaped"] is not None:
        text = re.sub(
            r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), match["escaped"], flags=re.DOTALL
        )
    elif match["plain"] is not None:
        text = _COMMENT.sub("", match["plain"]).strip()
    else:
        return None
    node = Text(text, place.line, place.column, place.source)
    try:
        Variables(known).expand(node)
    except PolicyError as wrong:
        if "has no value" in str(wrong):
            raise
        return text  # a dollar sign that begins no variable is one
    return node.text

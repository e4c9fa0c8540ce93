"""The entries of a list, of which a single one may stand without the list, as in Compose."""

from __future__ import annotations

import re

from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar, Sequence
from ssh2container.admin.policy.yaml.problems import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.admin.policy.types.kinds import Report

SEVERAL = re.compile(r",\s|\n")
"""What separates entries for a reader, and never stands inside one that is written alone."""
SEVERAL_WORDS = re.compile(r"[,\s]")
"""The same where an entry is a path or a name."""

YES, NO = ("true", "yes", "on"), ("false", "no", "off")
"""What people write who take a list for a switch."""
_EVERYTHING = frozenset(("all", "any", *YES))

_NOTHING = frozenset(("none", "null", "~", *NO))


def entries(
    node: Node, report: Report, allowed: str, *, maps: bool = False, several: re.Pattern[str] = SEVERAL
) -> list[Node] | None:
    """Return the entries of a list, or the one that stands in its place; None after reporting why not.

    maps: an entry may be a map.
    several: what makes a text more than one entry.

    Words that could stand for the whole list (none, all) and texts that could be several entries are
    refused: whoever means one entry writes it in brackets.
    """
    if isinstance(node, Sequence):
        return node.items
    if isinstance(node, Mapping) and maps and node.pairs:
        return [node]
    if not isinstance(node, Scalar) or (node.plain and not node.text):
        report.fail(node, f"{node.found} instead of a list", allowed)
        return None
    word = node.text.lower()
    if word in _NOTHING or word in _EVERYTHING:
        hint = (
            "write [] for an empty list" if word in _NOTHING else f"write [{quoted(node.text)}] for this one"
        )
        report.fail(node, f"found {quoted(node.text)} instead of a list", allowed, hint)
        return None
    if several.search(node.text):
        hint = f"write [{quoted(node.text)}] for this one, [A, B] for several"
        report.fail(node, f"{quoted(node.text)} may be one entry or several", allowed, hint)
        return None
    return [node]

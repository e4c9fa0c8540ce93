"""The page and the section of the manual on exit statuses: what each means, what each verb's help says.

A verb's help ends with a sentence ``Exit status: 0 done, 1 it failed.``. It is read from the text of the
verb's file, as :mod:`verbs` does: some verbs cannot be imported where documents are made.
"""

from __future__ import annotations

import ast
import glob
import os
import re

from ssh2container.admin import statuses
from ssh2container.admin.cli import verbs

PASSED_ON = (
    "exec, try and image edit pass on the status of what ran inside, whatever it is; where that was ended by"
    " a signal, it is 128 and the signal's number, or death by the same signal."
)
_FURTHER = (
    "Each verb can also end with 2 and 125, and where a policy that it needs is not valid with 126; with"
    " 1 and 127 only where its help says so."
)


def stated() -> dict[str, tuple[str, dict[int, str]]]:
    """Return what each verb ("image import") says: what it passes on, and status -> when."""
    here = os.path.dirname(os.path.abspath(__file__))
    found = {}
    for path in sorted(glob.glob(f"{here}/*.py") + glob.glob(f"{here}/*/*.py")):
        group = os.path.basename(os.path.dirname(path)) if os.path.dirname(path) != here else ""
        with open(path, encoding="utf-8") as file:
            module = ast.parse(file.read())
        for function in module.body:
            for decorator in getattr(function, "decorator_list", ()):
                said = _command(decorator)
                if said is not None and isinstance(function, ast.FunctionDef):
                    name, is_of_group, text = said
                    above = group or (os.path.basename(path)[:-3] if is_of_group else "")
                    found[f"{above} {name}".strip()] = _read(text or ast.get_docstring(function) or "")
    order = [*verbs.found()]
    return dict(sorted(found.items(), key=lambda pair: order.index(pair[0].split()[0])))


def _command(decorator: ast.expr) -> tuple[str, bool, str] | None:
    """Return name, whether it belongs to the file's group, and its ``help``, of what makes a verb."""
    if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
        return None
    if decorator.func.attr != "command" or not decorator.args:
        return None
    words = [word.value for word in decorator.keywords if word.arg == "help"]
    constants = [node.value for word in words for node in ast.walk(word) if isinstance(node, ast.Constant)]
    name = ast.literal_eval(decorator.args[0])
    return name, ast.unparse(decorator.func.value) == "command", "".join(map(str, constants))


def _read(text: str) -> tuple[str, dict[int, str]]:
    _, _, sentence = " ".join(text.split()).partition(statuses.SENTENCE)
    first, *others = re.split(r"(?:^|[,;] )(?=\d+ )", sentence.removesuffix("."))
    pairs = (one.split(" ", 1) for one in others)
    return first, {int(number): words for number, words in pairs}


def markdown() -> str:
    """Return docs/exit-status.md."""
    lines = [
        "# Exit statuses of ssh2containerctl",
        "",
        "<!-- Made from ssh2container/admin/statuses.py and the help of each verb by: make docs -->",
        "",
        "All verbs use one set, and none uses another status.",
        "",
        "| status | means |",
        "|---|---|",
        *(f"| {status} | {means} |" for status, means in statuses.MEANINGS.items()),
        "",
        PASSED_ON,
        "125, 126 and 127 are also those of a [login](clients.md).",
        "",
        "## Verb by verb",
        "",
        _FURTHER,
        "",
        "| verb | ends with |",
        "|---|---|",
    ]
    for name, (passed_on, said) in stated().items():
        words = [passed_on] if passed_on else []
        words += [f"**{status}** {when}" for status, when in said.items()]
        lines.append(f"| `{name}` | {'; '.join(words)} |")
    return "\n".join(lines) + "\n"


def manual() -> list[str]:
    """Return the lines of ssh2containerctl(8) on exit statuses."""
    lines = []
    for status, means in statuses.MEANINGS.items():
        lines += [".TP", f".B {status}", f"{means[0].upper()}{means[1:]}."]
    return [*lines, ".PP", PASSED_ON, "What each verb ends with is said by its", ".BR \\-\\-help ."]

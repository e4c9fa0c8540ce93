"""docs/doctor.md: every finding that the doctor can have, made from where the findings stand in the code."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssh2container.admin.doctor import finding

if TYPE_CHECKING:
    from collections.abc import Iterable

_HERE = os.path.dirname(os.path.abspath(__file__))
_LEVEL, _CHECK, _REMEDY = 0, 1, 4
_OTHER = "…"
"""Stands for what only a host can tell."""
_HEAD = """\
# What the doctor can find

<!-- Made from the findings in ssh2container/admin/doctor by: make docs -->

The field `check` of `ssh2containerctl doctor --json` is one of these names, which stay the same.
The field `text` is for people, and may change.
A finding is *ok*, a *note* (a fact to know), a *warning* (weakens a promise) or a *problem* (breaks one).
"""


@dataclass
class Entry:
    """One check: its levels, and what its findings say is to be done."""

    levels: set[str] = field(default_factory=set)
    remedies: list[str] = field(default_factory=list)


def entries() -> dict[str, Entry]:
    """Return every check by name. Raises ValueError for a finding whose name or level is no plain word."""
    found: dict[str, Entry] = {}
    for name in sorted(os.listdir(_HERE)):
        if name.endswith(".py"):
            with open(f"{_HERE}/{name}", encoding="utf-8") as file:
                _read(name, ast.parse(file.read()), found)
    return dict(sorted(found.items()))


def markdown() -> str:
    """Return the document."""
    lines = [_HEAD, "| check | levels | what to do |", "|---|---|---|"]
    for name, entry in entries().items():
        levels = ", ".join(level for level in finding.LEVELS if level in entry.levels)
        told = dict.fromkeys(text for text in entry.remedies if text.strip(_OTHER + " "))
        remedies = "; or: ".join(told).replace("|", "\\|")
        lines.append(f"| `{name}` | {levels} | {remedies} |")
    return "\n".join(lines) + "\n"


def _read(name: str, tree: ast.Module, found: dict[str, Entry]) -> None:
    tables = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    common = _words([node for node in tree.body if isinstance(node, ast.Assign)], {})
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        words = {**common, **_words(ast.walk(function), tables)}
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "Finding":
                checks = _meant(call.args[_CHECK], words)
                levels = [getattr(finding, level, "") for level in _names(call.args[_LEVEL])]
                if not checks or not levels or not all(level in finding.LEVELS for level in levels):
                    raise ValueError(f"{name}:{call.lineno}: name and level have to be plain words")
                for check in checks:
                    entry = found.setdefault(check, Entry())
                    entry.levels.update(levels)
                    if len(call.args) > _REMEDY:
                        entry.remedies.append(_text(call.args[_REMEDY], words))


def _words(nodes: Iterable[ast.AST], tables: dict[str, ast.expr]) -> dict[str, list[str]]:
    """Return what variables hold, as far as those are plain words, or come from a table of the module."""
    held: dict[str, list[str]] = {}
    for node in nodes:
        pairs: list[tuple[ast.expr, ast.expr]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.For):
            table = tables.get(ast.unparse(node.iter), node.iter)
            pairs = [(node.target, each) for each in table.elts] if isinstance(table, ast.Tuple) else []
        for target, value in pairs:
            inner = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                inner = [*zip(target.elts, value.elts, strict=False)]
            for variable, held_value in inner:
                if isinstance(variable, ast.Name):
                    held.setdefault(variable.id, []).extend(_meant(held_value, {}))
    return held


def _meant(value: ast.expr, words: dict[str, list[str]]) -> list[str]:
    """Return the words that an expression can be."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [value.value]
    if isinstance(value, ast.IfExp):
        return [*_meant(value.body, words), *_meant(value.orelse, words)]
    if isinstance(value, ast.FormattedValue):
        return _meant(value.value, words)
    if isinstance(value, ast.JoinedStr):
        meant = [""]
        for part in value.values:
            meant = [before + word for before in meant for word in _meant(part, words)]
        return meant
    return words.get(value.id, []) if isinstance(value, ast.Name) else []


def _names(value: ast.expr) -> list[str]:
    """Return the names that an expression can be."""
    if isinstance(value, ast.IfExp):
        return [*_names(value.body), *_names(value.orelse)]
    return [value.id] if isinstance(value, ast.Name) else []


def _text(value: ast.expr, words: dict[str, list[str]]) -> str:
    """Return a text as far as it stands in the code."""
    if isinstance(value, ast.Constant):
        return str(value.value)
    if isinstance(value, ast.JoinedStr):
        return "".join(_text(part, words) for part in value.values)
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return _text(value.left, words) + _text(value.right, words)
    meant = _meant(value, words)
    return meant[0] if len(set(meant)) == 1 else _OTHER

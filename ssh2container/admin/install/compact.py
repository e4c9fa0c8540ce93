"""The code of a session's modules without what no login needs.

Docstrings, annotations and imports for type checkers are for readers of the source. Nor is there an import of
what a session has made by then (:mod:`.links`), or a definition that a plain login does not use
(:mod:`.deferral`).
"""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

from ssh2container.admin.install import deferral, links, statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType

    from ssh2container.admin.install.bundle import Found
    from ssh2container.loading import Made

DEFERRED = os.path.dirname(__file__) + "/deferred.txt"
"""A line each: module and definition."""


def compile_all(
    now: Sequence[Found], later: Sequence[Found]
) -> tuple[list[Made], list[Made], dict[str, dict[str, CodeType]]]:
    """Return the code of both, and for each module what it leaves behind, by name. Raises OSError.

    now: the modules of every session, in the order in which they are made. later: the others.
    """
    trees, parts = _split([*now, *later])
    unused = _unused(now, trees)
    later = [*(found for found in now if found[0] in unused), *later]
    now = [found for found in now if found[0] not in unused]
    linker = links.Links([name for name, *_ in now], [name for name, *_ in later])
    made: dict[str, Made] = {}
    left: dict[str, dict[str, CodeType]] = {}
    for name, file, search, is_python in (*now, *later):
        code = None
        if is_python:
            package = _package_of(name, search)
            # All of the first are there when one of the others is made.
            linker.link(trees[name], package, linker.now if len(made) >= len(now) else made)
            code = _compile(trees[name], file)
            for part in parts[name].values():
                linker.link(part, package, linker.now)
            if parts[name]:
                left[name] = {part: _compile(found, file) for part, found in parts[name].items()}
        made[name] = (name, file, search, code)
    every = list(made.values())
    return every[: len(now)], every[len(now) :], left


def _split(modules: Sequence[Found]) -> tuple[dict[str, ast.Module], dict[str, dict[str, ast.Module]]]:
    """Return by module what stays of it and, by name, what does not."""
    listed = listed_names(DEFERRED)
    trees: dict[str, ast.Module] = {}
    parts: dict[str, dict[str, ast.Module]] = {}
    absent: set[tuple[str, str]] = set()
    for name, file, search, is_python in modules:
        if is_python:
            tree = trees[name] = tree_of(file)
            wanted = deferral.imported(tree, _package_of(name, search), absent)
            parts[name] = deferral.split(tree, wanted.union(listed.get(name, ())))
            absent.update((name, part) for part in parts[name])
    return trees, parts


def _unused(now: Sequence[Found], trees: Mapping[str, ast.Module]) -> set[str]:
    """Return which modules of C only deferred definitions of ``now`` import."""
    found: set[str] = set()
    for name, *_, is_python in now:
        for node in statements.walk(trees[name]) if is_python else ():
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
    return {name for name, *_, is_python in now if not is_python and "." not in name} - found


def _package_of(name: str, search: list[str] | None) -> str:
    return name if search else name.rpartition(".")[0]


def listed_names(path: str) -> dict[str, set[str]]:
    """Return the names to defer, by module. Raises OSError."""
    listed: dict[str, set[str]] = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            module, name = line.split()
            listed.setdefault(module, set()).add(name)
    return listed


def code_of(file: str) -> CodeType:
    """Return the code of a source that is made whole. Raises OSError."""
    return _compile(tree_of(file), file)


def tree_of(file: str) -> ast.Module:
    """Return what a session needs of a source. Raises OSError."""
    with open(file, "rb") as source:
        tree = ast.parse(source.read(), file)
    _Plain().visit(tree)
    return tree


def _compile(tree: ast.Module, file: str) -> CodeType:
    # At this level it leaves out the docstrings.
    return compile(tree, file, "exec", dont_inherit=True, optimize=2)


class _Plain(statements.OnlyStatements, ast.NodeTransformer):
    """Takes out annotations, which a login would only build, and what ``TYPE_CHECKING`` is for."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        every = node.args
        optional = [argument for argument in (every.vararg, every.kwarg) if argument]
        for argument in (*every.posonlyargs, *every.args, *every.kwonlyargs, *optional):
            argument.annotation = None
        self.generic_visit(node)
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if _is_for_checkers(node.test) else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if _is_for_checkers(node.targets[0]) else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if node.module == "__future__" else node


def _is_for_checkers(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "TYPE_CHECKING"

"""Imports of what a session has already made, as look-ups in ``sys.modules``.

An import statement costs a login 3 µs even where the module is there, most of it for the question whether
it is a package, which the interpreter answers by an exception. A bundle has its modules in order, so nothing
need be asked.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from ssh2container.admin.install import statements

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MODULES = "__modules__"
"""What every module of the bundle knows ``sys.modules`` by."""


class Links:
    """The imports of one bundle.

    now: names of the modules that every session makes. later: of those that only some sessions import.
    """

    def __init__(self, now: Collection[str], later: Collection[str]) -> None:
        self.now = now
        self._later = later

    def link(self, tree: ast.Module, package: str, made: Collection[str]) -> None:
        """Replace the imports of ``tree``, a module of ``package``; made: what is there at its first run."""
        tree.body = list(self.linked(tree.body, package, made))
        _InFunctions(self, package, self.now).visit(tree)

    def linked(self, body: list[ast.stmt], package: str, made: Collection[str]) -> Iterator[ast.stmt]:
        """Yield the statements of ``body`` with each import of one of ``made`` replaced."""
        for node in body:
            kept: list[ast.alias] = []
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                yield node
                continue
            for alias in node.names:
                found = self._place_of(node, alias, package, made)
                if found is None:
                    kept.append(alias)
                else:
                    assign = ast.Assign([ast.Name(alias.asname or alias.name, ast.Store())], found)
                    yield ast.fix_missing_locations(ast.copy_location(assign, node))
            if kept:
                node.names = kept
                yield node

    def _place_of(
        self, node: ast.Import | ast.ImportFrom, alias: ast.alias, package: str, made: Collection[str]
    ) -> ast.expr | None:
        """Return where the imported thing is; None where it has to be imported."""
        if isinstance(node, ast.Import):
            return _module(alias.name) if alias.name in made and "." not in alias.name else None
        source = source_of(node, package)
        inner = f"{source}.{alias.name}"
        if inner in made:
            return _module(inner)
        if source not in made or inner in self.now or inner in self._later:
            return None
        return ast.Attribute(_module(source), alias.name, ast.Load())


def source_of(node: ast.ImportFrom, package: str) -> str:
    """Return the full name of the module that ``node``, in a module of ``package``, imports from."""
    if not node.level:
        return str(node.module)
    start = package.split(".")
    return ".".join([*start[: len(start) + 1 - node.level], *([node.module] if node.module else [])])


class _InFunctions(statements.OnlyStatements, ast.NodeTransformer):
    """Replaces imports in functions, which run when all of ``made`` are there."""

    def __init__(self, links: Links, package: str, made: Collection[str]) -> None:
        self._links = links
        self._package = package
        self._made = made
        self._depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt]:
        return list(self._links.linked([node], self._package, self._made)) if self._depth else node

    def visit_Import(self, node: ast.Import) -> ast.AST | list[ast.stmt]:
        return list(self._links.linked([node], self._package, self._made)) if self._depth else node


def _module(name: str) -> ast.expr:
    return ast.Subscript(ast.Name(MODULES, ast.Load()), ast.Constant(name), ast.Load())

"""The statements of a source, without a look at the expressions in them, which are most of a tree."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCKS = ("body", "handlers", "cases", "orelse", "finalbody")
"""The fields with statements, or with what has some, in the order of the source."""


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement below ``node``, handlers of exceptions and cases of a match among them."""
    for name in _BLOCKS:
        found = getattr(node, name, ())
        for each in found if isinstance(found, list) else ():  # a lambda's body is an expression
            yield each
            yield from walk(each)


class OnlyStatements(ast.NodeTransformer):
    """Has a transformer visit statements, and what has some: a base before the other."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visit the statements of ``node``, each of which may become several or none."""
        for name in _BLOCKS:
            found = getattr(node, name, None)
            if not isinstance(found, list):
                continue
            made: list[ast.AST] = []
            for each in found:
                visited = self.visit(each)
                if isinstance(visited, ast.AST):
                    made.append(visited)
                elif visited is not None:
                    made.extend(visited)
            found[:] = made
        return node

"""Definitions that a plain login never uses, left in the bundle until something asks for them.

A class costs a login 10 µs, a function 2 µs and both their memory, whether or not it is used. Whatever
``deferred.txt`` names is therefore taken out of its module's code: the first use finds nothing by that
name in the module, whose ``__getattr__`` (PEP 562) then makes it from another part of the bundle
(``loading.py``). A method stays where it is, but its body is left behind in the same way.

Only the bundle is written like this. The sources, and what runs without a bundle, know nothing of it.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from typing import TYPE_CHECKING

from ssh2container.admin.install import links

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

MODULE = "__self__"
"""What a module of the bundle calls itself, to find by attribute what it has left behind."""
_BOUND_TO_CLASS = frozenset(("super", "__class__", "locals"))
"""Names whose meaning depends on the very function that uses them."""


def split(tree: ast.Module, wanted: Collection[str]) -> dict[str, ast.Module]:
    """Take out of ``tree`` what is ``wanted`` later, and return that: name -> the module that defines it.

    wanted: names in the module (``Class.method`` for methods).
    Names that the module's own first run needs stay, and so do those with a second meaning anywhere in it.
    """
    if not wanted:
        return {}
    absent = _own_names(tree).intersection(wanted)
    while needed := absent.intersection(_needed_at_once(_staying(tree.body, absent))):
        absent -= needed
    left: dict[str, ast.Module] = {}
    tree.body = list(_without(tree.body, absent, left))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            _leave_bodies(node, wanted, left)
    for part in (tree, *left.values()) if absent else ():
        _ByAttribute(absent).visit(part)
    return left


def imported(tree: ast.Module, package: str, absent: Collection[tuple[str, str]]) -> set[str]:
    """Return the names that the module imports from where they are ``absent``: (module, name) of each.

    package: what relative imports of the module start from.
    """
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            source = links.source_of(node, package)
            found.update(alias.asname or alias.name for alias in node.names if (source, alias.name) in absent)
    return found


def _own_names(tree: ast.Module) -> set[str]:
    """Return what the module defines or imports by name, and binds nowhere else, as whatever."""
    bound: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound[node.name] += 1
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound[node.id] += 1
        elif isinstance(node, ast.arg):
            bound[node.arg] += 1
        elif isinstance(node, ast.alias):
            bound[node.asname or node.name.partition(".")[0]] += 1
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound[node.name] += 1
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            bound.update(node.names * 2)
    return {name for name in _defined(tree) if bound[name] == 1 and not name.startswith("__")}


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from _assigned(node)


def _assigned(node: ast.Assign) -> list[str]:
    """Return the names of a table or a constant; nothing where more than names are assigned to."""
    targets = [target for target in node.targets if isinstance(target, ast.Name)]
    return [target.id for target in targets] if len(targets) == len(node.targets) == 1 else []


def _staying(body: list[ast.stmt], absent: set[str]) -> Iterator[ast.stmt]:
    for node in body:
        names = [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []
        if not absent.intersection(_assigned(node) if isinstance(node, ast.Assign) else names):
            yield node


def _needed_at_once(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield every name that is looked up while ``body`` runs, the top of a module."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.Lambda):
            waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        else:
            waiting += ast.iter_child_nodes(node)


def _without(body: list[ast.stmt], absent: set[str], left: dict[str, ast.Module]) -> Iterator[ast.stmt]:
    """Yield the statements of ``body`` that stay."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in absent:
            left[node.name] = ast.Module([node], [])
        elif isinstance(node, ast.Assign) and absent.issuperset(_assigned(node) or (None,)):
            left[_assigned(node)[0]] = ast.Module([node], [])
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                name = alias.asname or alias.name
                if name in absent:
                    left[name] = ast.Module([_single(node, alias)], [])
            node.names = [alias for alias in node.names if (alias.asname or alias.name) not in absent]
            if node.names:
                yield node
        else:
            yield node


def _single(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    """Return the import of one name of those that ``node`` imports."""
    made = (
        ast.Import([alias])
        if isinstance(node, ast.Import)
        else ast.ImportFrom(node.module, [alias], node.level)
    )
    return ast.copy_location(made, node)


def _leave_bodies(owner: ast.ClassDef, wanted: Collection[str], left: dict[str, ast.Module]) -> None:
    """Have each wanted method call its own body, which is left behind under the method's full name."""
    for node in owner.body:
        name = f"{owner.name}.{node.name}" if isinstance(node, ast.FunctionDef) else ""
        if isinstance(node, ast.FunctionDef) and name in wanted and not _knows_its_class(node):
            taken = node.args
            every = ast.arguments(
                taken.posonlyargs,
                taken.args,
                taken.vararg,
                taken.kwonlyargs,
                [None] * len(taken.kwonlyargs),
                taken.kwarg,
                [],
            )
            whole = copy.copy(node)
            whole.name, whole.args, whole.decorator_list = name, every, []
            left[name] = ast.Module([whole], [])
            stub = ast.Return(_call(ast.Attribute(_load(MODULE), name, ast.Load()), taken))
            node.body = [ast.fix_missing_locations(ast.copy_location(stub, node))]


def _knows_its_class(function: ast.FunctionDef) -> bool:
    names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
    return bool(names & _BOUND_TO_CLASS) or any(
        name.startswith("__") and not name.endswith("__") for name in names
    )


def _call(function: ast.expr, taken: ast.arguments) -> ast.Call:
    """Return the call of ``function`` with all that a function with the arguments ``taken`` was given."""
    given: list[ast.expr] = [_load(one.arg) for one in (*taken.posonlyargs, *taken.args)]
    if taken.vararg:
        given.append(ast.Starred(_load(taken.vararg.arg), ast.Load()))
    named = [ast.keyword(one.arg, _load(one.arg)) for one in taken.kwonlyargs]
    if taken.kwarg:
        named.append(ast.keyword(None, _load(taken.kwarg.arg)))
    return ast.Call(function, given, named)


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


class _ByAttribute(ast.NodeTransformer):
    """Has what is absent looked up in the module itself, which knows how to make it."""

    def __init__(self, absent: set[str]) -> None:
        self._absent = absent

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id not in self._absent or not isinstance(node.ctx, ast.Load):
            return node
        found = ast.Attribute(_load(MODULE), node.id, ast.Load())
        return ast.fix_missing_locations(ast.copy_location(found, node))

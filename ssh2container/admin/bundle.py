"""The bundle: all modules of a session in one file, for logins.

Finding and reading forty files costs a login as much as making the container does. The installer
writes their code into one file beside the package; the entry script executes it module by module,
in the order in which they finished importing. A bundle belongs to one interpreter: its name says
which, and another one imports the files as usual.
"""

from __future__ import annotations

import ast
import importlib
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType

OWN = "ssh2container"


def path_of(directory: str) -> str:
    """Return the bundle's file for this interpreter; the entry script makes the same name."""
    return f"{directory}/{sys.implementation.cache_tag}-{sys.hexversion:x}.bundle"


def build(directory: str) -> str:
    """Write the bundle of the version installed in ``directory`` and return its path.

    Raises OSError. Runs the imports of a session, so it has to be called in a fresh interpreter
    whose ``sys.path`` begins with ``directory``.
    """
    order: list[ModuleType] = []
    _watch(order)
    importlib.import_module("ssh2container.shell")
    entries = [_entry(module) for module in order if _is_bundled(module)]
    path = path_of(directory)
    with open(path + ".new", "wb") as file:
        file.write(marshal.dumps(entries))
    os.chmod(path + ".new", 0o644)
    os.replace(path + ".new", path)
    return path


class _Plain(ast.NodeTransformer):
    """Takes the annotations out: a login would only build them, and nothing reads them."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        every = node.args
        optional = [argument for argument in (every.vararg, every.kwarg) if argument]
        for argument in (*every.posonlyargs, *every.args, *every.kwonlyargs, *optional):
            argument.annotation = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if node.module == "__future__" else node


def _watch(order: list[ModuleType]) -> None:
    """Note every module whose execution is complete, in that order."""
    from importlib.machinery import SourceFileLoader

    original = SourceFileLoader.exec_module

    def exec_module(loader: SourceFileLoader, module: ModuleType) -> None:
        original(loader, module)
        order.append(module)

    SourceFileLoader.exec_module = exec_module  # type: ignore[assignment, method-assign]


def _is_bundled(module: ModuleType) -> bool:
    return module.__name__.partition(".")[0] == OWN and not module.__name__.startswith(OWN + ".admin")


def _entry(module: ModuleType) -> tuple[str, str, list[str] | None, CodeType]:
    """Return (name, file, search path of a package or None, code)."""
    file = str(module.__file__)
    with open(file, "rb") as source:
        tree = _Plain().visit(ast.parse(source.read(), file))
    # Docstrings are for readers of the source; a login need not load them.
    code = compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True, optimize=2)
    package = list(module.__path__) if hasattr(module, "__path__") else None
    return module.__name__, file, package, code


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    sys.stdout.write(build(sys.argv[1]) + "\n")

"""The bundle: all modules of a session in one file, for logins.

Finding and reading forty files costs a login as much as making the container does. The installer
writes their code into one file beside the package. Its first object is a tuple: the code of
``loading.py``; the modules that every session needs, in the order in which they finished importing;
and where in the rest of the file the others lie, which only some sessions need. A bundle belongs to
one interpreter: its name says which, and another one imports the files as usual.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.abc import Loader
    from types import CodeType, ModuleType

    from ssh2container.loading import Made, Place

OWN = "ssh2container"
COLD = ("admin", "launcher")
"""The parts of the package that no session runs."""
NOT_BEFORE_MAIN = frozenset(("_signal", "faulthandler"))
"""Modules of C that a half-started interpreter cannot make: what they stand on comes with the other half."""


def path_of(directory: str) -> str:
    """Return the bundle's file for this interpreter; the entry script makes the same name."""
    return f"{directory}/{sys.implementation.cache_tag}-{sys.hexversion:x}.bundle"


def build(directory: str) -> str:
    """Write the bundle of the version installed in ``directory`` and return its path.

    Raises OSError. Runs the imports of a session, so it has to be called in a fresh interpreter
    whose ``sys.path`` begins with ``directory``.
    """
    now = _imports_of(OWN + ".shell")
    needed = {name for name, *_ in now}
    later = [entry for entry in _hot_modules(f"{directory}/{OWN}") if entry[0] not in needed]
    later += [entry for entry in _c_of([*now, *later], anywhere=True) if entry[0] not in needed]
    path = path_of(directory)
    with open(path + ".new", "wb") as file:
        file.write(_encode(_code(f"{directory}/{OWN}/loading.py"), now, later))
    os.chmod(path + ".new", 0o644)
    os.replace(path + ".new", path)
    return path


def _encode(starter: CodeType, now: list[Made], later: list[Made]) -> bytes:
    """Return the file. Places of the later modules count from its end: what is before it does not matter."""
    places: dict[str, Place] = {}
    rest = b""
    for name, file, package, code in reversed(later):
        data = b"" if code is None else marshal.dumps(code)
        rest = data + rest
        places[name] = (file, package, len(rest), len(data))
    return marshal.dumps((starter, now, places)) + rest


def _imports_of(name: str) -> list[Made]:
    """Import ``name`` and return all that this made, in the order in which it was complete."""
    complete: list[ModuleType] = []
    _watch(complete)
    importlib.import_module(name)
    made: list[Made] = []
    for module in complete:
        spec = module.__spec__
        if spec is None or spec.origin is None:
            continue
        if isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
            made.append((spec.name, spec.origin, None, None))
        elif spec.name.partition(".")[0] == OWN:
            made.append((spec.name, spec.origin, spec.submodule_search_locations, _code(spec.origin)))
    known = {name for name, *_ in made}
    return [*(entry for entry in _c_of(made, anywhere=False) if entry[0] not in known), *made]


def _c_of(modules: list[Made], *, anywhere: bool) -> Iterator[Made]:
    """Yield the modules of C that ``modules`` import and that the interpreter's core can make.

    anywhere: in functions, too, and not only at their top.
    """
    names: set[str] = set()
    for _, file, _, code in modules:
        if code is None:
            continue
        with open(file, "rb") as source:
            tree = ast.parse(source.read(), file)
        for node in ast.walk(tree) if anywhere else tree.body:
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module))
    for name in sorted(names - NOT_BEFORE_MAIN):
        if name in sys.builtin_module_names:
            yield name, "", None, None
        elif "." not in name:
            spec = importlib.util.find_spec(name)
            if spec and spec.origin and isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
                yield name, spec.origin, None, None


def _watch(complete: list[ModuleType]) -> None:
    """Note every module of a file whose execution is complete, in that order."""
    for kind in (importlib.machinery.SourceFileLoader, importlib.machinery.ExtensionFileLoader):
        setattr(kind, "exec_module", _noting(kind.exec_module, complete))  # noqa: B010 - mypy knows no other way


def _noting(original: Callable[..., None], complete: list[ModuleType]) -> Callable[..., None]:
    def exec_module(loader: Loader, module: ModuleType) -> None:
        original(loader, module)
        complete.append(module)

    return exec_module


def _hot_modules(package: str) -> Iterator[Made]:
    """Yield every module that a session may import."""
    for directory, below, names in os.walk(package):
        if directory == package:
            below[:] = sorted(set(below) - {*COLD, "__pycache__"})
        base = OWN + directory.removeprefix(package).replace("/", ".")
        for name in sorted(names):
            stem, _, ending = name.rpartition(".")
            file = f"{directory}/{name}"
            if ending == "py" and stem == "__init__":
                yield base, file, [directory], _code(file)
            elif ending == "py":
                yield f"{base}.{stem}", file, None, _code(file)


def _code(file: str) -> CodeType:
    """Return the code of a source without what only its readers need."""
    with open(file, "rb") as source:
        tree = _Plain().visit(ast.parse(source.read(), file))
    # Docstrings are for readers of the source; a login need not load them.
    return compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True, optimize=2)


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


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    sys.stdout.write(build(sys.argv[1]) + "\n")

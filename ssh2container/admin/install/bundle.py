"""The bundle: all modules of a session in one file, for logins.

Finding and reading forty files costs a login as much as making the container does. The installer
writes their code, shortened by :mod:`.compact`, into one file beside the package. Its first object is a
tuple: the code of ``loading.py``; the modules that every session needs, in the order in which they
finished importing; where in the rest of the file the others lie, which only some sessions need; and
where there lies what the first ones leave behind. A bundle belongs to one interpreter: its name says
which, and another one imports the files as usual.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import marshal
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.abc import Loader
    from types import CodeType, ModuleType

    from ssh2container.loading import Made

    Found = tuple[str, str, list[str] | None, bool]
    """Name, file ("" for one of the interpreter), search path of a package, whether it is in Python."""

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
    # Imported here: what stands at the top would be imported before a session's modules are counted.
    from ssh2container.admin import atomic
    from ssh2container.admin.install import compact

    known = {name for name, *_ in now}
    now = [*(entry for entry in _c_of(now, anywhere=False) if entry[0] not in known), *now]
    needed = {name for name, *_ in now}
    later = [entry for entry in _hot_modules(f"{directory}/{OWN}") if entry[0] not in needed]
    later += [entry for entry in _c_of([*now, *later], anywhere=True) if entry[0] not in needed]
    path = path_of(directory)
    starter = compact.code_of(f"{directory}/{OWN}/loading.py")
    atomic.write(path, encode(starter, *compact.compile_all(now, later)))
    return path


def encode(
    starter: CodeType, now: list[Made], later: list[Made], left: dict[str, dict[str, CodeType]]
) -> bytes:
    """Return the file. Places in its rest count from its end: what is before it does not matter.

    left: for each module of ``now`` what it leaves behind (:mod:`.deferral`), by name.
    """
    rest = b""

    def add(part: CodeType | dict[str, CodeType] | None) -> tuple[int, int]:
        nonlocal rest
        data = b"" if part is None else marshal.dumps(part)
        rest = data + rest
        return len(rest), len(data)

    behind = {name: add(parts) for name, parts in left.items()}
    places = {name: (file, package, *add(code)) for name, file, package, code in reversed(later)}
    return marshal.dumps((starter, now, places, behind)) + rest


def _imports_of(name: str) -> list[Found]:
    """Import ``name`` and return all that this made, in the order in which it was complete."""
    complete: list[ModuleType] = []
    _watch(complete)
    importlib.import_module(name)
    made: list[Found] = []
    for module in complete:
        spec = module.__spec__
        if spec is None or spec.origin is None:
            continue
        if isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
            made.append((spec.name, spec.origin, None, False))
        elif spec.name.partition(".")[0] == OWN:
            made.append((spec.name, spec.origin, spec.submodule_search_locations, True))
    return made


def _c_of(modules: list[Found], *, anywhere: bool) -> Iterator[Found]:
    """Yield the modules of C that ``modules`` import and that the interpreter's core can make.

    anywhere: in functions, too, and not only at their top.
    """
    from ssh2container.admin.install import statements  # not before a session's modules are counted

    names: set[str] = set()
    for _, file, _, is_python in modules:
        if not is_python:
            continue
        with open(file, "rb") as source:
            tree = ast.parse(source.read(), file)
        for node in statements.walk(tree) if anywhere else tree.body:
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module))
    for name in sorted(names - NOT_BEFORE_MAIN):
        if name in sys.builtin_module_names:
            yield name, "", None, False
        elif "." not in name:
            spec = importlib.util.find_spec(name)
            if spec and spec.origin and isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
                yield name, spec.origin, None, False


def _watch(complete: list[ModuleType]) -> None:
    """Note every module of a file whose execution is complete, in that order."""
    for kind in (importlib.machinery.SourceFileLoader, importlib.machinery.ExtensionFileLoader):
        setattr(kind, "exec_module", _noting(kind.exec_module, complete))  # noqa: B010 - mypy knows no other way


def _noting(original: Callable[..., None], complete: list[ModuleType]) -> Callable[..., None]:
    def exec_module(loader: Loader, module: ModuleType) -> None:
        original(loader, module)
        complete.append(module)

    return exec_module


def _hot_modules(package: str) -> Iterator[Found]:
    """Yield every module that a session may import."""
    for directory, below, names in os.walk(package):
        if directory == package:
            below[:] = sorted(set(below) - {*COLD, "__pycache__"})
        base = OWN + directory.removeprefix(package).replace("/", ".")
        for name in sorted(names):
            stem, _, ending = name.rpartition(".")
            file = f"{directory}/{name}"
            if ending == "py" and stem == "__init__":
                yield base, file, [directory], True
            elif ending == "py":
                yield f"{base}.{stem}", file, None, True


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    sys.stdout.write(build(sys.argv[1]) + "\n")

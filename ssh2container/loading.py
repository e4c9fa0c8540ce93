"""The first code of a login: makes the modules of a bundle (``admin.bundle``), now or when they are needed.

It runs before any import, in an interpreter that the launcher may have started only by half
(``native/launcher/start.c``): there are no encodings, no files of Python's own and no search path yet, which
halves the time to the first line. The other half is made up for by the first import that needs it.
"""

from __future__ import annotations

import _imp
import marshal
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, ModuleType
    from typing import Any

    Made = tuple[str, str, list[str] | None, CodeType | None]
    """Name, file ("" for a module of the interpreter), search path of a package, code (None for C)."""
    Place = tuple[str, list[str] | None, int, int]
    """File, search path of a package, place of its code in bytes from the bundle's end, and its size."""
    Part = tuple[int, int]
    """Place of something in bytes from the bundle's end, and its size."""
    Complete = Callable[[], None]


class Bundle:
    """The finder and the loader of what is in one bundle.

    data: the whole file. later: the modules that only some sessions need, by name.
    left: what modules leave behind (``admin.install.deferral``), by the module's name.
    complete: makes a half-started interpreter whole; None where nothing is left to do.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        later: dict[str, Place],
        left: dict[str, Part],
        complete: Complete | None,
    ) -> None:
        self._data = data
        self._later = later
        self._left = left
        self._complete = complete

    def make(self, modules: Sequence[Made]) -> None:
        """Make the modules that every session needs, in this order, without the cost of a search for each."""
        known = sys.modules
        for name, file, package, code in modules:
            if name in known:
                continue
            if code is None:
                known[name] = _make_c(name, file)
            else:
                module = known[name] = type(sys)(name)
                self._describe(module, file, package)
                exec(code, module.__dict__)  # noqa: S102 - root wrote the file, beside the code itself
            parent, _, short = name.rpartition(".")
            if parent:
                setattr(known[parent], short, known[name])

    def _describe(self, module: ModuleType, file: str, package: list[str] | None) -> None:
        """Give ``module`` what its code expects, which asks for what it left behind (PEP 562)."""
        module.__file__ = file
        module.__package__ = module.__name__ if package else module.__name__.rpartition(".")[0]
        if package:
            module.__path__ = package
        module.__modules__ = sys.modules  # type: ignore[attr-defined]
        if module.__name__ in self._left:
            module.__self__ = module  # type: ignore[attr-defined]
            module.__getattr__ = lambda name: self.missing(module, name)  # type: ignore[method-assign]

    def missing(self, module: ModuleType, name: str) -> object:
        """Make what ``module`` left behind by this name, and return it. Raises AttributeError."""
        # The interpreter asks every module whether it is a package.
        if not name.startswith("__"):
            codes = self._read(*self._left[module.__name__])
            if name in codes:
                exec(codes[name], module.__dict__)  # noqa: S102
                return module.__dict__[name]
        raise AttributeError(f"module {module.__name__} has no attribute {name}", name=name, obj=module)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where ``name`` is in the bundle, None where it is not (importlib.abc.MetaPathFinder)."""
        if name not in self._later:
            # The finders after this one need the whole interpreter, and so do some of its own modules.
            complete, self._complete = self._complete, None
            if complete is not None:
                complete()
            return None
        file, package, _, _ = self._later[name]
        # A loader without the methods that are only for other callers (importlib.abc.Loader has them all).
        return ModuleSpec(name, self, origin=file, is_package=package is not None)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return a module of C; others the interpreter makes, as for every loader."""
        file, _, _, size = self._later[spec.name]
        return None if size else _make_c(spec.name, file)

    def exec_module(self, module: ModuleType) -> None:
        """Run the code of a module that :meth:`find_spec` found."""
        file, package, place, size = self._later[module.__name__]
        if size:
            self._describe(module, file, package)
            exec(self._read(place, size), module.__dict__)  # noqa: S102

    def _read(self, place: int, size: int) -> Any:  # noqa: ANN401 - whatever admin.install.bundle put there
        at = len(self._data) - place
        return marshal.loads(self._data[at : at + size])


def start(
    data: bytes | memoryview,
    contents: tuple[CodeType, Sequence[Made], dict[str, Place], dict[str, Part]],
    words: list[bytes],
    *,
    launched: bool,
    complete: Complete | None = None,
) -> None:
    """Make the modules of a bundle, and be the login shell.

    data: the file. contents: its first object. words: the command line after the program's name.
    """
    _, now, later, left = contents
    bundle = Bundle(data, later, left, complete)
    sys.meta_path[:0] = [bundle]
    bundle.make(now)
    from ssh2container.shell import main

    main(words, launched=launched)


def _make_c(name: str, file: str) -> ModuleType:
    """Return a module of C: one of the interpreter's own, or a shared library."""
    spec = ModuleSpec(name, None, origin=file)
    if file:
        module: ModuleType = _imp.create_dynamic(spec)
        _imp.exec_dynamic(module)
    else:
        module = _imp.create_builtin(spec)
        _imp.exec_builtin(module)
    return module

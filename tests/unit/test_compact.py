"""What the bundle makes of a source: the same behaviour and the same lines, with less to load."""

from __future__ import annotations

import ast
import marshal
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ssh2container.admin.install import bundle, compact, deferral, links
from ssh2container.loading import Bundle

SOURCE = """
from __future__ import annotations
import posix as os
from pack.source import Rare, Usual
TYPE_CHECKING = False
if TYPE_CHECKING:
    from nowhere import Nothing
TABLE = (Usual,)

def used(number: int) -> str:
    return rare(number) if number else "none"

def rare(number):
    return Rare(number).show("!", times=number)

def at_once():
    return 7

AT_ONCE = at_once()

def shadowed():
    return "function"

def shadows(shadowed):
    return shadowed

class Special(Usual):
    def show(self, *marks, times=2, **rest):
        return "special" + super().show(*marks, times=times)

    @property
    def size(self):
        return [len(mark) for mark in self.marks]

    @staticmethod
    def many(first, /, second=3, *rest, third, **others):
        return first, second, rest, third, others

def fails():
    values = [
        1,
        1 // 0,
    ]
    return values
"""
ORIGIN = """
class Usual:
    marks = ("a", "bc")

    def __init__(self, number):
        self.number = number

    def show(self, *marks, times=1):
        from pack import helper
        return helper.join(marks) * times + str(self.number)

class Rare(Usual):
    pass
"""
HELPER = "def join(marks): return ''.join(marks)\n"
DEFERRED = {
    "pack.source": {"Rare"},
    "pack.own": {"rare", "at_once", "shadowed", "Special.show", "Special.size", "Special.many", "fails"},
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module ``pack.own``, made as a login makes it."""
    (tmp_path / "pack").mkdir()
    for name, text in (("__init__", ""), ("source", ORIGIN), ("own", SOURCE), ("helper", HELPER)):
        (tmp_path / "pack" / f"{name}.py").write_text(text)
    listed = tmp_path / "deferred.txt"
    listed.write_text("".join(f"{module} {name}\n" for module, names in DEFERRED.items() for name in names))
    monkeypatch.setattr(compact, "DEFERRED", str(listed))
    directory = f"{tmp_path}/pack"
    now = [
        ("pack", f"{directory}/__init__.py", [directory], True),
        ("pack.source", f"{directory}/source.py", None, True),
        ("pack.own", f"{directory}/own.py", None, True),
    ]
    later = [("pack.helper", f"{directory}/helper.py", None, True)]
    starter = compact.code_of(f"{directory}/helper.py")
    data = bundle.encode(starter, *compact.compile_all(now, later))
    _, made, places, left = marshal.loads(data)
    ours = Bundle(data, places, left, None)
    monkeypatch.setattr(sys, "meta_path", [ours, *sys.meta_path])
    ours.make(made)
    yield sys.modules["pack.own"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "pack"]:
        del sys.modules[name]


def test_what_is_deferred_is_made_when_it_is_asked_for(own: ModuleType) -> None:
    assert "rare" not in vars(own)
    assert "Rare" not in vars(own)
    assert "Rare" not in vars(sys.modules["pack.source"])
    assert own.used(0) == "none"
    assert "rare" not in vars(own)
    assert own.used(2) == "!!2"
    assert own.Rare is sys.modules["pack.source"].Rare
    assert own.used(2) == "!!2"


def test_what_the_first_run_needs_and_what_has_two_meanings_stays(own: ModuleType) -> None:
    assert {"at_once", "shadowed"} <= vars(own).keys()
    assert own.at_once() == own.AT_ONCE
    assert (own.shadowed(), own.shadows(1)) == ("function", 1)


def test_methods_take_what_they_took(own: ModuleType) -> None:
    special = own.Special(4)
    assert special.size == [1, 2]
    assert special.show("x", "y") == "specialxyxy4"
    assert own.Special.many(1, third=4) == (1, 3, (), 4, {})
    assert special.many(1, 2, 5, 6, third=4, more=7) == (1, 2, (5, 6), 4, {"more": 7})
    with pytest.raises(TypeError):
        own.Special.many(1)


def test_an_unknown_name_is_an_error(own: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no attribute nothing"):
        _ = own.nothing
    assert not hasattr(own, "__path__")


def test_errors_name_the_line_of_the_source(own: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        own.fails()
    assert SOURCE.splitlines()[caught.traceback[-1].lineno].strip() == "1 // 0,"


def test_an_import_of_what_is_not_made_yet_stays() -> None:
    tree = ast.parse(
        textwrap.dedent("""
        from . import before, after, never
        from .before import x, y as z
        import posix, os.path
        def later():
            from . import after, other
        """)
    )
    links.Links(["pack", "pack.before", "posix", "pack.after"], ["pack.other"]).link(
        tree, "pack", ["pack", "pack.before", "posix"]
    )
    assert ast.unparse(tree) == textwrap.dedent("""\
        before = __modules__['pack.before']
        never = __modules__['pack'].never
        from . import after
        x = __modules__['pack.before'].x
        z = __modules__['pack.before'].y
        posix = __modules__['posix']
        import os.path

        def later():
            after = __modules__['pack.after']
            from . import other""")


def test_every_name_on_the_list_can_be_deferred(checkout: str) -> None:
    """A definition that was renamed or removed leaves the list, too."""
    for module, names in compact.listed_names(compact.DEFERRED).items():
        path = f"{checkout}/{module.replace('.', '/')}"
        path = f"{path}/__init__.py" if os.path.isdir(path) else f"{path}.py"
        left = deferral.split(compact.tree_of(path), names)
        assert names == left.keys(), f"{module}: cannot be left behind: {sorted(names - left.keys())}"

"""Filters are made once from the same: what is known of them, and when it no longer counts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from support.policies import copy_profiles

from ssh2container.admin.seccomp import build, made
from ssh2container.policy import filters
from ssh2container.policy.policy import Seccomp

PLAIN = Seccomp("default", (), (), "errno")
LOGGING = Seccomp("default", (), ("listen",), "log")


@pytest.fixture
def place(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: os.PathLike[str],
    files_of_root: None,  # noqa: ARG001
) -> str:
    """A directory of profiles, and one for filters."""
    top = str(tmp_path)
    for name in ("shipped", "compiled"):
        os.mkdir(os.path.join(top, name), 0o755)
    copy_profiles(os.path.join(top, "shipped"))
    monkeypatch.setattr(filters, "PROFILES", (os.path.join(top, "shipped"),))
    return top


@pytest.fixture
def assembled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts what is made: a number for each program."""
    counted: list[int] = []
    real = build.assemble

    def assemble(*arguments: object) -> bytes:
        counted.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "assemble", assemble)
    return counted


def contents(place: str) -> dict[str, bytes]:
    """Compile, and return each file that there is then."""
    directory = f"{place}/compiled"
    written = build.compile_all([(each, frozenset[int](), 0) for each in (PLAIN, LOGGING)], directory)
    found = {}
    for path in written:
        with open(path, "rb") as file:
            found[path] = file.read()
    return found


def test_the_same_is_made_once(place: str, assembled: list[int]) -> None:
    first = contents(place)
    assert len(assembled) == 4  # the recorder of LOGGING and pid 1's among them
    assert contents(place) == first
    assert len(assembled) == 4
    assert os.stat(f"{place}/compiled.made").st_mode & 0o777 == 0o600


def flip(place: str) -> None:
    """Damage every filter."""
    for entry in os.scandir(f"{place}/compiled"):
        with open(entry.path, "r+b") as file:
            file.seek(-9, os.SEEK_END)
            byte = file.read(1)
            file.seek(-9, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))


def change_profiles(place: str) -> None:
    """Decide otherwise about a call."""
    for name, call in (("default.json", '"nanosleep", '), ("init.json", '"iopl", ')):
        path = f"{place}/shipped/{name}"
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert call in text
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(call, "", 1))


def spoil(text: str) -> Callable[[str], None]:
    """Return what writes ``text`` in place of what is known."""

    def write(place: str) -> None:
        with open(f"{place}/compiled.made", "w", encoding="utf-8") as file:
            file.write(text)

    return write


@pytest.mark.parametrize(
    "change",
    [
        flip,
        change_profiles,
        lambda place: shutil.rmtree(f"{place}/compiled"),
        lambda place: os.unlink(f"{place}/compiled.made"),
        *map(spoil, ("", "[]", "{", '{"a": 1}', "null", "\x80")),
    ],
)
def test_what_is_no_longer_the_same_is_made_anew(
    place: str, assembled: list[int], change: Callable[[str], None]
) -> None:
    contents(place)
    change(place)
    after = contents(place)
    assert len(assembled) == 8
    expected = {path: filters.unpack(content, path)[2] for path, content in after.items()}
    assert build.programs(PLAIN) in expected.values()
    assert build.programs(LOGGING) in expected.values()


def test_another_form_of_the_files_makes_them_anew(
    place: str, assembled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents(place)
    other = f"{place}/filters.py"
    shutil.copy(filters.__file__, other)
    with open(other, "a", encoding="utf-8") as file:
        file.write("# another version\n")
    monkeypatch.setattr(filters, "__file__", other)
    contents(place)
    assert len(assembled) == 8


def test_another_library_makes_them_anew(
    place: str, assembled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents(place)
    (path, inode, size, moment), *_ = made._libraries()
    for other in ([(path, inode, size, moment + 1)], []):
        monkeypatch.setattr(made, "_libraries", lambda other=other: other)
        contents(place)
    assert len(assembled) == 12
    contents(place)
    assert len(assembled) == 16  # of a library that nobody finds, nothing is known

"""What compiled filters were made from, so that none is made again from the same.

Making one and trying it on every number and condition takes longer than all else that compiling policies
does. What is known of a filter is the digest of the decisions, of the code that makes and packs it and of
libseccomp, and that of the file: another decision, another version or a damaged file, and it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

from ssh2container.admin import atomic
from ssh2container.policy import filters

from .library import pyseccomp

if TYPE_CHECKING:
    from .rules import Table

_SUFFIX = ".made"
_OWN = 0o600


class Made:
    """What is known of the filters in a directory: read when it is made, kept by :meth:`keep`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._maker = _maker()
        self._known = _read(directory + _SUFFIX)
        self._kept: dict[str, tuple[str, str]] = {}

    def source(self, *parts: object, tables: tuple[Table, ...]) -> str:
        """Return the digest of what a filter is made from: ``tables``, ``parts`` and the maker of both."""
        found = hashlib.sha256(repr((self._maker, parts)).encode())
        for table in tables:
            found.update(repr((table.unknown, table.foreign)).encode())
            for number, each in sorted(table.decisions.items()):
                found.update(repr((number, each.refusals, each.permissions, each.otherwise)).encode())
        return found.hexdigest()

    def content(self, name: str, source: str) -> bytes | None:
        """Return what the file ``name`` has, where it is as it was made, and made from ``source``."""
        if not self._maker or name not in self._known:
            return None
        try:
            with open(os.path.join(self._directory, name), "rb") as file:
                content = file.read()
        except OSError:
            return None
        return content if self._known[name] == (source, _digest(content)) else None

    def note(self, name: str, source: str, content: bytes) -> None:
        """Know from now on what ``name`` is made from."""
        self._kept[name] = (source, _digest(content))

    def keep(self) -> None:
        """Write down what was noted, and nothing else. Raises OSError."""
        atomic.update(self._directory + _SUFFIX, json.dumps(self._kept).encode(), _OWN)


def _read(path: str) -> dict[str, tuple[str, str]]:
    try:
        with open(path, encoding="utf-8") as file:
            return {name: (source, digest) for name, (source, digest) in json.load(file).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _maker() -> str:
    """Return the digest of all that makes and packs a filter, and of libseccomp, "" where it is not known."""
    here = os.path.dirname(os.path.abspath(__file__))
    found = hashlib.sha256()
    try:
        ours = sorted(entry.path for entry in os.scandir(here))
        for path in [*ours, str(filters.__file__), str(pyseccomp.__file__)]:
            if path.endswith(".py"):
                with open(path, "rb") as file:
                    found.update(file.read())
        libraries = _libraries()
        found.update(repr(libraries).encode())
    except OSError:
        return ""
    return found.hexdigest() if libraries else ""


def _libraries() -> list[tuple[str, int, int, int]]:
    """Return path, inode, size and time (in nanoseconds) of libseccomp as this process has it (proc(5))."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {line.split(maxsplit=5)[-1].rstrip("\n") for line in file if "/libseccomp" in line}
    stats = [(path, os.stat(path)) for path in sorted(paths)]
    return [(path, one.st_ino, one.st_size, one.st_mtime_ns) for path, one in stats]

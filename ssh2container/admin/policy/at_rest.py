"""Doing what depends on the policies' files until they are at rest.

systemd starts no unit a second time that is being started (systemd.unit(5), OnSuccess=), so whoever edits a
policy then would wait for the next edit.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from ssh2container.policy.store import STANDARD

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_ROUNDS = 10
T = TypeVar("T")


def until_read(do: Callable[[], T]) -> tuple[T, bool]:
    """Do it, anew where a file was edited meanwhile; return what it said last, and whether the files rest."""
    for _ in range(_MOST_ROUNDS):
        before = _sources()
        said = do()
        at_rest = _sources() == before
        if at_rest:
            break
    return said, at_rest


def _sources() -> list[tuple[str, int, int]]:
    """Return what tells one state of the policies' files from another."""
    found = []
    for place, _, names in os.walk(STANDARD.configuration):
        for path in (place, *(f"{place}/{name}" for name in names)):
            try:
                status = os.stat(path)
            except FileNotFoundError:
                continue  # an editor's
            found.append((path, status.st_ino, status.st_mtime_ns))
    return sorted(found)

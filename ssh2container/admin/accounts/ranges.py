"""The range of host ids that images are shifted into: set aside once, in /etc/subuid and /etc/subgid."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING

from ssh2container.admin import atomic
from ssh2container.admin.change import Change, read_or_none
from ssh2container.admin.images.ids import COUNT, OWNER, UNPACKING, set_aside
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILES = ("/etc/subuid", "/etc/subgid")
_HIGHEST = 0xFFFFFFF0
_READABLE = 0o644


class SetAside(Change):
    """The range for images, in the name of the product.

    base: the first id; by default the same on every host, or the next range that nobody has.
    """

    def __init__(self, base: int | None = None) -> None:
        self.base = base
        self._lines = Lines()

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"set aside {COUNT} ids in /etc/subuid and /etc/subgid for images with users of their own"

    def done(self) -> bool:
        """See :class:`Change`; raises :class:`SessionError` when another range is set aside already."""
        there = set_aside()
        if there is not None and self.base not in (None, there.base):
            raise SessionError(
                f"cannot set aside ids from {self.base}",
                f"{OWNER} has a range from {there.base}, to which the stored images are shifted",
                "remove those lines and the images in the range map first",
                "ranges",
            )
        return there is not None

    def do(self) -> None:
        """See :class:`Change`; raises :class:`SessionError` for a range that overlaps another."""
        taken = taken_ids()
        base = self.base if self.base is not None else free(taken)
        clash = next((name for first, last, name in taken if first < base + COUNT and base <= last), None)
        if clash:
            raise SessionError(
                f"cannot set aside ids from {base}", f"they overlap {clash}", "choose another base", "ranges"
            )
        self._lines = Lines(add=[line(OWNER, base)])
        self._lines.do()

    def undo(self) -> None:
        """See :class:`Change`."""
        self._lines.undo()


class Lines:
    """Lines to add to both files and lines to remove, where they are not so already."""

    def __init__(self, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        self.add = add
        self.remove = remove
        self._before: dict[str, str | None] = {}

    def done(self) -> bool:
        """Return whether both files are as they should be."""
        return all(self._edited(path) is None for path in FILES)

    def do(self) -> None:
        """Change them; raises OSError."""
        try:
            for path in FILES:
                edited = self._edited(path)
                if edited is not None:
                    before = read_or_none(path)
                    atomic.write(path, edited, _READABLE)
                    self._before[path] = before
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Take :meth:`do` back."""
        for path, text in self._before.items():
            if text is None:
                os.unlink(path)
            else:
                atomic.write(path, text, _READABLE)

    def _edited(self, path: str) -> str | None:
        lines = (read_or_none(path) or "").splitlines()
        kept = [found for found in lines if found not in self.remove]
        wanted = kept + [new for new in self.add if new not in kept]
        return None if wanted == lines else "\n".join(wanted) + "\n"


def line(name: str, base: int) -> str:
    """Return what gives ``name`` the range from ``base`` (subuid(5))."""
    return f"{name}:{base}:{COUNT}"


def entries(path: str) -> Iterator[tuple[str, int, int]]:
    """Yield (whose, first id, count) of all ranges in one of the files."""
    for text in (read_or_none(path) or "").splitlines():
        whose, _, rest = text.partition(":")
        first, _, count = rest.partition(":")
        if first.isdecimal() and count.isdecimal() and int(count):
            yield whose, int(first), int(count)


def taken_ids() -> list[tuple[int, int, str]]:
    """Return (first, last, whose) of every id that the host knows."""
    found = [(entry.pw_uid, entry.pw_uid, f"the user {entry.pw_name}") for entry in pwd.getpwall()]
    found += [(entry.gr_gid, entry.gr_gid, f"the group {entry.gr_name}") for entry in grp.getgrall()]
    unpacking = UNPACKING.base, UNPACKING.base + COUNT - 1
    found.append((*unpacking, "the ids under which images are unpacked and edited"))
    for path in FILES:
        for name, first, count in entries(path):
            found.append((first, first + count - 1, f"{name}'s range in {path}"))
    return found


def free(taken: list[tuple[int, int, str]]) -> int:
    """Return the first range above the one where archives are unpacked that nobody has."""
    for base in range(UNPACKING.base + COUNT, _HIGHEST - COUNT, COUNT):
        if not any(first < base + COUNT and base <= last for first, last, _ in taken):
            return base
    raise SessionError("cannot set aside a range of ids", "all are taken", step="ranges")

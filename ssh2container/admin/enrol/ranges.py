"""The ranges of host ids behind ``userns_mode: range`` and ``own_range``: set aside, granted to users.

newuidmap(1) writes a map only from what /etc/subuid and /etc/subgid grant to the user who asks. All
users of ``range`` share one, because the files of an image can belong to one set of ids only; for one of
``own_range`` they are shown under his (:mod:`.idmapped`).
"""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING

from ssh2container.admin.enrol.change import Change, read_or_none, write_atomically
from ssh2container.admin.images.ids import COUNT, OWNER, UNPACKING, Range, set_aside
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.admin.enrol.account import Account
    from ssh2container.policy.policy import Policy

FILES = ("/etc/subuid", "/etc/subgid")
_HIGHEST = 0xFFFFFFF0
_READABLE = 0o644


class SetAside(Change):
    """The range for images, in the name of the product.

    base: the first id; by default the same on every host, or the next range that nobody has.
    """

    def __init__(self, base: int | None = None) -> None:
        self.base = base
        self._append = _Append(OWNER, 0)

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
        taken = _taken()
        base = self.base if self.base is not None else _free(taken)
        clash = next((name for first, last, name in taken if first < base + COUNT and base <= last), None)
        if clash:
            raise SessionError(
                f"cannot set aside ids from {base}", f"they overlap {clash}", "choose another base", "ranges"
            )
        self._append = _Append(OWNER, base)
        self._append.do()

    def undo(self) -> None:
        """See :class:`Change`."""
        self._append.undo()


class GrantRange(Change):
    """What allows a user's sessions to map the range that his policy names; nothing without one."""

    def __init__(self, account: Account, policy: Callable[[Account], Policy | None]) -> None:
        self.account = account
        self._policy = policy
        self._append: _Append | None = None

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"grant {self.account.name} the ids that the policy maps, if any (/etc/subuid, /etc/subgid)"

    def done(self) -> bool:
        """See :class:`Change`."""
        policy = self._policy(self.account)
        there = set_aside()
        if policy is None or not policy.ranged:
            return True
        if there is None:
            return False
        base = there.base
        if policy.userns_mode == "own_range":
            own = own_range(self.account.name)
            base = own.base if own is not None else _free(_taken())
        self._append = _Append(self.account.name, base)
        return self._append.done()

    def do(self) -> None:
        """See :class:`Change`."""
        if self._append is None:
            raise SessionError(
                f"cannot grant {self.account.name} a range of ids",
                "none is set aside",
                "run install.sh again",
                "ranges",
            )
        self._append.do()

    def undo(self) -> None:
        """See :class:`Change`."""
        if self._append is not None:
            self._append.undo()


def own_range(name: str) -> Range | None:
    """Return the first range that the user ``name`` has for himself, in both files; None without one.

    useradd(8) gives one to each new user, which rootless containers use too.
    """
    shared = set_aside()
    ranges = [
        [(first, count) for first, count in _granted(path, name) if shared is None or first != shared.base]
        for path in FILES
    ]
    common = (first for first, count in ranges[0] if count >= COUNT and (first, count) in ranges[1])
    first = next(common, None)
    return None if first is None else Range(first)


def _granted(path: str, name: str) -> Iterator[tuple[int, int]]:
    for line in (read_or_none(path) or "").splitlines():
        whose, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if whose == name and first.isdecimal() and count.isdecimal():
            yield int(first), int(count)


class _Append:
    """One line in each of both files."""

    def __init__(self, name: str, base: int) -> None:
        self.line = f"{name}:{base}:{COUNT}"
        self._before: dict[str, str | None] = {}

    def done(self) -> bool:
        return all(self.line in (read_or_none(path) or "").splitlines() for path in FILES)

    def do(self) -> None:
        for path in FILES:
            text = read_or_none(path)
            self._before[path] = text
            lines = (text or "").splitlines()
            if self.line not in lines:
                write_atomically(path, "\n".join([*lines, self.line]) + "\n", _READABLE)

    def undo(self) -> None:
        for path, text in self._before.items():
            if text is None:
                os.unlink(path)
            else:
                write_atomically(path, text, _READABLE)


def _taken() -> list[tuple[int, int, str]]:
    """Return (first, last, whose) of every id that the host knows."""
    found = [(entry.pw_uid, entry.pw_uid, f"the user {entry.pw_name}") for entry in pwd.getpwall()]
    found += [(entry.gr_gid, entry.gr_gid, f"the group {entry.gr_name}") for entry in grp.getgrall()]
    unpacking = UNPACKING.base, UNPACKING.base + COUNT - 1
    found.append((*unpacking, "the ids under which images are unpacked and edited"))
    for path in FILES:
        for line in (read_or_none(path) or "").splitlines():
            name, _, rest = line.partition(":")
            first, _, count = rest.partition(":")
            if first.isdecimal() and count.isdecimal() and int(count):
                found.append((int(first), int(first) + int(count) - 1, f"{name}'s range in {path}"))
    return found


def _free(taken: list[tuple[int, int, str]]) -> int:
    """Return the first range above the one where archives are unpacked that nobody has."""
    for base in range(UNPACKING.base + COUNT, _HIGHEST - COUNT, COUNT):
        if not any(first < base + COUNT and base <= last for first, last, _ in taken):
            return base
    raise SessionError("cannot set aside a range of ids", "all are taken", step="ranges")

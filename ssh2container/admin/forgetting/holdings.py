"""What is still held of somebody who is to be forgotten, and what becomes of each thing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssh2container.admin.account import RECORDS
from ssh2container.admin.accounts import enable, jobs, leftovers
from ssh2container.admin.accounts.account_changes import recorded_name
from ssh2container.admin.accounts.idmapped import HideImages
from ssh2container.admin.accounts.nosuid import RECORDS as OVER_THEMSELVES
from ssh2container.admin.accounts.nosuid import HonourSetId
from ssh2container.admin.accounts.ranges import FILES, Lines, entries, line
from ssh2container.admin.adopt import records
from ssh2container.admin.change import Change, RemoveFile
from ssh2container.admin.forgetting import homes_left, trees, whom
from ssh2container.admin.images.ids import COUNT, UNPACKING, set_aside
from ssh2container.admin.recordings.collector import DIRECTORY as RECORDINGS
from ssh2container.plan.ranges import OWN_TREES
from ssh2container.policy import store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.forgetting.whom import Former

KEEP, ARCHIVE, REMOVE = "keep", "archive", "remove"


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of homes and recordings. to: the directory of archives."""

    homes: str = KEEP
    recordings: str = KEEP
    to: str = trees.ARCHIVES


@dataclass(frozen=True, slots=True)
class Holding:
    """One thing that is held.

    what, where: in words, and its path. then: what becomes of it, in words. size: in bytes, None where that
    says nothing. changes: what makes it so, none where it stays. for_good: nothing brings it back.
    """

    what: str
    where: str
    then: str
    size: int | None = None
    changes: tuple[Change, ...] = ()
    for_good: bool = False


class RemovePolicy(RemoveFile):
    """The user's own policy file, and what was compiled of it."""

    def do(self) -> None:
        """See :class:`Change`."""
        super().do()
        enable.compile_policies()

    def undo(self) -> None:
        """See :class:`Change`."""
        super().undo()
        enable.compile_policies()


class TakeIds(Change):
    """The ranges of ids that were granted to a name, back (subuid(5))."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self._lines = Lines(remove=lines)

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"take the ranges of ids from {self.name} (/etc/subuid, /etc/subgid)"

    def done(self) -> bool:
        """See :class:`Change`."""
        return self._lines.done()

    def do(self) -> None:
        """See :class:`Change`."""
        self._lines.do()

    def undo(self) -> None:
        """See :class:`Change`."""
        self._lines.undo()


def of(former: Former, choice: Choice) -> list[Holding]:
    """Return everything that is held, what can be undone first, and last the record that names the uid.

    Raises Refusal for who cannot be forgotten (:func:`whom.require_forgettable`).
    """
    whom.require_forgettable(former)
    return [
        *_by_name(former),
        *_by_number(former),
        *_homes(former, choice),
        *_recordings(former, choice),
        *_record(former),
    ]


def changes(found: list[Holding]) -> list[Change]:
    """Return everything that is done about ``found``, in its order."""
    done = [change for one in found for change in one.changes]
    if any(isinstance(change, RemovePolicy) for change in done):
        done.append(enable.RefreshDropIn())
    return done


def _file(what: str, path: str, then: str = REMOVE, *done: Change) -> Holding:
    return Holding(what, path, then, trees.size(path), done)


def _by_name(former: Former) -> Iterator[Holding]:
    if not former.name:
        return
    part = f"users/{former.name}"
    source, compiled = store.STANDARD.source(part), f"{store.STANDARD.compiled}/{part}"
    if os.path.lexists(source):
        yield _file("policy", source, REMOVE, RemovePolicy(source))
    if os.path.lexists(compiled):
        yield _file("compiled policy", compiled, REMOVE, RemoveFile(compiled))
    files = sorted(path for path, owner in jobs.in_place().items() if owner == former.name)
    if files:
        yield Holding("jobs", ", ".join(files), REMOVE, None, (jobs.TakeJobs(former.name),))
    granted = _granted(former)
    if granted:
        yield Holding("ids", ", ".join(granted), REMOVE, None, (TakeIds(former.name, granted),))
    if former.account is None:
        kept = records.path_of(former.name)
        for path in (kept, f"{records.DIRECTORY}/{former.name}.late"):
            if os.path.lexists(path):
                yield _file("way back of adopt", path, REMOVE, RemoveFile(path))


def _granted(former: Former) -> list[str]:
    """Return the lines of ranges that ``enable`` gave: the shared one, and own ones where it puts them."""
    shared = set_aside()
    ours = set() if shared is None else {line(former.name, shared.base)}
    found = []
    for path in FILES:
        for whose, first, count in entries(path):
            text = f"{whose}:{first}:{count}"
            is_own = first >= UNPACKING.base + COUNT and (first - UNPACKING.base) % COUNT == 0
            own = former.account is None and count == COUNT and is_own
            if whose == former.name and (text in ours or own):
                found.append(text)
    return list(dict.fromkeys(found))


def _by_number(former: Former) -> Iterator[Holding]:
    number = former.number
    if number is None:
        return
    account = former.as_account(number)
    for left in leftovers.of_uid(number):
        size = trees.size(left.where) if os.path.lexists(left.where) and left.what != "quota" else None
        yield Holding(left.what, left.where, REMOVE, size, (left.change,))
    if os.path.lexists(f"{OWN_TREES}/{number}"):
        yield Holding("view of images", f"{OWN_TREES}/{number}", REMOVE, None, (HideImages(account),))
    if os.path.lexists(f"{OVER_THEMSELVES}/{number}"):
        yield Holding(
            "mount of the home", f"{OVER_THEMSELVES}/{number}", REMOVE, None, (HonourSetId(account),)
        )


def _homes(former: Former, choice: Choice) -> Iterator[Holding]:
    for path, why in homes_left.of(former):
        what = "kept home"
        if why:
            yield Holding(what, path, f"stays: {why}")
            continue
        size = trees.size(path)
        remove = trees.RemoveForGood(path)
        if choice.homes == REMOVE:
            yield Holding(what, path, REMOVE, size, (remove,), for_good=True)
        elif choice.homes == ARCHIVE:
            label = f"{former.name or 'uid'}-{former.uid if former.uid is not None else 'unknown'}"
            packed = trees.Archive(path, choice.to, label)
            yield Holding(what, path, f"{ARCHIVE} in {choice.to}", size, (packed, remove))
        elif former.account is None and os.lstat(path).st_uid != 0:
            yield Holding(what, path, f"{KEEP}, for root alone", size, (leftovers.TakeHome(path),))
        else:
            yield Holding(what, path, KEEP, size)


def _recordings(former: Former, choice: Choice) -> Iterator[Holding]:
    path = f"{RECORDINGS}/{former.name}"
    if not former.name or not os.path.isdir(path) or os.path.islink(path):
        return
    if choice.recordings == REMOVE:
        remove = trees.RemoveForGood(path)
        yield Holding("recordings", path, REMOVE, trees.size(path), (remove,), for_good=True)
    else:
        yield Holding("recordings", path, KEEP, trees.size(path))


def _record(former: Former) -> Iterator[Holding]:
    """Yield the record of the shell: without it nobody knows the uid of a name, so it goes last."""
    if former.uid is None:
        return
    path = f"{RECORDS}/{former.uid}.json"
    if os.path.lexists(path) and recorded_name(former.uid) in (former.name, ""):
        yield _file("record of the shell", path, REMOVE, RemoveFile(path))

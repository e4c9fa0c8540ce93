"""What accounts that are gone have left: whoever is given such a uid next would own it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from ssh2container.admin.account import RECORDS, enrolled_names, find
from ssh2container.admin.accounts import host_key, jobs, slices
from ssh2container.admin.accounts.account_changes import recorded_name
from ssh2container.admin.accounts.enable import policy_of
from ssh2container.admin.accounts.home_quota import TakeQuota
from ssh2container.admin.accounts.networks import RemoveNetworks
from ssh2container.admin.accounts.runtime import RUNTIME, TMPFILES
from ssh2container.admin.change import Change, RemoveFile, read_or_none
from ssh2container.admin.durable import remove
from ssh2container.admin.networks import pool
from ssh2container.admin.quotas import homes
from ssh2container.admin.reachable import answers
from ssh2container.errors import SessionError
from ssh2container.kernel import names
from ssh2container.record.registry import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ENTRY = re.compile(r"ssh2container-(\d+)\.conf")
_NOBODYS = 0o700


class RemoveTree(Change):
    """A runtime directory that is not there."""

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"remove {self.path}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not os.path.lexists(self.path)

    def do(self) -> None:
        """See :class:`Change`."""
        remove(self.path)  # of any depth, whoever made it

    def undo(self) -> None:
        """Do nothing: there was nobody whose it could be."""


class TakeHome(Change):
    """A kept home that nobody can enter but root: what is in it stays, with its owner's number."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._before = (0, 0, _NOBODYS)

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"give {self.path} to root (what is in it stays)"

    def done(self) -> bool:
        """See :class:`Change`."""
        found = os.lstat(self.path)
        return found.st_uid == 0

    def do(self) -> None:
        """See :class:`Change`."""
        found = os.lstat(self.path)
        self._before = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
        os.chown(self.path, 0, 0, follow_symlinks=False)
        os.chmod(self.path, _NOBODYS)

    def undo(self) -> None:
        """See :class:`Change`."""
        uid, gid, mode = self._before
        os.chown(self.path, uid, gid, follow_symlinks=False)
        os.chmod(self.path, mode)


class Left(NamedTuple):
    """One thing that is kept under a uid, and the change that puts it away. what: in words."""

    uid: int
    what: str
    where: str
    change: Change


def leftovers() -> list[Change]:
    """Return what would put away all that accounts that are gone have left.

    Raises SessionError where the name service does not answer: then nobody knows which are gone.
    """
    gone = {uid: not has_account(uid) for uid in uids()}
    under = [left.change for left in _everything() if gone.get(left.uid)]
    return [*under, *_jobs(), *_records(), *_homes()]


def of_uid(uid: int) -> list[Left]:
    """Return everything that is kept under a uid, whoever has it; homes and records go by names, too."""
    return [left for left in _everything() if left.uid == uid]


def uids() -> set[int]:
    """Return every uid under which anything is kept."""
    return {left.uid for left in _everything()}


def _everything() -> Iterator[Left]:
    for below in (RUNTIME, SHARED):
        for name in _listed(below):
            if name.isdigit():
                path = f"{below}/{name}"
                yield Left(int(name), "runtime directory", path, RemoveTree(path))
    for name in _listed(TMPFILES):
        if found := _ENTRY.fullmatch(name):
            path = f"{TMPFILES}/{name}"
            yield Left(int(found[1]), "tmpfiles.d entry", path, RemoveFile(path))
    for uid in slices.uids():
        change = slices.LiftLimits(uid, _called(uid))
        yield Left(uid, "limits", slices.path_of(slices.unit_of(uid)), change)
    for uid in sorted(pool.uids()):
        yield Left(uid, "networks", pool.directory_of(uid), RemoveNetworks(uid, _called(uid)))
    for uid, path in host_key.kept():
        yield Left(uid, "host key", path, RemoveFile(path))
    for uid, record in homes.all_recorded():
        yield Left(uid, "quota", record.path, TakeQuota(uid))


def _jobs() -> Iterator[Change]:
    """Yield what takes the jobs of names away that are nobody's any more."""
    for name in sorted(set(jobs.in_place().values())):
        try:
            pwd.getpwnam(name)
        except (KeyError, ValueError):
            names.require_unknown(names.USER, name)
            yield jobs.TakeJobs(name)


def _called(uid: int) -> str:
    return recorded_name(uid) or f"uid {uid}"


def _records() -> Iterator[Change]:
    """Yield records of users whose name or whose uid is another's now, or nobody's."""
    for name in _listed(RECORDS):
        uid, dot, _ = name.partition(".json")
        if not dot or not uid.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, KeyError):
            recorded = str(json.loads(read_or_none(f"{RECORDS}/{name}") or "")["name"])
            try:
                gone = pwd.getpwnam(recorded).pw_uid != int(uid)
            except KeyError:
                names.require_unknown(names.USER, recorded)
                gone = True
            if gone:
                yield RemoveFile(f"{RECORDS}/{name}")


def places_of_homes() -> list[str]:
    """Return the directories in which policies of contained users keep a home for each (``%u``, ``%U``)."""
    parents = set()
    for name in enrolled_names():
        with contextlib.suppress(SessionError):
            policy = policy_of(find(name))
            source = "" if policy is None or policy.home is None else policy.home.source or ""
            parent, _, last = source.rpartition("/")
            if last in ("%u", "%U") and "%" not in parent and parent:
                parents.add(parent)
    return sorted(parents)


def _homes() -> Iterator[Change]:
    """Yield kept homes whose owner is gone, beside those that policies name with ``%u`` or ``%U``."""
    for path, owner in homes_in(places_of_homes()):
        if not has_account(owner):
            yield TakeHome(path)


def homes_in(parents: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield each directory below one of ``parents`` that answers, and the uid of its owner."""
    for parent in parents:
        for entry in _listed(parent) if answers(parent) else ():
            if not answers(f"{parent}/{entry}"):
                continue  # whose it is, its file server alone can say
            with contextlib.suppress(OSError):
                found = os.lstat(f"{parent}/{entry}")
                if stat.S_ISDIR(found.st_mode):
                    yield f"{parent}/{entry}", found.st_uid


def has_account(uid: int) -> bool:
    """Tell whether anybody has a uid. Raises SessionError where the name service does not answer."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        names.require_unknown(names.USER, None, uid)
        return False
    return True


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []

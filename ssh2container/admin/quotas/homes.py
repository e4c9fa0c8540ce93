"""Which homes have a quota: what policies ask for, and the record of what was set."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from typing import TYPE_CHECKING, NamedTuple

from ssh2container.admin import atomic, reachable
from ssh2container.admin.change import read_or_none
from ssh2container.admin.quotas import means, subvolumes
from ssh2container.admin.quotas.projects import Projects
from ssh2container.admin.quotas.quota import BEST, Quota, Use, cannot, shown
from ssh2container.admin.quotas.subvolumes import Subvolume
from ssh2container.errors import SessionError
from ssh2container.policy import specifiers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ssh2container.policy.policy import Policy

RECORDS = "/var/lib/ssh2container/quotas"
"""A file for each user whose home has a quota of ours, named by the uid."""
FIRST_PROJECT, PROJECTS = 0x6000_0000, 0x1000_0000
"""The numbers that are ours: below those of systemd (2147483648 and up), far above what people choose."""
_NAMED_PROJECTS = (("/etc/projid", 1), ("/etc/projects", 0))
"""Where administrators keep theirs, and the field that has the number (projid(5), projects(5))."""


_BLOCK_BYTES = 64 * 1024
"""The largest block of a file system: xfs keeps whole blocks, so a limit reads back as it was set."""


class Record(NamedTuple):
    """A quota of ours: whose, where, and the project's number, which btrfs does not use."""

    name: str
    path: str
    project: int


def wanted(policy: Policy | None, values: Mapping[str, str]) -> tuple[str, Quota] | None:
    """Return the directory that ``policy`` keeps as a home, and its quota; None where there is none.

    values: what specifiers stand for. Raises SessionError for a home that each session has of its own.
    """
    source = "" if policy is None or policy.home is None else policy.home.source
    if policy is None or not source:
        return None
    # Not of the home that a login has: no login looks at them.
    size = policy.values["home.size"]
    rounded = None if size is None else -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
    quota = Quota(rounded, policy.values["home.inodes"])
    if quota == Quota(None, None):
        return None
    if "%i" in source:
        why = "%i in home.source names another directory for each session"
        raise cannot(source, why, "name one that a user's sessions share: /srv/homes/%u")
    return os.path.normpath(specifiers.expand(source, values)), quota


def require(path: str, quota: Quota, values: Mapping[str, str]) -> None:
    """Raise SessionError, with the remedy, where ``quota`` cannot be set on ``path`` and enforced."""
    means.of(path).require(quota)
    if path.startswith(values["h"].rstrip("/") + "/") and not os.path.lexists(path):
        raise cannot(
            path,
            "it is not there yet: below the user's own home, the first login makes it",
            f"name a home.source elsewhere, make it now: runuser -u {values['u']} -- mkdir -p -m 700"
            f" {shlex.quote(path)}, {BEST}",
        )


def problems(policy: Policy, values: Mapping[str, str]) -> Iterator[tuple[str, str, str, bool]]:
    """Yield why a policy's quota does not hold: the key, what was found, a hint, whether that is an error.

    A quota below what the home has already does hold, and is told all the same.
    """
    key = "home.inodes" if policy.values["home.size"] is None else "home.size"
    try:
        found = wanted(policy, values)
        if found is None:
            return
        require(*found, values)
        record = recorded(int(values["U"]))
        used = use(record) if record is not None and record.path == found[0] else None
    except SessionError as error:
        yield key, error.reason(), error.remedy, policy.limits_required
        return
    except OSError:
        return  # the home is not there: said of the logins
    if used is not None and found[1].size is not None and used.used > found[1].size:
        message = f"{values['u']}'s home holds {shown(used.used)}, which is more"
        yield key, message, "nothing can be written there until files are removed", False


def wants_subvolume(path: str, quota: Quota) -> bool:
    """Whether a new home at ``path`` has to be a subvolume of btrfs to be limited."""
    with contextlib.suppress(SessionError):
        return quota.size is not None and isinstance(means.of(path), Subvolume) and subvolumes.can_make()
    return False


def recorded(uid: int) -> Record | None:
    """Return the quota that was set for the user with this uid, None for none."""
    text = read_or_none(f"{RECORDS}/{uid}.json")
    if text is None:
        return None
    try:
        record = json.loads(text)
        return Record(record["name"], record["path"], record["project"])
    except (ValueError, KeyError, TypeError):
        return None  # half a record is none: what is on the disk is set anew


def all_recorded() -> Iterator[tuple[int, Record]]:
    """Yield every quota that was set, with its user's uid."""
    try:
        names = sorted(os.listdir(RECORDS))
    except FileNotFoundError:
        return
    for name in names:
        uid = name.removesuffix(".json")
        record = recorded(int(uid)) if uid.isdigit() else None
        if record is not None:
            yield int(uid), record


def use(record: Record) -> Use | None:
    """Return what a home holds and may hold; None where the quota is gone.

    Raises SessionError where the home does not answer, OSError where it is not there.
    """
    return means.of(record.path).use(record.project)


def use_if_there(record: Record) -> Use | None:
    """Do as :func:`use`; None also where the home is gone, or its file system limits nothing any more."""
    reachable.require(record.path, f"the home of {record.name}'s sessions")
    with contextlib.suppress(SessionError, OSError):
        return use(record)
    return None


def put(uid: int, record: Record, quota: Quota) -> None:
    """Set a quota and record it."""
    found = means.of(record.path)
    found.require(quota)
    found.set(quota, record.project)
    os.makedirs(RECORDS, 0o755, exist_ok=True)
    atomic.write(f"{RECORDS}/{uid}.json", json.dumps(record._asdict()) + "\n", 0o600)


def take(uid: int, record: Record) -> None:
    """Take a quota from a home, and its record. A home that is not there any more has none."""
    reachable.require(record.path, f"the home of {record.name}'s sessions")
    if os.path.isdir(record.path):
        try:
            found = means.of(record.path)
        except SessionError:
            pass  # on another file system now, which has none
        else:
            found.clear(record.project)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{RECORDS}/{uid}.json")


def project_for(uid: int, path: str) -> int:
    """Return the number of the project that a home is to be: the uid's, or the next that is nobody's."""
    found = means.of(path)
    if not isinstance(found, Projects):
        return 0
    taken = {record.project for other, record in all_recorded() if other != uid} | _of_administrators()
    mine = recorded(uid)
    own = (found.belongs_to(), 0 if mine is None else mine.project)
    for step in range(PROJECTS):
        number = FIRST_PROJECT + (uid + step) % PROJECTS
        if number not in taken and (number in own or not found.is_in_use(number)):
            return number
    raise cannot(path, "every number of a project is taken", BEST)


def _of_administrators() -> set[int]:
    found = set()
    for path, field in _NAMED_PROJECTS:
        for line in (read_or_none(path) or "").splitlines():
            words = line.partition("#")[0].split(":")
            if len(words) > field and words[field].strip().isdigit():
                found.add(int(words[field]))
    return found


def words(quota: Quota) -> str:
    """Return a quota for people: "2g and 1000 files"."""
    parts = [] if quota.size is None else [shown(quota.size)]
    parts += [] if quota.inodes is None else [f"{quota.inodes} files"]
    return " and ".join(parts) or "nothing in particular"

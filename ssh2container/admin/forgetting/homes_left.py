"""Kept homes of people who are to be forgotten: where they can be, and why one of them is not touched."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from typing import TYPE_CHECKING

from ssh2container.admin import reachable
from ssh2container.admin.account import enrolled_names, find
from ssh2container.admin.accounts import leftovers
from ssh2container.admin.accounts.enable import policy_of, specifier_values
from ssh2container.admin.accounts.home_source import require_roots_own
from ssh2container.admin.accounts.nosuid import RECORDS as OVER_THEMSELVES
from ssh2container.admin.adopt import plan, records
from ssh2container.admin.change import read_or_none
from ssh2container.admin.forgetting import whom
from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.admin.quotas import homes
from ssh2container.errors import SessionError
from ssh2container.policy import specifiers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.account import Account
    from ssh2container.admin.forgetting.whom import Former


def of(former: Former) -> Iterator[tuple[str, str]]:
    """Yield each kept home, and why it has to stay as it is, "" where it may be removed."""
    for path in dict.fromkeys(os.path.normpath(path) for path in _candidates(former)):
        if path.startswith("/") and path.count("/") > 1 and _may_be_there(path):
            yield path, _reason_to_stay(path, former)


def _may_be_there(path: str) -> bool:
    if not reachable.answers(path):
        return True
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _candidates(former: Former) -> Iterator[str]:
    """Yield where a home of theirs may be: as recorded, as the policy says, and beside those of others."""
    if former.uid is not None:
        record = homes.recorded(former.uid)
        if record is not None and record.name == former.name:
            yield record.path
    adopted = records.of(former.name) if former.name else None
    if adopted is not None and adopted.source:
        yield adopted.source
    if former.name:
        account = former.as_account(-1 if former.uid is None else former.uid)
        if source := _source_of(account):
            yield source
    for path, owner in leftovers.homes_in(sorted({plan.HOMES, *leftovers.places_of_homes()})):
        by_number = former.number is not None and owner == former.number
        if by_number or os.path.basename(path) in {former.name, str(former.uid)}:
            yield path


def _source_of(account: Account) -> str:
    """Return the directory that a policy keeps as the home, "" where it keeps none, or nobody can tell."""
    with contextlib.suppress(SessionError):
        policy = policy_of(account)
        source = "" if policy is None or policy.home is None else policy.home.source or ""
        values = specifier_values(account)
        if account.uid < 0 or not account.home:  # what is only made up for a deleted account has no value
            values = {"u": account.name, **({"U": str(account.uid)} if account.uid >= 0 else {})}
        return specifiers.expand(source, values)
    return ""


def _reason_to_stay(path: str, former: Former) -> str:
    if not reachable.answers(path):
        return "its file system does not answer"
    try:
        require_roots_own(os.path.dirname(path), "")
    except SessionError as error:
        return error.why
    return _of_another(path, former) or _in_use(path, former) or _mounted(path, former)


def _of_another(path: str, former: Former) -> str:
    """Return whose a home is, where it is not that of ``former``: both the name and the number tell."""
    owner = os.lstat(path).st_uid
    if owner == 0:  # as disable --gone leaves it; what is in it has kept its owners
        owners = {entry.stat(follow_symlinks=False).st_uid for entry in os.scandir(path)}
        others = sorted(whom.owner_of(uid) for uid in owners - {0, former.number} if whom.owner_of(uid))
        return f"it holds files of {', '.join(others)}" if others else ""
    if owner == former.number:
        return ""
    if whose := whom.owner_of(owner):
        return f"it is {whose}'s now (uid {owner})"
    return "" if former.uid is None else f"it is that of another uid, {owner}"


def _in_use(path: str, former: Former) -> str:
    for entry in pwd.getpwall():
        if _overlap(path, os.path.normpath(entry.pw_dir)):
            return f"it is the home of {entry.pw_name} on the host, or has it in it"
    for name in enrolled_names():
        if name == former.name:
            continue
        with contextlib.suppress(SessionError):
            source = _source_of(find(name))
            if source and _overlap(path, os.path.normpath(source)):
                return f"it is the home of {name}'s sessions, too"
    return ""


def _overlap(one: str, other: str) -> bool:
    if other in ("", "/", "."):
        return False
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _mounted(path: str, former: Former) -> str:
    """Return what is mounted at a home or below it, but our own mount, which goes first."""
    ours = read_or_none(f"{OVER_THEMSELVES}/{former.uid}") if former.number is not None else None
    if is_mount_point(path) and ours != path:
        return "something is mounted there"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        points = [line.split()[4] for line in table]
    below = [point for point in points if point.startswith(f"{path}/")]
    return f"something is mounted at {below[0]}" if below else ""

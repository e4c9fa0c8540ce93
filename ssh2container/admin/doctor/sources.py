"""What sessions write to on the host: mounted so that set-ID bits mean nothing, and free of such files."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ssh2container.admin import writable
from ssh2container.admin.accounts.enable import policy_of, specifier_values
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, Finding
from ssh2container.errors import SessionError
from ssh2container.policy import keyed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ssh2container.admin.account import Account
    from ssh2container.admin.writable import Place

_SHOWN = 5


@check.of_users("sources", place=30)
def of_users(accounts: Sequence[Account], advance: Callable[[str], None]) -> Iterator[Finding]:
    """Yield the places that honour set-ID bits, each once, and the files that have some."""
    uids = frozenset(account.uid for account in accounts)
    open_places: dict[str, Place] = {}
    users: dict[str, dict[str, None]] = {}
    searched: set[str] = set()
    faults = 0
    for account in accounts:
        try:
            policy = policy_of(account)
        except SessionError:
            continue  # told elsewhere
        if policy is None:
            continue
        values = specifier_values(account)
        for place in [place for one in keyed.every(policy) for place in writable.places(one, values)]:
            if writable.ignores_set_id(place.path):
                continue
            open_places.setdefault(place.directory, place)
            users.setdefault(place.directory, {})[account.name] = None
            if place.path not in searched:
                searched.add(place.path)
                advance(f"files of {account.name}")
                for finding in _files(account, place, uids):
                    faults += finding.level == PROBLEM
                    yield finding
    for directory, place in open_places.items():
        yield Finding(
            NOTE,
            "sources.nosuid",
            directory,
            f"honours set-ID bits: sessions of {_names(users[directory])} cannot make such files there, but"
            " whatever else runs as them can",
            writable.remedy(place),
            {"users": [*users[directory]]},
        )
    if searched and not faults:
        yield Finding(OK, "sources.set-id", "", "no user has left a file with a set-ID bit")


def _files(account: Account, place: Place, uids: frozenset[int]) -> Iterator[Finding]:
    found, whole = writable.set_id_files(place.path, uids)
    if found:
        shown = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        yield Finding(
            PROBLEM,
            "sources.set-id",
            account.name,
            f"{shown}: who executes {'it' if len(found) == 1 else 'them'} on the host gets the owner's ids",
            # As the user: root would follow a link that the user puts in its place meanwhile.
            f"runuser -u {shlex.quote(account.name)} -- find {shlex.quote(place.path)} -xdev -type f"
            " -perm /6000 -exec chmod ug-s {} +",
            {"files": found},
        )
    if not whole:
        yield Finding(
            NOTE,
            "sources.set-id",
            account.name,
            f"{place.path} has more than {writable.MOST_ENTRIES} files: not all were looked at",
            f"find {shlex.quote(place.path)} -xdev -type f -perm /6000",
        )


def _names(users: Iterable[str]) -> str:
    names = list(users)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")

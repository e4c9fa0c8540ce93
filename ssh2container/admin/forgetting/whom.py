"""Who can be forgotten: accounts that were deleted, as records name them, and accounts that are disabled."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssh2container.admin.account import RECORDS, Account, find
from ssh2container.admin.accounts import disable, leftovers
from ssh2container.admin.accounts.account_changes import recorded_name
from ssh2container.admin.accounts.runtime import entry_of
from ssh2container.admin.adopt import records
from ssh2container.admin.change import read_or_none
from ssh2container.admin.durable import listed
from ssh2container.admin.quotas import homes
from ssh2container.admin.recordings.collector import DIRECTORY as RECORDINGS
from ssh2container.admin.sessions import unlisted
from ssh2container.errors import Refusal, SessionError
from ssh2container.kernel import names

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Former:
    """Who is to be forgotten.

    name: "" where no record tells it. uid: None where none does. account: of whoever is only disabled.
    now: whose the uid is now, where the account is deleted and another has its number.
    """

    name: str
    uid: int | None
    account: Account | None = None
    now: str = ""

    @property
    def label(self) -> str:
        """Return what to call them."""
        return self.name or f"uid {self.uid}"

    @property
    def number(self) -> int | None:
        """Return the uid, where nobody else has it."""
        return None if self.now else self.uid

    def as_account(self, uid: int) -> Account:
        """Return the account, or what is like it for changes that go by name and number."""
        return self.account or Account(self.label, uid, uid, "", "", (), local=True)


def named(word: str) -> list[Former]:
    """Return who is meant with a name, or with the uid of an account that is deleted.

    Raises SessionError for what cannot be a name, and where the name service does not answer.
    """
    if not word or "/" in word or word.startswith(".") or not word.isprintable():
        raise SessionError(f"no user {word!r}", "no account can have that name", step="forget")
    try:
        account = find(word)
    except SessionError:
        names.require_unknown(names.USER, word)
    else:
        return [Former(account.name, account.uid, account)]
    if word.isdecimal():
        return [of_number(int(word))]
    found = sorted({uid for name, uid in _recorded() if name == word})
    return [_former(word, uid) for uid in found] or [Former(word, None)]


def of_number(uid: int) -> Former:
    """Return who had a uid. Raises Refusal where somebody has it."""
    if owner := owner_of(uid):
        raise Refusal(f"cannot forget uid {uid}", f"it is {owner}'s", f"name the account: {owner}", "forget")
    called = {name for name, number in _recorded() if number == uid}
    return Former(called.pop() if len(called) == 1 and not _exists(*called) else "", uid)


def gone() -> list[Former]:
    """Return every deleted account of which a record, a recording or anything else is left.

    A policy alone is no trace: it may be there before the account is. Raises SessionError where the name
    service does not answer.
    """
    found = {}
    for name, uid in _recorded():
        if not _exists(name):
            found[name, uid] = _former(name, uid)
    numbers = {uid for _, uid in found}
    for uid in sorted(leftovers.uids() - numbers):
        if not leftovers.has_account(uid):
            found["", uid] = Former("", uid)
    called = {name for name, _ in found}
    for name in sorted({*listed(RECORDINGS), *records.names()} - called):
        if not _exists(name):
            found[name, -1] = Former(name, None)
    return [found[key] for key in sorted(found)]


def require_forgettable(former: Former) -> None:
    """Raise Refusal for who is contained, or can still be given back, or has sessions or processes."""
    what = f"cannot forget {former.label}"
    account, number = former.account, former.number
    if account is not None and account.enrolled:
        raise Refusal(what, "the user is enabled", f"first: ssh2containerctl disable {former.name}", "forget")
    if account is not None and records.of(former.name) is not None:
        raise Refusal(
            what,
            "the account was taken over, and what is held of it is the way back",
            f"first give it back (ssh2containerctl adopt --undo {former.name})",
            "forget",
        )
    if number is None:
        return
    running = [process.pid for process in unlisted.monitors((number,))]
    if running:
        raise Refusal(
            what,
            f"sessions still run (pid {', '.join(map(str, running))})",
            f"end them: ssh2containerctl kill --user {former.name or number}",
            "forget",
        )
    processes = [] if account is not None else disable.processes_of(former.as_account(number))
    if processes:
        raise Refusal(
            what,
            f"processes still run under the uid {number} (pid {', '.join(map(str, processes))})",
            "end them first",
            "forget",
        )


def owner_of(uid: int) -> str:
    """Return who has a uid, "" for nobody. Raises SessionError where the name service does not answer."""
    return pwd.getpwuid(uid).pw_name if leftovers.has_account(uid) else ""


def _former(name: str, uid: int) -> Former:
    return Former(name, uid, None, owner_of(uid))


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        names.require_unknown(names.USER, name)
        return False
    return True


def _recorded() -> Iterator[tuple[str, int]]:
    """Yield (name, uid) from everything that says which name had which number."""
    for file in listed(RECORDS):
        uid = file.removesuffix(".json")
        if uid.isdecimal() and (name := recorded_name(int(uid))):
            yield name, int(uid)
    for number, record in homes.all_recorded():
        yield record.name, number
    for name in records.names():
        if (adopted := records.of(name)) is not None:
            yield name, adopted.uid
    for number in leftovers.uids():
        first = (read_or_none(entry_of(number)) or "").partition("\n")[0]
        if first.startswith("# ") and os.path.basename(first[2:]) == first[2:]:
            yield first[2:], number

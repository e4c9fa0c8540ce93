"""The quota of a kept home: set, changed and taken back with the policy."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
from typing import TYPE_CHECKING

from ssh2container.admin import reachable
from ssh2container.admin.account import find, with_the_shell
from ssh2container.admin.accounts.runtime import entry_of
from ssh2container.admin.change import Change
from ssh2container.admin.quotas import homes
from ssh2container.admin.quotas.homes import Record
from ssh2container.errors import Refusal, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.admin.account import Account
    from ssh2container.admin.quotas.quota import Quota
    from ssh2container.policy.policy import Policy

    Values = Callable[[Account], dict[str, str]]


class LimitHome(Change):
    """The quota that the policy names, on its home; none where it names none."""

    def __init__(self, account: Account, policy: Callable[[Account], Policy | None], values: Values) -> None:
        self.account = account
        self._policy = policy
        self._values = values
        self._told = f"set no quota on {account.name}'s home (the policy has none)"
        self._hindered = False
        self._former: tuple[Record, Quota] | None = None

    def _wanted(self) -> tuple[str, Quota] | None:
        """Return what is to be set; None where that is nothing, or cannot be and need not be.

        Raises SessionError where it cannot be and has to.
        """
        policy = self._policy(self.account)
        try:
            wanted = homes.wanted(policy, self._values(self.account))
            if wanted is not None:
                self._told = f"limit what {wanted[0]} holds to {homes.words(wanted[1])}"
                homes.require(*wanted, self._values(self.account))
        except SessionError as error:
            if policy is None or policy.limits_required:
                raise
            self._told = f"go without a quota on {self.account.name}'s home: {error.reason()}"
            self._hindered = True
            return None
        return wanted

    def describe(self) -> str:
        """See :class:`Change`."""
        return self._told

    def done(self) -> bool:
        """See :class:`Change`."""
        wanted, record = self._wanted(), homes.recorded(self.account.uid)
        if self._hindered:
            return True  # what was set before stays: its server may only be away
        if wanted is None:
            if record is not None:
                self._told = f"take the quota from {record.path}"
            return record is None
        if record is None or record.path != wanted[0] or not os.path.lexists(wanted[0]):
            return False
        use = homes.use(record)
        return use is not None and use.quota == wanted[1]

    def do(self) -> None:
        """See :class:`Change`."""
        uid, name = self.account.uid, self.account.name
        wanted, record = self._wanted(), homes.recorded(uid)
        if record is not None:
            use = homes.use_if_there(record)
            self._former = None if use is None else (record, use.quota)
        if record is not None and (wanted is None or record.path != wanted[0]):
            homes.take(uid, record)
        if wanted is None:
            return
        path, quota = wanted
        homes.put(uid, Record(name, path, homes.project_for(uid, path)), quota)

    def undo(self) -> None:
        """See :class:`Change`."""
        record = homes.recorded(self.account.uid)
        if self._former is not None:
            if record is not None and record.path != self._former[0].path:
                homes.take(self.account.uid, record)
            homes.put(self.account.uid, *self._former)
        elif record is not None:
            homes.take(self.account.uid, record)


class TakeQuota(Change):
    """No quota of ours for whoever has, or had, the uid.

    One on a home that does not answer is left, with its record, for the next ``compile``: nobody is to keep
    our login shell because of it.
    """

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self._record = homes.recorded(uid)
        self._quota: Quota | None = None

    def describe(self) -> str:
        """See :class:`Change`."""
        if self._record is None:
            return "take no quota from a home (there is none)"
        if self.is_away():
            return f"leave the quota of {self._record.path}, which does not answer, to compile"
        return f"take the quota from {self._record.path}"

    def is_away(self) -> bool:
        """Whether the home does not answer, so that its quota stays."""
        return self._record is not None and not reachable.answers(self._record.path)

    def what_stays(self) -> str:
        """Say what a home that does not answer keeps."""
        path = "" if self._record is None else self._record.path
        return f"{path} does not answer and keeps its quota; compile takes it once it does"

    def done(self) -> bool:
        """See :class:`Change`."""
        return homes.recorded(self.uid) is None

    def do(self) -> None:
        """See :class:`Change`."""
        record = self._record
        if record is not None and not self.is_away():
            use = homes.use_if_there(record)
            self._quota = None if use is None else use.quota
            homes.take(self.uid, record)

    def undo(self) -> None:
        """See :class:`Change`."""
        if self._record is not None and self._quota is not None:
            homes.put(self.uid, self._record, self._quota)


class RenewQuotas(Change):
    """The quotas of all contained users' homes, as the policies are now, and of nobody else's.

    A user whose policy does not hold keeps what was in force; what accounts that are gone have is left to
    ``disable --gone``. failed: a sentence for each that cannot be. left: one for each of a former user's that
    stays, as its home does not answer.
    """

    def __init__(self, policy: Callable[[Account], Policy | None], values: Values) -> None:
        self._policy = policy
        self._values = values
        self.failed: list[str] = []
        self.left: list[str] = []
        self._pending: list[tuple[str, Change]] = []

    def describe(self) -> str:
        """See :class:`Change`."""
        return "; ".join(change.describe() for _, change in self._pending) or "set the quotas of homes"

    def done(self) -> bool:
        """See :class:`Change`."""
        self.failed, self.left, self._pending = [], [], []
        for name, make in self._changes():
            try:
                change = make()
                if change.done():
                    continue
                if isinstance(change, TakeQuota) and change.is_away():
                    self.left.append(f"{name}: {change.what_stays()}")
                else:
                    self._pending.append((name, change))
            except Refusal:
                continue  # said of the policy itself
            except (SessionError, OSError) as error:
                self.failed.append(f"{name}: {error}")
        return not self._pending

    def _changes(self) -> Iterator[tuple[str, Callable[[], Change]]]:
        contained = with_the_shell()
        for name in contained:
            yield name, functools.partial(self._limit, name)
        for uid, record in homes.all_recorded():
            with contextlib.suppress(KeyError):
                # An enable beside us makes the place first, sets the quota, and gives the shell at the end.
                if pwd.getpwuid(uid).pw_name not in contained and not os.path.exists(entry_of(uid)):
                    yield record.name, functools.partial(TakeQuota, uid)

    def _limit(self, name: str) -> Change:
        return LimitHome(find(name), self._policy, self._values)

    def do(self) -> None:
        """See :class:`Change`; where one cannot be, the others are all the same."""
        for name, change in list(self._pending):
            try:
                change.do()
            except (SessionError, OSError) as error:
                self._pending.remove((name, change))
                self.failed.append(f"{name}: {error}")

    def undo(self) -> None:
        """See :class:`Change`."""
        for _, change in reversed(self._pending):
            change.undo()

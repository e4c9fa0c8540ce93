"""The jobs of policies, given to systemd or cron: files that follow from the policies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.account import Account, enrolled_names, find
from ssh2container.admin.change import Change
from ssh2container.admin.schedule import files, host
from ssh2container.admin.sealed import SealedFile, reload, systemctl
from ssh2container.errors import SessionError
from ssh2container.policy import schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ssh2container.policy.policy import Policy
    from ssh2container.policy.schedule import Job

    PolicyOf = Callable[[Account], Policy | None]


def texts(name: str, uid: int, jobs: Iterable[Job]) -> dict[str, str]:
    """Return path -> text of what the host is given of a user's jobs.

    Raises SessionError where nobody could run them.
    """
    jobs = list(jobs)
    by = host.means() if jobs else ""
    if not jobs:
        return {}
    try:
        if by == "systemd":
            return files.for_systemd(name, uid, jobs)
        if by == "cron":
            return files.for_cron(name, jobs)
        why = host.NOBODY
    except ValueError as error:
        why = str(error)
    raise SessionError(
        f"cannot schedule the jobs of {name}",
        why,
        "install cron, or leave schedule out of the policy",
        "jobs",
    )


def in_place() -> dict[str, str]:
    """Return path -> whose jobs, for each file of this kind."""
    found = {}
    for directory in files.DIRECTORIES:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            path = f"{directory}/{name}"
            owner = files.owner(path)
            if owner is not None:
                found[path] = owner
    return found


class GiveJobs(Change):
    """The files of jobs with exactly the texts that :meth:`wanted` returns, and their timers running.

    thorough: remove what is not wanted even where it was changed by hand, as nobody is to run it any more.
    """

    thorough = False

    def __init__(self, whose: str) -> None:
        self.whose = whose
        self.pending: list[SealedFile] = []

    def wanted(self) -> dict[str, str]:
        """Return path -> text. Raises SessionError."""
        return {}

    def concerns(self, owner: str) -> bool:
        """Tell whether the files of a user are this one's matter."""
        return owner == self.whose

    def describe(self) -> str:
        """See :class:`Change`."""
        if not self.pending:
            return f"schedule the jobs of {self.whose}"
        return "; ".join(change.describe() for change in self.pending)

    def done(self) -> bool:
        """See :class:`Change`."""
        wanted = self.wanted()
        paths = {*wanted, *(path for path, owner in in_place().items() if self.concerns(owner))}
        made = [SealedFile(path, wanted.get(path, "")) for path in sorted(paths)]
        self.pending = [
            one for one in made if not one.done() or (one.kept and self.thorough and one.path not in wanted)
        ]
        return not self.pending

    def do(self) -> None:
        """See :class:`Change`."""
        self._exchange(SealedFile.write)

    def undo(self) -> None:
        """See :class:`Change`."""
        self._exchange(SealedFile.restore)

    def _exchange(self, place: Callable[[SealedFile], None]) -> None:
        """Put the files into place and have systemd follow; take them back where it does not."""
        timers = [one.path for one in self.pending if one.path.endswith(".timer")]
        former = [os.path.basename(path) for path in timers if os.path.lexists(path)]
        if former:
            systemctl("stop", *former)
        for one in self.pending:
            place(one)
        if all(one.path.startswith(files.CRON_D) for one in self.pending):
            return  # cron looks at its directory each minute
        try:
            reload()
            now = [os.path.basename(path) for path in timers if os.path.lexists(path)]
            if now:
                systemctl("start", *now)
        except SessionError:
            for one in self.pending:
                one.restore()
            raise


class ScheduleUser(GiveJobs):
    """What the user's policy says, for whoever is being enabled."""

    def __init__(self, account: Account, policy_of: PolicyOf) -> None:
        super().__init__(account.name)
        self.account = account
        self.policy_of = policy_of

    def wanted(self) -> dict[str, str]:
        """See :class:`GiveJobs`; raises SessionError as ``policy_of`` and :func:`texts`."""
        policy = self.policy_of(self.account)
        return (
            {} if policy is None else texts(self.account.name, self.account.uid, schedule.of(policy.values))
        )


class TakeJobs(GiveJobs):
    """No jobs of a user who is not contained any more, whoever has changed their files."""

    thorough = True

    def describe(self) -> str:
        """See :class:`Change`."""
        paths = ", ".join(one.path for one in self.pending)
        return f"take the jobs of {self.whose} away" + (f" ({paths})" if paths else "")


class RenewJobs(GiveJobs):
    """The jobs of all contained users, as the policies are now; none of anybody else.

    A user whose policy does not hold keeps the files: their jobs are refused like logins.
    failed: a sentence for each whose jobs nobody runs.
    """

    def __init__(self, policy_of: PolicyOf) -> None:
        super().__init__("contained users")
        self.policy_of = policy_of
        self.failed: list[str] = []
        self._left: set[str] = set()

    def wanted(self) -> dict[str, str]:
        """See :class:`GiveJobs`."""
        self.failed, self._left = [], set()
        found: dict[str, str] = {}
        for account, jobs in self._jobs():
            try:
                found.update(texts(account.name, account.uid, jobs))
            except SessionError as error:
                self.failed.append(str(error))
        return found

    def concerns(self, owner: str) -> bool:
        """See :class:`GiveJobs`."""
        return owner not in self._left

    def _jobs(self) -> Iterator[tuple[Account, Iterable[Job]]]:
        for name in enrolled_names():
            try:
                account = find(name)
                policy = self.policy_of(account) if account.enrolled else None
            except SessionError:
                self._left.add(name)  # said of the policy itself
                continue
            if policy is not None:
                yield account, schedule.of(policy.values)

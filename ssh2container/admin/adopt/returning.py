"""Giving accounts back: from the record alone, by the steps of ``disable``, as often as it takes."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from ssh2container.admin import atomic
from ssh2container.admin.account import Account, find
from ssh2container.admin.accounts import disable, enable
from ssh2container.admin.accounts.account_changes import EndSessions, JoinGroup, LeaveGroup, SetShell
from ssh2container.admin.adopt import doing, facts, homes, reading, records
from ssh2container.admin.change import Change, RemoveFile, make_directories, read_or_none, remove_directories
from ssh2container.admin.login.managers import LINGER
from ssh2container.admin.sshd import SHELL
from ssh2container.errors import SessionError
from ssh2container.plan.inner import HOST_KEYS
from ssh2container.policy import store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ssh2container.admin.adopt.records import Record

    Tell = Callable[[str, Change], None]


class Step(Change):
    """A step on the way back, which is never taken back itself."""

    def __init__(self, text: str, needed: Callable[[], bool], work: Callable[[], object]) -> None:
        self._text = text
        self._needed = needed
        self._work = work

    def describe(self) -> str:
        """See :class:`Change`."""
        return self._text

    def done(self) -> bool:
        """See :class:`Change`."""
        return not self._needed()

    def do(self) -> None:
        """See :class:`Change`."""
        self._work()

    def undo(self) -> None:
        """Do nothing: the way back is gone to its end, or gone again."""


def returning(account: Account, record: Record, notes: list[str], *, kill: bool = False) -> list[Change]:
    """Return what gives an account back; each step can be taken again. notes: gets what there is to know."""
    name, policy = record.name, store.STANDARD.source(f"users/{record.name}")
    host_key = f"{HOST_KEYS}/{account.uid}"
    forget = disable.ForgetShell(account)
    return [
        Step(
            f"have the home {record.home} as it was",
            lambda: bool(record.source),
            lambda: notes.extend(homes.bring_back(record)),
        ),
        *_shell(account, record, notes),
        *([EndSessions(account)] if kill else []),
        *disable.taking_back(account),
        *([] if record.member else [LeaveGroup(account)]),
        *(JoinGroup(account, group) for group in record.left),
        Step(
            f"remove {policy}",
            lambda: os.path.lexists(policy),
            lambda: _remove_policy(policy, record, notes),
        ),
        Step("compile the policies without it", lambda: True, enable.compile_policies),
        enable.RefreshDropIn(),
        *(_Return(saved, name, notes) for saved in record.files),
        *(
            [
                Step(
                    "linger again",
                    lambda: not os.path.exists(LINGER + name),
                    lambda: doing.linger(name, wanted=True),
                )
            ]
            if record.lingered
            else []
        ),
        *([] if record.had_host_key else [RemoveFile(host_key), RemoveFile(f"{host_key}.pub")]),
        Step(
            f"have {forget.path} as it was",
            lambda: (read_or_none(forget.path) or "") != record.former_record,
            lambda: _set_former(forget, record.former_record),
        ),
        Step(
            "remove directories that were made",
            lambda: bool(record.made),
            lambda: remove_directories(record.made),
        ),
    ]


def _shell(account: Account, record: Record, notes: list[str]) -> list[Change]:
    """Return what gives the former shell back; who was locked out meanwhile stays so."""
    if account.shell in (SHELL, record.shell):
        return [SetShell(account, record.shell)]
    notes.append(f"the login shell is {account.shell} since, and stays")
    return []


def _set_former(forget: RemoveFile, text: str) -> None:
    if text:
        atomic.write(forget.path, text, 0o600)
    else:
        forget.do()


def _remove_policy(path: str, record: Record, notes: list[str]) -> None:
    """Remove the policy that was written; one that was changed since is kept where root alone finds it."""
    if read_or_none(path) == record.policy:
        os.unlink(path)
        return
    aside = f"{records.DIRECTORY}/{record.name}.{time.strftime('%Y%m%dT%H%M%S')}.yaml"
    shutil.move(path, aside)
    notes.append(f"the policy was changed since, and is now {aside}")


class _Return(doing.SetAside):
    """A file that was set aside, put back.

    Not a job of at whose time has passed, which would run at once, nor over what has come meanwhile.
    """

    def __init__(self, saved: facts.Saved, owner: str, notes: list[str]) -> None:
        super().__init__(saved, owner)
        self.notes = notes

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"put {self.saved.path} back"

    def done(self) -> bool:
        """See :class:`Change`."""
        return os.path.lexists(self.saved.path) and reading.saved(self.saved.path) == self.saved

    def do(self) -> None:
        """See :class:`Change`."""
        name = os.path.basename(self.saved.path)
        minute = None if name == self.owner else facts.at_minute(name)
        taken = os.path.lexists(self.saved.path)
        if not taken and (minute is None or minute > time.time()):
            doing.put_back(self.saved)
            return
        aside = f"{records.DIRECTORY}/{self.owner}.late"
        make_directories(aside, 0o700)
        atomic.write(f"{aside}/{name}", self.saved.text.encode("latin-1"), 0o600)
        why = "there is another now" if taken else "its time has passed"
        self.notes.append(f"{self.saved.path} is not put back, as {why}, but in {aside}")

    def undo(self) -> None:
        """See :class:`Step`."""


def give_back(record: Record, tell: Tell, *, kill: bool = False) -> list[str]:
    """Give an account back as ``record`` has it; return what else there is to know.

    A step that fails keeps none of the others from being taken, and the record then stays.
    Raises SessionError, also where the account is another now.
    """
    account = find(record.name)
    if account.uid != record.uid:
        raise SessionError(
            f"cannot give {record.name} back",
            f"the account that was taken over had uid {record.uid}, and this one has {account.uid}",
            f"remove what is left of it: ssh2containerctl forget {record.name}",
            "adopt",
        )
    records.keep(_in_state(record, records.RETURNING))
    notes: list[str] = []
    failed = _each(returning(account, record, notes, kill=kill), tell)
    if failed:
        raise SessionError(
            f"cannot give {record.name} back as a whole",
            "; ".join(failed),
            f"see to it, then again: ssh2containerctl adopt --undo {record.name}",
            "adopt",
        )
    records.drop(record.name)
    return notes


def _in_state(record: Record, state: str) -> Record:
    return records.Keep(record, state).record


def _each(changes: Sequence[Change], tell: Tell) -> list[str]:
    failed = []
    for change in changes:
        try:
            if change.done():
                tell("already", change)
                continue
            change.do()
        except SessionError as error:
            failed.append(error.reason())
            tell("left", change)
        except OSError as error:
            failed.append(f"cannot {change.describe()}: {error.strerror or error}")
            tell("left", change)
        else:
            tell("done", change)
    return failed

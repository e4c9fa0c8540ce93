"""The list of changes that ``disable`` carries out."""

from __future__ import annotations

import os
import shlex

from ssh2container.admin.account import Account
from ssh2container.admin.accounts.account_changes import (
    NOLOGIN,
    EndSessions,
    LeaveGroup,
    RecordShell,
    SetShell,
    recorded_shell,
)
from ssh2container.admin.accounts.grants import RevokeRange
from ssh2container.admin.accounts.home_quota import TakeQuota
from ssh2container.admin.accounts.idmapped import HideImages
from ssh2container.admin.accounts.jobs import TakeJobs
from ssh2container.admin.accounts.networks import RemoveNetworks
from ssh2container.admin.accounts.nosuid import HonourSetId
from ssh2container.admin.accounts.runtime import RemoveRuntimeDirectory, entry_of
from ssh2container.admin.accounts.slices import LiftLimits
from ssh2container.admin.change import Change, RemoveFile
from ssh2container.admin.quotas import homes
from ssh2container.admin.sshd import SHELL
from ssh2container.errors import Refusal


def disabling(account: Account, *, restore_shell: bool = False, kill: bool = False) -> list[Change]:
    """Return what takes our login shell from ``account``; the shell itself is the first.

    With nologin the user stays in the group: sshd gives a user with that shell port forwarding and
    internal-sftp all the same, and the drop-in closes both for the group.
    restore_shell: give back the shell that ``enable`` recorded. kill: end the sessions that run.
    Raises :class:`Refusal` when that is asked for and none was recorded, or for who never had our shell.
    """
    if never_ours(account):
        raise Refusal(
            f"cannot disable {account.name}",
            f"the login shell is {account.shell or 'none'}, and was never {SHELL}",
            f"to lock the account itself, run usermod --shell {NOLOGIN} {account.name}",
            "enrol",
        )
    shell = NOLOGIN
    after: list[Change] = []
    if restore_shell:
        recorded = recorded_shell(account)
        if recorded is None or recorded == SHELL:
            raise Refusal(
                f"cannot restore {account.name}'s login shell",
                "none was recorded",
                f"set one: usermod --shell /bin/bash {shlex.quote(account.name)}",
                "enrol",
            )
        shell = recorded
        after = [LeaveGroup(account), ForgetShell(account)]
    return [
        SetShell(account, shell),
        *([EndSessions(account)] if kill else []),
        *taking_back(account),
        *after,
    ]


def never_ours(account: Account) -> bool:
    """Tell who has a shell of their own, and nothing that ``enable`` recorded: there is nothing to take."""
    return account.shell not in (SHELL, NOLOGIN) and recorded_shell(account) is None


def taking_back(account: Account) -> list[Change]:
    """Return what takes back all that ``enable`` has made for ``account`` but the shell and the group."""
    return [
        RemoveFile(entry_of(account.uid)),
        RemoveRuntimeDirectory(account),
        TakeJobs(account.name),
        LiftLimits(account.uid, account.name),
        HideImages(account),
        RemoveNetworks(account.uid, account.name),
        HonourSetId(account),
        RevokeRange(account),
        *([TakeQuota(account.uid)] if homes.recorded(account.uid) else []),
    ]


class ForgetShell(RemoveFile):
    """The record of a shell that was given back."""

    def __init__(self, account: Account) -> None:
        super().__init__(RecordShell(account).path)


def processes_of(account: Account) -> list[int]:
    """Return the user's processes in the host's own user namespace: those that no container holds."""
    ours = os.stat("/proc/self/ns/user").st_ino
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if os.stat(f"/proc/{entry}").st_uid == account.uid and (
                os.stat(f"/proc/{entry}/ns/user").st_ino == ours
            ):
                found.append(int(entry))
        except OSError:
            continue  # it has ended meanwhile
    return found

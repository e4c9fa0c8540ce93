"""The lists of changes that ``enable`` and ``disable`` carry out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.enrol.account import POWERFUL_GROUPS, SHELL, Account, enrolled_names, find
from ssh2container.admin.enrol.change import Change, RemoveFile, WriteFile
from ssh2container.admin.enrol.changes import (
    NOLOGIN,
    TMPFILES,
    Compile,
    HomeSource,
    JoinGroup,
    LeaveGroup,
    RecordShell,
    RemoveRuntimeDirectory,
    RuntimeDirectory,
    SetShell,
    recorded_shell,
    tmpfiles_entry,
)
from ssh2container.admin.enrol.grants import GrantRange, RevokeRange
from ssh2container.admin.enrol.idmapped import HideImages, ShowImages
from ssh2container.admin.language import building
from ssh2container.admin.sshd import DROP_IN
from ssh2container.admin.sshd.effective import binary
from ssh2container.admin.sshd.place import PlaceDropIn, forces_command, is_ours
from ssh2container.admin.sshd.render import drop_in
from ssh2container.errors import Refusal, SessionError
from ssh2container.policy import specifiers, store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.policy import Policy

PROFILE = "shell"
_POLICY = """\
# The policy of {name}. All that holds for this user, and where it comes from: ssh2containerctl show {name}
extends: [{profile}]
"""


def policy_of(account: Account) -> Policy | None:
    """Return the user's policy, None when there is none yet.

    Raises :class:`Refusal` when there is one that does not hold.
    """
    site = store.site()
    listed = any(
        os.path.lexists(store.STANDARD.source(part))
        for part in (f"users/{account.name}", *(f"groups/{name}" for name in account.groups))
    )
    if not listed and site.admit != "everybody":
        return None
    return store.load(account.name, account.groups)


def specifier_values(account: Account) -> dict[str, str]:
    """Return what the specifiers stand for outside a session (so without ``%i``)."""
    return {
        "u": account.name,
        "U": str(account.uid),
        "g": account.groups[0] if account.groups else str(account.gid),
        "h": account.home,
    }


class HomeOfPolicy(Change):
    """The home that the policy names, known only once there is a policy."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._change: HomeSource | None = None

    def _find(self) -> HomeSource | None:
        policy = policy_of(self.account)
        if policy is None or policy.home is None or not policy.home.source or "%i" in policy.home.source:
            return None
        source = os.path.normpath(specifiers.expand(policy.home.source, specifier_values(self.account)))
        if source == self.account.home or source.startswith(self.account.home.rstrip("/") + "/"):
            return None  # below the user's own home: made by his own uid, never by root
        return HomeSource(self.account, source, policy.home.skel)

    def describe(self) -> str:
        """See :class:`Change`."""
        return (self._change or self._find() or _NoHome()).describe()

    def done(self) -> bool:
        """See :class:`Change`."""
        self._change = self._find()
        return self._change is None or self._change.done()

    def do(self) -> None:
        """See :class:`Change`."""
        if self._change:
            self._change.do()

    def undo(self) -> None:
        """See :class:`Change`."""
        if self._change:
            self._change.undo()


class _NoHome:
    """What is said where the policy names no directory."""

    def describe(self) -> str:
        """Return what :class:`Change` asks for."""
        return "make no home on the host (the policy binds none of its own)"


class RefreshDropIn(PlaceDropIn):
    """The sshd drop-in, rendered anew from all policies; nothing where sshd or the drop-in is missing."""

    def __init__(self) -> None:
        super().__init__("")

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"render {self.path} from the policies"

    def done(self) -> bool:
        """See :class:`Change`; a drop-in that is not there or not ours is left alone (the doctor tells)."""
        if binary() is None or not os.path.exists(self.path) or not is_ours(self.path):
            return True
        self.text = rendered()
        return super().done()


def rendered(*, force_command: bool | None = None) -> str:
    """Return the drop-in for the policies as they are now.

    force_command: with ForceCommand or without; None keeps what the one in place has.
    """
    agents = []
    for name in enrolled_names():
        try:
            account = find(name)
            policy = policy_of(account)
        except SessionError:
            continue  # the doctor tells about a policy that does not hold
        if policy is not None and policy.allow_agent_forwarding:
            agents.append(name)
    if force_command is None:
        force_command = forces_command()
    return drop_in(path=DROP_IN, agent_users=agents, force_command=force_command)


def enabling(account: Account, *, profile: str = "", leave_groups: bool = False) -> list[Change]:
    """Return what makes ``account``'s login shell ours; the shell itself is the last.

    profile: what a new policy file extends, where the user has no policy yet.
    leave_groups: take the user out of groups that are worth more than the container.
    Raises :class:`Refusal` for root and for members of such groups.
    """
    if account.uid == 0:
        raise Refusal(
            f"cannot enable {account.name}",
            "uid 0 cannot be contained by its own login shell",
            "root keeps a shell of the host",
            "enrol",
        )
    if account.powerful and not leave_groups:
        reasons = ", ".join(f"{name} ({POWERFUL_GROUPS[name]})" for name in account.powerful)
        raise Refusal(
            f"cannot enable {account.name}",
            f"a member of {reasons} has more power than the container holds back",
            f"remove the user (gpasswd -d {account.name} {account.powerful[0]}), or use --leave-groups",
            "enrol",
        )
    changes: list[Change] = [LeaveGroup(account, name) for name in account.powerful]
    if policy_of(account) is None:
        path = store.STANDARD.source(f"users/{account.name}")
        text = _POLICY.format(name=account.name, profile=profile or PROFILE)
        changes.append(WriteFile(path, text))
    elif profile:
        raise Refusal(
            f"cannot give {account.name} the profile {profile}",
            "the user has a policy already",
            f"change it: ssh2containerctl edit {account.name}",
            "enrol",
        )
    return [
        *changes,
        Compile(compile_policies),
        RuntimeDirectory(account),
        tmpfiles_entry(account),
        HomeOfPolicy(account),
        GrantRange(account, policy_of),
        ShowImages(account, policy_of),
        JoinGroup(account),
        RefreshDropIn(),
        RecordShell(account),
        SetShell(account),
    ]


def disabling(account: Account, *, restore_shell: bool = False) -> list[Change]:
    """Return what takes our login shell from ``account``; the shell itself is the first.

    With nologin he stays in the group: sshd gives a user with that shell port forwarding and
    internal-sftp all the same, and the drop-in closes both for the group.
    restore_shell: give back the shell that ``enable`` recorded.
    Raises :class:`Refusal` when that is asked for and none was recorded, or for who never had our shell.
    """
    if account.shell not in (SHELL, NOLOGIN) and recorded_shell(account) is None:
        raise Refusal(
            f"cannot disable {account.name}",
            f"the login shell is {account.shell or 'none'}, and was never {SHELL}",
            f"who closes the account itself: usermod --shell {NOLOGIN} {account.name}",
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
                f"set one: usermod --shell /bin/bash {account.name}",
                "enrol",
            )
        shell = recorded
        after = [LeaveGroup(account), ForgetShell(account)]
    return [
        SetShell(account, shell),
        RemoveFile(f"{TMPFILES}/ssh2container-{account.uid}.conf"),
        RemoveRuntimeDirectory(account),
        HideImages(account),
        RevokeRange(account),
        *after,
    ]


class ForgetShell(RemoveFile):
    """The record of a shell that was given back."""

    def __init__(self, account: Account) -> None:
        super().__init__(RecordShell(account).path)


def compile_policies() -> None:
    """Compile every part that is not fresh, and the filters; another user's errors stop nothing."""
    building.build_filters(building.build(store.STANDARD), store.STANDARD)


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


def make_runtime() -> Iterator[str]:
    """Make what lies below /run for all enrolled users, as at boot; yield a sentence for each thing made.

    A user whose policy does not hold gets what can be made without it (the doctor tells).
    """
    for name in enrolled_names():
        account = find(name)
        for change in (RuntimeDirectory(account), ShowImages(account, _policy_if_valid)):
            if not change.done():
                change.do()
                yield change.describe()


def _policy_if_valid(account: Account) -> Policy | None:
    try:
        return policy_of(account)
    except SessionError:
        return None

# Longer than 300 lines: what is done for a user, and the drop-in that follows from all users, stand together.
"""The lists of changes that ``enable`` and ``disable`` carry out."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin import writable
from ssh2container.admin.account import (
    Account,
    enrolled_names,
    find,
    free_uid,
    members_of,
    namesakes,
    policy_names,
)
from ssh2container.admin.accounts import first_policy
from ssh2container.admin.accounts.account_changes import (
    Compile,
    JoinGroup,
    LeaveGroup,
    LoginStarts,
    PolicyFile,
    RecordShell,
    SetShell,
    former_name,
)
from ssh2container.admin.accounts.drop_in import PlaceDropIn, forces_command, is_ours
from ssh2container.admin.accounts.grants import GrantRange
from ssh2container.admin.accounts.home_quota import LimitHome
from ssh2container.admin.accounts.home_source import HomeSource, bringing
from ssh2container.admin.accounts.host_key import MakeHostKey
from ssh2container.admin.accounts.idmapped import ShowImages
from ssh2container.admin.accounts.jobs import ScheduleUser
from ssh2container.admin.accounts.networks import PrepareNetworks
from ssh2container.admin.accounts.nosuid import IgnoreSetId
from ssh2container.admin.accounts.runtime import RuntimeDirectory, tmpfiles_entry
from ssh2container.admin.accounts.slices import LimitUser
from ssh2container.admin.accounts.trees import PrepareImage
from ssh2container.admin.change import Change, read_or_none
from ssh2container.admin.policy.compile import build
from ssh2container.admin.quotas import homes
from ssh2container.admin.sshd import DROP_IN, GROUP
from ssh2container.admin.sshd.effective import binary
from ssh2container.admin.sshd.render import Covered, drop_in
from ssh2container.errors import Refusal, SessionError
from ssh2container.kernel import names
from ssh2container.plan.entrance import KEY_FILES
from ssh2container.plan.sshd_files import Files
from ssh2container.policy import rules, specifiers, store
from ssh2container.policy.rules import POWERFUL_GROUPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssh2container.policy.policy import Policy

PROFILE = "shell"


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


def bring_home(account: Account, policy: Policy) -> str:
    """Return the command that moves a renamed user's kept home to where the policy has it now, or ""."""
    former = former_name(account)
    if not former or policy.home is None or not policy.home.source or "%i" in policy.home.source:
        return ""
    values = specifier_values(account)
    old, new = (
        os.path.normpath(specifiers.expand(policy.home.source, {**values, "u": name}))
        for name in (former, account.name)
    )
    return bringing(account, old, new)


class HomeOfPolicy(Change):
    """The home that the policy names, known only once there is a policy."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._change: HomeSource | None = None

    def _find(self) -> HomeSource | None:
        policy = policy_of(self.account)
        if policy is None or policy.home is None or not policy.home.source or "%i" in policy.home.source:
            return None
        values = specifier_values(self.account)
        source = os.path.normpath(specifiers.expand(policy.home.source, values))
        if source == self.account.home or source.startswith(self.account.home.rstrip("/") + "/"):
            return None  # below the user's own home: made by their own uid, never by root
        limited = homes.wanted(policy, values)
        subvolume = limited is not None and homes.wants_subvolume(*limited)
        return HomeSource(self.account, source, policy.home.skel, subvolume=subvolume)

    def describe(self) -> str:
        """See :class:`Change`."""
        return (self._change or self._find() or _NoHome()).describe()

    def done(self) -> bool:
        """See :class:`Change`."""
        self._change = self._find()
        if self._change is None:
            return True
        policy = policy_of(self.account)
        if policy is not None and (command := bring_home(self.account, policy)):
            raise SessionError(
                f"cannot make the home {self._change.path}",
                f"{self.account.name} was called {former_name(self.account)} when enabled and has a home of"
                " that time, which a new one would hide",
                f"{command}, then enable again",
                "enrol",
            )
        return self._change.done()

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
        self._former = ""

    def describe(self) -> str:
        """See :class:`Change`; names the Match lines that come and go, once that is known."""
        former, now = (
            [line for line in text.splitlines() if line.startswith("Match ")]
            for text in (self._former, self.text)
        )
        changed = [f"- {line}" for line in former if line not in now] if now else []
        changed += [f"+ {line}" for line in now if former and line not in former]
        return f"render {self.path} from the policies" + (f" ({', '.join(changed)})" if changed else "")

    def done(self) -> bool:
        """See :class:`Change`; a drop-in that is not there or not ours is left alone (the doctor tells)."""
        if binary() is None or not os.path.exists(self.path) or not is_ours(self.path):
            return True
        self._former = read_or_none(self.path) or ""
        self.text = rendered()
        return super().done()


def rendered(*, force_command: bool | None = None) -> str:
    """Return the drop-in for the policies as they are now.

    force_command: with ForceCommand or without; None keeps what the one in place has.
    """
    agents: dict[bool, list[str]] = {True: [], False: []}
    own_keys: dict[tuple[str, bool], list[str]] = {}
    for name in enrolled_names():
        try:
            account = find(name)
            policy = policy_of(account)
        except SessionError:
            continue  # the doctor tells about a policy that does not hold
        member = GROUP in account.groups
        if policy is not None and policy.allow_agent_forwarding:
            agents[member].append(name)
        if policy is not None and (pattern := rules.own_keys(policy)):
            own_keys.setdefault((pattern, member), []).append(name)
    if force_command is None:
        force_command = forces_command()
    return drop_in(
        path=DROP_IN,
        agent_users=agents[True],
        agents_outside=agents[False],
        own_keys=own_keys,
        force_command=force_command,
        covered=covered(),
        key_files=key_files(),
    )


def covered() -> Covered:
    """Return for whom the drop-in has to hold: everybody whom a policy admits, or would if it were valid."""
    groups = [name for name in policy_names("groups") if name != GROUP]
    users = []
    for name in policy_names("users"):
        try:
            account = find(name)
        except SessionError:
            users.append(name)  # nobody yet, or in a directory that does not answer
            continue
        if not account.has_host_shell and not {GROUP, *groups}.intersection(account.groups):
            users.append(name)
    everybody = site_admits_everybody()
    spared = set()
    if everybody or groups:
        listed = {name for group in groups for name in members_of(group)}
        listed.update(entry.pw_name for entry in pwd.getpwall())
        for name in listed:
            with contextlib.suppress(SessionError):
                account = find(name)
                if account.has_host_shell and (everybody or set(groups).intersection(account.groups)):
                    spared.add(name)
    return Covered(tuple(groups), tuple(users), everybody, tuple(sorted(spared)))


def site_admits_everybody() -> bool:
    """Return whether config.yaml admits everybody; False for one that is not valid (the doctor tells)."""
    try:
        return store.site().admit == "everybody"
    except SessionError:
        return False


def key_files() -> list[str]:
    """Return every file in which some line of sshd's configuration looks for keys."""
    lines = [line for line in Files().values("authorizedkeysfile") if line.path != DROP_IN]
    found = [word for line in lines for word in line.words if word != "none"]
    if all(line.block is not None for line in lines):
        found = [*KEY_FILES, *found]
    return list(dict.fromkeys(found))


def enabling(
    account: Account,
    *,
    profile: str = "",
    leave_groups: bool = False,
    written: str = "",
    bringing: Sequence[Change] = (),
) -> list[Change]:
    """Return what makes ``account``'s login shell ours; the shell itself is the last.

    profile: what a new policy file extends, where the user has no policy yet.
    leave_groups: take the user out of groups that are worth more than the container.
    written: the text of the user's own policy file, in place of one that only extends a profile.
    bringing: what puts the home of ``written`` in its place, where there is one to bring along.
    Raises :class:`Refusal` for root and for members of such groups.
    """
    _require_containable(account, leave_groups=leave_groups)
    changes: list[Change] = [LeaveGroup(account, name) for name in account.powerful]
    path = store.STANDARD.source(f"users/{account.name}")
    if written:
        changes.append(PolicyFile(path, written, compile_policies))
    elif policy_of(account) is None:
        text = first_policy.text(account, profile or PROFILE)
        changes.append(PolicyFile(path, text, compile_policies))
    elif profile:
        raise Refusal(
            f"cannot give {account.name} the profile {profile}",
            "the user has a policy already",
            f"change it: ssh2containerctl edit {shlex.quote(account.name)}",
            "enrol",
        )
    return [
        *changes,
        Compile(compile_policies),
        RuntimeDirectory(account),
        tmpfiles_entry(account),
        LimitUser(account, policy_of),
        *bringing,
        HomeOfPolicy(account),
        LimitHome(account, policy_of, specifier_values),
        PrepareImage(account, policy_of),
        GrantRange(account, policy_of),
        ShowImages(account, policy_of),
        IgnoreSetId(account, policy_of, specifier_values),
        PrepareNetworks(account, policy_of),
        MakeHostKey(account, policy_of),
        ScheduleUser(account, policy_of),
        JoinGroup(account),
        RefreshDropIn(),
        LoginStarts(account),
        RecordShell(account),
        SetShell(account),
    ]


def _require_containable(account: Account, *, leave_groups: bool) -> None:
    if account.uid == 0:
        raise Refusal(
            f"cannot enable {account.name}",
            "uid 0 cannot be contained by its own login shell",
            "root keeps a shell of the host",
            "enrol",
        )
    _refuse_namesakes(account)
    # Groups that the name service has left out would come back with it.
    names.require_groups_known(group for group in POWERFUL_GROUPS if group not in account.groups)
    if account.powerful and not leave_groups:
        reasons = ", ".join(f"{name} ({POWERFUL_GROUPS[name]})" for name in account.powerful)
        leaving = f"gpasswd -d {shlex.quote(account.name)} {account.powerful[0]}"
        raise Refusal(
            f"cannot enable {account.name}",
            f"a member of {reasons} has rights that a container cannot take away",
            f"remove the user ({leaving}), or use --leave-groups",
            "enrol",
        )


def _refuse_namesakes(account: Account) -> None:
    others = namesakes(account)
    if others:
        raise Refusal(
            f"cannot enable {account.name}",
            f"{', '.join(others)} has the same uid {account.uid}, and with it the same processes and files",
            f"give each user a uid of their own: usermod --uid {free_uid()} {others[0]}",
            "enrol",
        )


def compile_policies() -> None:
    """Compile every part that is not fresh, and the filters; another user's errors stop nothing."""
    build.build_filters(build.build(store.STANDARD), store.STANDARD)


def honouring_set_id(account: Account) -> list[writable.Place]:
    """Return what the user's sessions write to where the host honours set-ID bits."""
    policy = policy_if_valid(account)
    if policy is None:
        return []
    found = writable.places(policy, specifier_values(account))
    return [place for place in found if not writable.ignores_set_id(place.path)]


def policy_if_valid(account: Account) -> Policy | None:
    """Return the user's policy, None when there is none that holds."""
    try:
        return policy_of(account)
    except SessionError:
        return None

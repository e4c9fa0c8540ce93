"""A user as the host knows them, as far as enrolling needs it."""

from __future__ import annotations

import contextlib
import glob
import grp
import json
import os
import pwd
import re
import shlex
from dataclasses import dataclass

from ssh2container.admin.change import read_or_none
from ssh2container.admin.sshd import GROUP, SHELL
from ssh2container.errors import Refusal, SessionError
from ssh2container.kernel import names
from ssh2container.policy.rules import POWERFUL_GROUPS
from ssh2container.policy.store import NO_POLICY, STANDARD

SHELLS = "/etc/shells"
RECORDS = "/var/lib/ssh2container/enrolled"
_REFUSING = ("nologin", "false", "true", "sync", "halt", "shutdown")
SSSD, SSSD_FRAGMENTS = "/etc/sssd/sssd.conf", "/etc/sssd/conf.d/*.conf"
_SHELL_FIELD = 6
FIRST_UID, LAST_UID = 1000, 60000
"""Where useradd(8) begins and ends (login.defs(5), UID_MIN and UID_MAX)."""


@dataclass(frozen=True, slots=True)
class Account:
    """One user: their passwd entry and their groups."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    groups: tuple[str, ...]
    local: bool

    @property
    def powerful(self) -> tuple[str, ...]:
        """Their groups that are worth more than the container."""
        return tuple(name for name in self.groups if name in POWERFUL_GROUPS)

    @property
    def enrolled(self) -> bool:
        """Whether the login shell is ours."""
        return self.shell == SHELL

    @property
    def has_host_shell(self) -> bool:
        """Whether a login gives them a shell of the host, neither ours nor one that only refuses."""
        return is_host_shell(self.shell)


def listed_shells() -> list[str]:
    """Return the login shells that users may choose themselves (shells(5))."""
    lines = (line.strip() for line in (read_or_none(SHELLS) or "").splitlines())
    return [line for line in lines if line.startswith("/")]


def group_name(gid: int) -> str:
    """Return a group's name, its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def find(name: str) -> Account:
    """Look a user up by name, in NSS; the account has the name of its entry, however ``name`` is spelled.

    Raises :class:`SessionError` when there is no such user, or the name service does not answer: then nobody
    knows whether there is one, or in which groups.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        names.require_unknown(names.USER, name)
        raise SessionError(
            f"no user {name!r}",
            "neither /etc/passwd nor another source of names has this user",
            "create the user first, for example: useradd --create-home NAME",
            "account",
        ) from None
    name = entry.pw_name
    groups = tuple(group_name(gid) for gid in os.getgrouplist(name, entry.pw_gid))
    lines = (read_or_none("/etc/passwd") or "").splitlines()
    local = any(line.split(":", 1)[0] == name for line in lines)
    return Account(name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell, groups, local)


def advised(error: SessionError, name: str) -> SessionError:
    """Return a login's error as an administrator should read it: what fits a user who is not contained.

    A login advises ``enable``, as only users with our login shell get there. Root cannot be contained, and
    others may be meant to keep their shell.
    """
    if not error.what.startswith(NO_POLICY):
        return error
    account = find(name)
    if account.enrolled:
        return error
    if account.uid == 0:
        why, remedy = f"{name} is not contained and cannot be, as the login shell refuses uid 0", ""
    else:
        why = f"{name} is not contained: the login shell is {account.shell or '/bin/sh'}"
        remedy = f"to contain this user, run ssh2containerctl enable {shlex.quote(name)}"
        if account.powerful:
            groups = ", ".join(account.powerful)
            remedy = f"{remedy} --leave-groups, which takes the user out of {groups}"
    return Refusal(error.what, why, remedy, error.step)


def is_host_shell(shell: str) -> bool:
    """Tell a shell of the host from ours and from those that only refuse."""
    return shell != SHELL and os.path.basename(shell) not in _REFUSING


def with_the_shell() -> list[str]:
    """Return the users whose login shell is ours, as far as NSS lists them or the group names them."""
    names = {entry.pw_name for entry in pwd.getpwall() if entry.pw_shell == SHELL}
    for name in enrolled_names():
        with contextlib.suppress(KeyError):
            if pwd.getpwnam(name).pw_shell == SHELL:
                names.add(name)
    return sorted(names)


def enrolled_names() -> list[str]:
    """Return the users whose login shell is ours, who are in our group, or whom ``enable`` has recorded.

    A directory that does not list its users (sssd) is asked by name: for whoever has a policy, and for the
    members of groups that have one.
    """
    everybody = pwd.getpwall()
    names = {entry.pw_name for entry in everybody if entry.pw_shell == SHELL}
    names.update(name for name in _named() if _shell_of(name) == SHELL)
    names.update(name for name in _recorded() if _shell_of(name) is not None)
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        return sorted(names)
    names.update(name for name in group.gr_mem if _shell_of(name) is not None)
    names.update(entry.pw_name for entry in everybody if entry.pw_gid == group.gr_gid)
    return sorted(names)


def policy_names(kind: str) -> list[str]:
    """Return who has a file below "users" or "groups" of the configuration."""
    try:
        listed = os.listdir(f"{STANDARD.configuration}/{kind}")
    except OSError:
        return []
    return sorted(name[:-5] for name in listed if name.endswith(".yaml") and not name.startswith("."))


def members_of(group: str) -> list[str]:
    """Return the members that the name service lists for a group, by supplementary membership."""
    try:
        return list(grp.getgrnam(group).gr_mem)
    except KeyError:
        return []


def namesakes(account: Account) -> list[str]:
    """Return other names of the same uid, with a shell of the host first.

    Listed are those of /etc/passwd, of whatever the name service lists, and of whoever has a policy.
    """
    found: dict[str, str] = {}
    for entry in pwd.getpwall():
        if entry.pw_uid == account.uid:
            found[entry.pw_name] = entry.pw_shell
    for line in (read_or_none("/etc/passwd") or "").splitlines():
        words = line.split(":")
        if len(words) > _SHELL_FIELD and words[2] == str(account.uid):
            found[words[0]] = words[_SHELL_FIELD]
    with contextlib.suppress(KeyError):
        first = pwd.getpwuid(account.uid)
        found[first.pw_name] = first.pw_shell
    found.pop(account.name, None)
    return sorted(found, key=lambda name: (not is_host_shell(found[name]), name))


def spellings(account: Account) -> list[str]:
    """Return other words that the name service takes for this user: in other letters, or with a domain.

    A directory may not tell letters apart, and takes the name with its domain (sssd.conf(5), case_sensitive
    and full_name_format). sshd compares what the client typed with the names in a Match line as it stands.
    """
    name = account.name
    words = [name.upper(), name.capitalize(), name.swapcase()]
    words += [spelt for domain in _domains() for spelt in (f"{name}@{domain}", f"{domain}\\{name}")]
    found = []
    for word in dict.fromkeys(words):
        with contextlib.suppress(KeyError, ValueError):
            if word != name and pwd.getpwnam(word).pw_uid == account.uid:
                found.append(word)
    return found


def _domains() -> list[str]:
    """Return the domains in sssd's configuration."""
    text = ""
    for path in (SSSD, *sorted(glob.glob(SSSD_FRAGMENTS))):
        with contextlib.suppress(OSError):
            text += (read_or_none(path) or "") + "\n"
    return list(dict.fromkeys(re.findall(r"^\s*\[domain/([^\]/\s]+)\]", text, re.MULTILINE)))


def free_uid() -> int:
    """Return an id for a user that no name and no listed uid has, as useradd(8) would choose one."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    last = max((uid for uid in taken if uid < LAST_UID), default=FIRST_UID)
    return next(uid for uid in range(max(last, FIRST_UID) + 1, 1 << 31) if uid not in taken)


def _named() -> set[str]:
    """Return who has a policy: by a file of their own, or as a listed member of a group with one."""
    names = set(policy_names("users"))
    for group in policy_names("groups"):
        names.update(members_of(group))
    return names


def _recorded() -> set[str]:
    """Return whom ``enable`` has recorded, and ``disable --restore-shell`` not forgotten."""
    names = set()
    with contextlib.suppress(OSError):
        for file in os.listdir(RECORDS):
            with contextlib.suppress(OSError, ValueError, KeyError):
                names.add(str(json.loads(read_or_none(f"{RECORDS}/{file}") or "")["name"]))
    return names


def _shell_of(name: str) -> str | None:
    try:
        return pwd.getpwnam(name).pw_shell
    except (KeyError, ValueError):
        return None

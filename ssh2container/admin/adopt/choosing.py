"""Who is meant: names, members of a group or everybody; who asks; and who goes first."""

from __future__ import annotations

import grp
import math
import os
import pwd
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ssh2container.admin.account import FIRST_UID, LAST_UID, find, members_of
from ssh2container.admin.accounts import first_policy
from ssh2container.admin.adopt import homes, outlook, plan, reading, records
from ssh2container.admin.change import read_or_none
from ssh2container.admin.foreign import choose
from ssh2container.admin.foreign.told import Subject
from ssh2container.errors import Refusal, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ssh2container.admin.account import Account
    from ssh2container.admin.adopt.facts import Facts

_LIMIT = re.compile(r"^\s*(UID_MIN|UID_MAX)\s+([0-9]+)", re.MULTILINE)
_NOBODY = 0xFFFFFFFF
"""The loginuid of what no login has started (pam_loginuid(8))."""
_LONGEST_PATH = 1024
_PERCENT = re.compile(r"(100|[1-9][0-9]?)%")


def uids_of_people() -> tuple[int, int]:
    """Return the first and the last uid of people (login.defs(5))."""
    found = {name: int(value) for name, value in _LIMIT.findall(read_or_none("/etc/login.defs") or "")}
    return found.get("UID_MIN", FIRST_UID), found.get("UID_MAX", LAST_UID)


def caller() -> str:
    """Return the name of who asks, "" where root's own login does."""
    if (name := os.environ.get("SUDO_USER", "")) and name != "root":
        return name
    try:
        uid = int(read_or_none("/proc/self/loginuid") or _NOBODY)
        return "" if uid in (0, _NOBODY) else pwd.getpwuid(uid).pw_name
    except (ValueError, KeyError, OSError):
        return ""


def members(group: str) -> list[str]:
    """Return the members of a group, also those whose first group it is. Raises SessionError."""
    try:
        found = grp.getgrnam(group)
    except KeyError:
        raise SessionError(
            f"no group {group!r}", "the name service has none of that name", step="adopt"
        ) from None
    primary = [entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == found.gr_gid]
    return sorted({*members_of(group), *primary})


def people_of(group: str, *, spared: str = "") -> tuple[list[str], list[tuple[str, str]]]:
    """Return the members of a group who are meant with it, and (name, why not) of the others.

    spared: the name of who asks, where nobody means themself by naming a group. A member whom the name
    service does not know is among the first: what is done for each says so. Raises SessionError.
    """
    first, last = uids_of_people()
    todo, left = [], []
    for name in members(group):
        try:
            why = plan.no_person(find(name), first, last)
        except SessionError:
            why = ""
        if name == spared and not why:
            why = "is you: name yourself, if that is meant"
        if why:
            left.append((name, why))
        else:
            todo.append(name)
    return todo, left


def people() -> list[str]:
    """Return everybody whose uid is one of people, as far as the name service lists them."""
    first, last = uids_of_people()
    return sorted({entry.pw_name for entry in pwd.getpwall() if first <= entry.pw_uid <= last})


def meant(names: Iterable[str]) -> tuple[list[Account], list[str]]:
    """Return the accounts of ``names``, each once, and a line for each that is none."""
    accounts: dict[str, Account] = {}
    errors = []
    for name in names:
        try:
            account = find(name)
            accounts.setdefault(account.name, account)
        except SessionError as error:
            errors.append(str(error))
    return list(accounts.values()), errors


def planned(
    accounts: Sequence[Account], choice: plan.Choice, advance: Callable[[str], None]
) -> tuple[list[plan.Planned], list[tuple[str, str]]]:
    """Return what is to be done, and (name, why not) for whom nothing is."""
    who, (first, last) = caller(), uids_of_people()
    todo, left = [], []
    for account in accounts:
        advance(account.name)
        try:
            one = _one(reading.read(account), choice, who, (first, last))
            if isinstance(one, str):
                left.append((account.name, one))
            else:
                todo.append(one)
        except SessionError as error:
            left.append((account.name, str(error)))
    return todo, left


def _one(facts: Facts, choice: plan.Choice, who: str, people: tuple[int, int]) -> plan.Planned | str:
    """Return what is to be done for an account, or why nothing is."""
    first, last = people
    # Before the other project's files: what they say of an account that is left alone interests nobody.
    why = plan.reason_against(facts, replace(choice, home=plan.APART), caller=who, first=first, last=last)
    if why:
        return why
    told = None
    if choice.foreign:
        sshd = facts.sshd
        told = choose.told(
            choice.foreign, Subject(facts.account, sshd.forced, sshd.chroot, profile=choice.profile)
        )
        choice = replace(choice, home=plan.APART) if told.apart else choice
    draft = plan.draft(facts, choice, told)
    one = plan.Planned(facts, choice, draft)
    why = plan.reason_against(facts, choice, caller=who, first=first, last=last) or homes.in_the_way(one)
    if why:
        return why
    policy = first_policy.policy_from(draft.text, facts.account)
    return plan.Planned(facts, choice, draft, outlook.rows(facts, choice, draft, policy))


def first_of(todo: Sequence[plan.Planned], canary: str) -> list[plan.Planned]:
    """Return who goes first: the members of a group, or a percentage (at least one), the latest logins first.

    Who logs in often notices soonest what is wrong. Raises SessionError for no such group.
    """
    percent = _PERCENT.fullmatch(canary)
    if percent is None:
        wanted = set(members(canary))
        return [one for one in todo if one.name in wanted]
    number = math.ceil(len(todo) * int(percent[1]) / 100)
    latest = sorted(todo, key=lambda one: (-one.facts.last_login, one.name))[:number]
    return sorted(latest, key=lambda one: one.name)


def unfinished() -> list[str]:
    """Return whose taking over or giving back was begun and not ended."""
    found = []
    for name in records.names():
        record = records.of(name)
        if record is not None and record.state != records.ADOPTED:
            found.append(name)
    return found


def place_of_homes(path: str) -> str:
    """Return the directory of kept homes, as a policy names it. Raises Refusal where none could have it."""
    plain = os.path.normpath(path)
    if not path.startswith("/") or "%" in path or not path.isprintable() or len(path) > _LONGEST_PATH:
        raise Refusal(f"cannot keep homes in {path!r}", "it is no absolute path without %", step="adopt")
    if any(letter in plain for letter in " '\"#{}[],:&*!|>@`\\"):
        raise Refusal(
            f"cannot keep homes in {path!r}", "it has letters that YAML takes for its own", step="adopt"
        )
    return plain

"""From facts about an account to what is done: whom to leave alone, which policy, what ends. Pure."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ssh2container.admin.convert.notes import comments
from ssh2container.admin.foreign import choose
from ssh2container.admin.policy.types.kinds import flow
from ssh2container.policy.rules import POWERFUL_GROUPS

if TYPE_CHECKING:
    from ssh2container.admin.account import Account
    from ssh2container.admin.adopt.facts import Facts
    from ssh2container.admin.foreign.told import Told

KEEP, COPY, MOVE = "keep", "copy", "move"
APART = "apart"
"""The home on the host stays in its place, and sessions do not have it, as they had not before."""
HOMES = "/srv/homes"
"""Where homes are kept unless somebody says otherwise."""
KEPT, CHANGED, ENDS, OPEN = "kept", "changed", "ends", "open"
"""What becomes of a thing: as before, otherwise, no longer; or a way past the container that stays open."""
DEFAULT_SHELL = "/bin/bash"
_PLAIN = re.compile(r"/[A-Za-z0-9_./+-]+")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the administrator chose: what becomes of homes, below which directory, by which profile.

    leave_groups: take members out of the groups of administrators. force: take over the caller and whoever
    becomes root by sudo. foreign: whose configuration says what the accounts may do, "" for nobody's.
    """

    home: str = MOVE
    homes: str = HOMES
    profile: str = ""
    leave_groups: bool = False
    force: bool = False
    foreign: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy that keeps what can be kept, and what of the account it cannot say, in words.

    differs: what it says and means otherwise. prepare: commands without which its logins would be refused.
    """

    text: str
    left_out: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One thing about an account: what it is, how it is today and will be, and what became of it."""

    what: str
    today: str
    afterwards: str
    state: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One account that is to be taken over."""

    facts: Facts
    choice: Choice
    draft: Draft
    rows: tuple[Row, ...] = ()

    @property
    def name(self) -> str:
        """Return the account's name."""
        return self.facts.account.name

    @property
    def source(self) -> str:
        """Return where the home of the sessions lies, "" where it stays in its place."""
        return "" if self.choice.home in (KEEP, APART) else f"{self.choice.homes}/{self.name}"


def reason_against(facts: Facts, choice: Choice, *, caller: str, first: int, last: int) -> str:
    """Return why an account is left alone, "" where it is to be taken over.

    caller: the name of who asks, "" for root itself. first, last: the uids of people (login.defs(5)).
    """
    return (
        _by_kind(facts, choice, first, last)
        or _by_rights(facts, choice, caller)
        or _by_restrictions(facts, choice)
        or _by_home(facts, choice)
    )


def no_person(account: Account, first: int, last: int) -> str:
    """Return why an account is nobody's who logs in, "" for a person's. A directory has numbers of its own.

    first, last: the uids of people (login.defs(5)).
    """
    if account.uid == 0:
        return "uid 0 cannot be contained"
    if account.uid < first or (account.uid > last and account.local):
        return f"uid {account.uid} is a system account's: people have {first} to {last} (login.defs)"
    return ""


def _by_kind(facts: Facts, choice: Choice, first: int, last: int) -> str:
    account = facts.account
    if why := no_person(account, first, last):
        return why
    if facts.adopted or account.enrolled:
        return "was taken over already" if facts.adopted else "is contained already"
    if not account.local:
        return "is not in /etc/passwd: set the login shell in the directory service, then enable"
    if not account.has_host_shell and choice.foreign != choose.OF_SSHD:
        return f"has the login shell {account.shell}, which lets nobody in: nothing is to be taken over"
    return ""


def _by_rights(facts: Facts, choice: Choice, caller: str) -> str:
    if facts.account.name == caller and not choice.force:
        return "is you: --force takes you over, too"
    powerful = facts.account.powerful
    if powerful and not choice.leave_groups:
        reasons = ", ".join(f"{name} ({POWERFUL_GROUPS[name]})" for name in powerful)
        return f"is in {reasons}: --leave-groups takes them out"
    if facts.becomes_root and not powerful and not choice.force:
        return "becomes root by a rule of sudo: --force takes over who has one, too"
    return ""


def _by_restrictions(facts: Facts, choice: Choice) -> str:
    """Return what restricts the account today and would not afterwards: a policy must not open it."""
    if facts.policy:
        enable = f"ssh2containerctl enable {shlex.quote(facts.account.name)}"
        return f"has a policy already ({facts.policy}): {enable}"
    if choice.profile or choice.foreign == choose.OF_SSHD:
        return ""
    if facts.sshd.forced or facts.sshd.chroot:
        given = ", ".join(
            f"{word} {value}"
            for word, value in (("ForceCommand", facts.sshd.forced), ("ChrootDirectory", facts.sshd.chroot))
            if value
        )
        return f"is restricted by sshd's {given}: name what the policy extends (--profile)"
    if not facts.known_shell and not choose.is_shell(choice.foreign):
        return f"has the login shell {facts.account.shell}, which /etc/shells lacks: name --profile"
    return ""


def _by_home(facts: Facts, choice: Choice) -> str:
    home = facts.home
    if home.path in ("", "/"):
        return f"has the home {home.path or 'of no name'}"
    if not home.inode:
        return f"has the home {home.path}, which cannot be looked at: {home.trouble}"
    if choice.home not in (KEEP, APART) and home.trouble:
        return f"has the home {home.path}, which cannot be brought along: {home.trouble}; see --home keep"
    return ""


def draft(facts: Facts, choice: Choice, told: Told | None = None) -> Draft:
    """Return the policy of an account that may do what its shell and its home let it do today.

    told: what another project's configuration says of that, None where the login shell gives everything.
    """
    name = facts.account.name
    first = f"The policy of {name}, by ssh2containerctl adopt. What applies: ssh2containerctl show {name}"
    if told is None:
        lines, left_out = _of_the_shell(facts, choice)
        kept = [f"# {first}", *lines, *_home_lines(choice, told)]
        return Draft("\n".join(kept) + "\n", tuple(left_out))
    found = Draft("", told.left_out(), told.differs(), tuple(told.notes.prepare))
    lines = comments(first, found.prepare, found.left_out, found.differs)
    lines += [f"extends: [{choice.profile}]"] if choice.profile else []
    lines += [*told.lines(), *_home_lines(choice, told)]
    return replace(found, text="\n".join(lines) + "\n")


def _of_the_shell(facts: Facts, choice: Choice) -> tuple[list[str], list[str]]:
    """Return the lines that give an account its login shell inside, and what cannot be kept of that."""
    shell = facts.account.shell or "/bin/sh"
    lines = [f"extends: [{choice.profile or 'shell'}]"]
    if not facts.known_shell or shell == DEFAULT_SHELL:
        return lines, []
    if not (_PLAIN.fullmatch(shell) and _is_inside(shell)):
        return lines, [f"the login shell {shell}, which sessions do not see"]
    return [*lines, f"shell: [{', '.join(dict.fromkeys((shell, DEFAULT_SHELL, '/bin/sh')))}]"], []


def _home_lines(choice: Choice, told: Told | None) -> list[str]:
    more = ", read_only: true" if told is not None and told.read_only else ""
    if choice.home == APART:
        path = told.home.replace("%", "%%") if told is not None else ""
        return [f"home: {{source: {flow(path)}{more}}}"] if path else []
    if choice.home == KEEP:
        return [
            "# The home on the host: what sessions write to .ssh, .forward and user units acts outside.",
            f'home: {{source: "%h"{more}}}',
            "unsafe_host_home: true",
        ]
    return [f"home: {{source: {choice.homes}/%u{more}}}"]


def _is_inside(path: str) -> bool:
    """Tell whether sessions with the host's image see a program: they have its /usr."""
    return os.path.normpath(path).startswith(("/bin/", "/usr/", "/sbin/"))

"""What enrolling and compiling leave on disk, compared with what a login expects."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from ssh2container.admin.account import Account, find, free_uid, namesakes
from ssh2container.admin.accounts import leftovers, meeting
from ssh2container.admin.accounts.account_changes import former_name
from ssh2container.admin.accounts.enable import bring_home, policy_of
from ssh2container.admin.accounts.runtime import RuntimeDirectory, tmpfiles_entry
from ssh2container.admin.doctor import check, outside
from ssh2container.admin.doctor.finding import OK, PROBLEM, WARNING, Finding
from ssh2container.admin.login import verdict
from ssh2container.admin.policy.compile import build
from ssh2container.admin.reachable import answers
from ssh2container.errors import SessionError
from ssh2container.policy import keyed, store
from ssh2container.policy.rules import POWERFUL_GROUPS
from ssh2container.record.destination import COLLECTOR
from ssh2container.record.registry import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.policy import Policy


@check.of_host("policies", place=40)
def compiled() -> Iterator[Finding]:
    """Yield which policies a login has to read from YAML."""
    try:
        stale = [name for name, is_fresh in build.fresh(store.STANDARD).items() if not is_fresh]
    except SessionError as error:
        yield Finding(PROBLEM, "policy.compiled", "", str(error))
        return
    if stale:
        yield Finding(
            WARNING,
            "policy.compiled",
            "",
            f"not compiled or stale: {', '.join(stale)}; logins read YAML, 30 ms slower",
            "ssh2containerctl compile",
        )
    else:
        yield Finding(OK, "policy.compiled", "", "all policies are compiled")


@check.of_host("accounts that are gone", place=60)
def left() -> Iterator[Finding]:
    """Yield what accounts that are gone have left, for the next one with such a uid."""
    try:
        found = leftovers.leftovers()
    except SessionError as error:
        yield Finding(
            WARNING, "user.gone", "", f"whether accounts are gone cannot be told: {error}", "getent passwd"
        )
        return
    for change in found:
        if not change.done():
            yield Finding(
                WARNING,
                "user.gone",
                "",
                "left by a deleted account, so the next account with that uid would get it: "
                f"{change.describe()}",
                "ssh2containerctl disable --gone",
            )


@check.of_host("log", place=50)
def logging() -> Iterator[Finding]:
    """Yield whether the audit trail goes anywhere."""
    if not os.path.exists("/dev/log"):
        yield Finding(
            WARNING,
            "audit.log",
            "/dev/log",
            "does not exist: records of sessions are lost",
            "run systemd-journald or a syslog daemon",
        )


@check.of_user(place=10)
def of_user(account: Account) -> Iterator[Finding]:
    """Yield whether ``account`` can log in and is held."""
    name = account.name
    if account.uid == 0:
        yield Finding(
            PROBLEM,
            "user.root",
            name,
            "uid 0 cannot be contained",
            f"usermod --shell /bin/bash {shlex.quote(name)}",
        )
        return
    yield from _shell(account)
    yield from _home(account)
    yield from _policy(account)
    for group in account.powerful:
        yield Finding(
            PROBLEM,
            "user.groups",
            name,
            f"is in the group {group}, which {POWERFUL_GROUPS[group]}",
            f"gpasswd -d {shlex.quote(name)} {group}",
        )
    if account.enrolled:
        yield from _runtime(account)
    yield from outside.examine(account)


def _shell(account: Account) -> Iterator[Finding]:
    """Yield whether the user still has our shell, or none."""
    name = account.name
    others = namesakes(account)
    if others:
        yield Finding(
            PROBLEM,
            "user.uid",
            name,
            f"{', '.join(others)} shares uid {account.uid}: they share processes, files and policies",
            _apart(account, others[0]),
            {"names": others},
        )
    if account.has_host_shell:
        yield Finding(
            PROBLEM,
            "user.shell",
            name,
            f"was enabled, and has the login shell {account.shell or '/bin/sh'}: logins are not contained",
            "ssh2containerctl enable {0} (or let it be: ssh2containerctl disable --restore-shell {0})".format(
                shlex.quote(name)
            ),
        )
    elif not account.enrolled:
        yield Finding(OK, "user.shell", name, f"is disabled: the login shell is {account.shell}")


def _apart(account: Account, other: str) -> str:
    """Return what gives one of two users with the same uid another one: a local one can be given it here."""
    with contextlib.suppress(SessionError):
        if not find(other).local:
            if account.local:
                return f"usermod --uid {free_uid()} {account.name}"
            return f"give {other} another uidNumber where the user is kept"
    return f"usermod --uid {free_uid()} {other}"


def _home(account: Account) -> Iterator[Finding]:
    if not answers(account.home):
        yield Finding(
            PROBLEM,
            "user.home",
            account.name,
            f"{account.home}, the home on the host, does not answer: sshd waits for it before any session"
            " starts, and the keys, units and mail files in it were not checked",
            f"check its server, and remount it: findmnt -T {shlex.quote(account.home)}",
        )


def _policy(account: Account) -> Iterator[Finding]:
    try:
        policy = policy_of(account)
    except SessionError as error:
        yield Finding(PROBLEM, "user.policy", account.name, f"is refused: {error}", "ssh2containerctl check")
        return
    if policy is None:
        yield _without_policy(account)
        return
    yield Finding(OK, "user.policy", account.name, "has a valid policy")
    if account.enrolled:
        for finding in _logins(verdict.of_user(account.name)):
            follows = finding.level != OK and not answers(account.home)
            yield replace(finding, because=f"user.home {account.name}") if follows else finding
    told = set()
    for one in keyed.every(policy):
        for finding in (*_host_home(account, one), *_recording(account, one)):
            if finding.text not in told:
                told.add(finding.text)
                yield finding


def _without_policy(account: Account) -> Finding:
    """Return the finding about a user for whom there is no policy; for a renamed one there may be."""
    former, place = former_name(account), store.STANDARD.source
    text, steps = "there is no policy for this user: logins are refused", []
    if former and os.path.lexists(place(f"users/{former}")):
        text += f" ({former} had one)"
        names = [shlex.quote(place(f"users/{name}")) for name in (former, account.name)]
        steps.append(f"mv {' '.join(names)}")
        with contextlib.suppress(SessionError):
            steps.append(bring_home(account, store.load(former, account.groups)))
    enable = f"ssh2containerctl enable {shlex.quote(account.name)}"
    remedy = " && ".join([step for step in steps if step] + [enable])
    return Finding(PROBLEM, "user.policy", account.name, text, remedy)


def _logins(found: verdict.Verdict) -> Iterator[Finding]:
    """Yield what the user's logins would come to."""
    failed = found.failed
    if failed is not None and failed.error is not None:
        text = f"{failed} is refused: {failed.error.reason()}"
        yield Finding(PROBLEM, "user.login", found.name, text, failed.error.remedy)
        return
    for answer in found.missing:
        if answer.error is not None:
            text = f"the command {answer} does not run: {answer.error.reason()}"
            yield Finding(WARNING, "user.command", found.name, text, answer.error.remedy)
    what = "every login is refused, as the policy intends" if found.closed else "logins start"
    yield Finding(OK, "user.login", found.name, what)


def _recording(account: Account, policy: Policy) -> Iterator[Finding]:
    """Yield whether somebody takes the recordings that the policy asks for."""
    if not policy.record.terminal or policy.record.to != "collector" or os.path.exists(COLLECTOR):
        return
    ends = policy.record.on_failure == "end_session"
    yield Finding(
        PROBLEM if ends else WARNING,
        "record.collector",
        account.name,
        f"{COLLECTOR} is missing: terminals are to be recorded, and "
        + ("logins with one are refused" if ends else "go unrecorded"),
        "systemctl enable --now ssh2container-record.socket",
    )


def _host_home(account: Account, policy: Policy) -> Iterator[Finding]:
    """Yield whether sessions write to the host's own home, from which sshd and the user manager read."""
    sources = [volume.source for volume in policy.volumes if not volume.read_only]
    if policy.home is not None and policy.home.source and not policy.home.read_only:
        sources.append(policy.home.source)
    for source in sources:
        expanded = source.replace("%h", account.home).replace("%u", account.name)
        if not (answers(account.home) and answers(expanded)):
            continue  # said of the user's logins, and of the home
        home = os.path.realpath(account.home)
        real = os.path.realpath(expanded)
        if home == real or home.startswith(real.rstrip("/") + "/"):
            yield Finding(
                PROBLEM,
                "user.host-home",
                account.name,
                f"{expanded} is writable inside: ~/.ssh, ~/.config/systemd/user and .forward prepare "
                "what runs outside",
                "keep the home in a directory of its own: home: {source: /srv/homes/%u}",
            )


def _runtime(account: Account) -> Iterator[Finding]:
    directory = RuntimeDirectory(account)
    taken = meeting.squatter(account.uid)
    if not directory.done() and not os.path.lexists(directory.path) and meeting.is_laid():
        if taken:
            yield Finding(
                PROBLEM,
                "user.runtime",
                account.name,
                f"{taken} has taken {SHARED}/{account.uid}: the user's sessions have no registry",
                f"ssh2containerctl enable {shlex.quote(account.name)}",
            )
        return
    if not directory.done():
        yield Finding(
            PROBLEM,
            "user.runtime",
            account.name,
            f"{directory.path} is missing, or not the user's own with mode 700",
            "ssh2containerctl enable --runtime",
        )
    entry = tmpfiles_entry(account)
    if not entry.done():
        yield Finding(
            WARNING,
            "user.tmpfiles",
            account.name,
            f"{entry.path} is missing: {directory.path} is gone after a boot",
            f"ssh2containerctl enable {shlex.quote(account.name)}",
        )

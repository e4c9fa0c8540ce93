"""What enrolling and compiling leave on disk, compared with what a login expects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.enrol.account import POWERFUL_GROUPS, SHELL, Account
from ssh2container.admin.enrol.changes import RuntimeDirectory, tmpfiles_entry
from ssh2container.admin.enrol.enrol import policy_of, processes_of
from ssh2container.admin.language import building
from ssh2container.admin.sshd import GROUP
from ssh2container.errors import SessionError, printable
from ssh2container.policy import store
from ssh2container.record.recorder import COLLECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ssh2container.policy.policy import Policy

_SHOWN_PROCESSES = 5


def compiled() -> Iterator[Finding]:
    """Yield which policies a login has to read from YAML."""
    try:
        stale = [name for name, is_fresh in building.fresh(store.STANDARD).items() if not is_fresh]
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


def of_user(account: Account) -> Iterator[Finding]:
    """Yield whether ``account`` can log in and is held."""
    name = account.name
    if account.uid == 0:
        yield Finding(
            PROBLEM, "user.root", name, "uid 0 cannot be contained", f"usermod --shell /bin/bash {name}"
        )
        return
    if not account.enrolled:
        yield Finding(
            NOTE,
            "user.shell",
            name,
            f"is in the group {GROUP}; the login shell is {account.shell}, not {SHELL}",
        )
    yield from _policy(account)
    if account.enrolled and GROUP not in account.groups:
        yield Finding(
            PROBLEM,
            "user.group",
            name,
            f"is not in the group {GROUP}: the sshd drop-in does not hold for this user",
            f"ssh2containerctl enable {name}",
        )
    for group in account.powerful:
        yield Finding(
            PROBLEM,
            "user.groups",
            name,
            f"is in the group {group}, which {POWERFUL_GROUPS[group]}",
            f"gpasswd -d {name} {group}",
        )
    if account.enrolled:
        yield from _runtime(account)
    outside = processes_of(account)
    if outside:
        shown = ", ".join(f"{pid} ({_command(pid)})" for pid in outside[:_SHOWN_PROCESSES])
        yield Finding(
            NOTE,
            "user.processes",
            name,
            f"{len(outside)} processes outside a container: {shown}",
            "monitors, sshd and the user's manager are expected, others are not",
            {"pids": outside},
        )


def _policy(account: Account) -> Iterator[Finding]:
    try:
        policy = policy_of(account)
    except SessionError as error:
        yield Finding(PROBLEM, "user.policy", account.name, f"is refused: {error}", "ssh2containerctl check")
        return
    if policy is None:
        yield Finding(
            PROBLEM,
            "user.policy",
            account.name,
            "there is no policy for this user: logins are refused",
            f"ssh2containerctl enable {account.name}",
        )
        return
    yield Finding(OK, "user.policy", account.name, "has a policy that holds")
    yield from _host_home(account, policy)
    yield from _recording(account, policy)


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
            f"ssh2containerctl enable {account.name}",
        )


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="backslashreplace") as file:
            return printable(file.read().strip())
    except OSError:
        return "ended"


def of_users(accounts: Sequence[Account]) -> Iterator[Finding]:
    """Yield what concerns several users together: two names on one uid."""
    by_uid: dict[int, list[str]] = {}
    for account in accounts:
        by_uid.setdefault(account.uid, []).append(account.name)
    for uid, names in by_uid.items():
        if len(names) > 1:
            yield Finding(
                PROBLEM,
                "user.uid",
                ", ".join(names),
                f"share uid {uid}: they share processes, files and policies",
                "give each user a uid of his own",
            )

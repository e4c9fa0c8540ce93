"""Whether jobs of policies are where something runs them, as the policies say."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin import sealed
from ssh2container.admin.accounts import jobs
from ssh2container.admin.accounts.enable import policy_if_valid
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.policy.jobs import unmailed
from ssh2container.admin.schedule import host
from ssh2container.errors import SessionError
from ssh2container.policy import schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account
    from ssh2container.policy.policy import Policy

LINGER = "/var/lib/systemd/linger"
"""Who is in it has a service manager from boot on (loginctl(1), enable-linger)."""


@check.of_users("jobs", place=47)
def of_users(accounts: Sequence[Account], _advance: Callable[[str], None]) -> Iterator[Finding]:
    """Yield whose jobs do not run, or not as their policies say."""
    scheduled, good = False, True
    for account in accounts:
        policy = policy_if_valid(account) if account.enrolled else None
        scheduled = scheduled or (policy is not None and bool(schedule.of(policy.values)))
        for finding in _of_user(account, policy):
            good = False
            yield finding
    if scheduled and host.means() == "cron" and not host.cron_runs():
        good = False
        yield Finding(PROBLEM, "schedule.cron", "", "no cron is running: no job runs", "service cron start")
    if scheduled and good:
        by = {"systemd": "systemd's timers", "cron": "cron"}[host.means()]
        yield Finding(OK, "schedule.written", "", f"the jobs of policies are given to {by}")


def _of_user(account: Account, policy: Policy | None) -> Iterator[Finding]:
    try:
        wanted = {} if policy is None else jobs.texts(account.name, account.uid, schedule.of(policy.values))
    except SessionError as error:
        yield Finding(
            PROBLEM, "schedule.means", account.name, f"no job of the policy runs: {error.why}", "install cron"
        )
        return
    there = {path for path, owner in jobs.in_place().items() if owner == account.name}
    differing = []
    for path in sorted({*wanted, *there}):
        change = sealed.SealedFile(path, wanted.get(path, ""))
        if not change.done():
            differing.append(path)
        elif change.kept:
            yield Finding(
                NOTE,
                "schedule.changed",
                account.name,
                f"{path} is not as it was written: somebody has changed it, and it stays so until disable",
                f"for what the policy says: rm {path}; ssh2containerctl compile",
            )
    if differing:
        yield Finding(
            PROBLEM,
            "schedule.written",
            account.name,
            f"not as the policy says: {', '.join(differing)}; jobs are refused, or do not run",
            "ssh2containerctl compile",
        )
    if policy is None:
        return
    for _, why, remedy in unmailed(policy):
        yield Finding(PROBLEM, "schedule.mail", account.name, why, remedy)
    if _lacks_manager(account, policy):
        then = "are refused" if policy.limits_required else "go on without limits"
        yield Finding(
            WARNING,
            "schedule.manager",
            account.name,
            f"jobs {then} while the user is not logged in: no service manager is there to limit them",
            f"loginctl enable-linger {shlex.quote(account.name)}",
        )


def _lacks_manager(account: Account, policy: Policy) -> bool:
    """Tell whether jobs with limits of their own find a manager only while the user has a login."""
    if not schedule.of(policy.values) or policy.limits is None or host.means() != "systemd":
        return False
    return not os.path.lexists(f"{LINGER}/{account.name}")

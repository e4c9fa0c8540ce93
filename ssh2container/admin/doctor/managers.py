"""Whether the service managers of users are there when their logins ask for limits; best goes on without."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

from ssh2container.admin.accounts.enable import policy_if_valid
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, WARNING, Finding
from ssh2container.admin.login import managers
from ssh2container.policy import keyed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account
    from ssh2container.policy.policy import Policy


@check.of_users("managers", place=45)
def of_users(accounts: Sequence[Account], advance: Callable[[str], None]) -> Iterator[Finding]:
    """Yield whose sessions could not be limited as their policies say."""
    asked = good = 0
    for account in accounts:
        policy = _policy(account)
        # Where limits are required, this is said of the user's logins.
        best = [one.limits for one in keyed.every(policy) if not one.limits_required] if policy else []
        names = [name for one in best if one is not None for name, _ in one.properties()]
        if not names:
            continue
        asked += 1
        advance(account.name)
        why, remedy = managers.why_not(pwd.getpwnam(account.name), list(dict.fromkeys(names)))
        if not why:
            good += 1
            continue
        remedy = remedy.removesuffix(managers.OR_BEST)
        yield Finding(
            WARNING, "limits.manager", account.name, f"sessions go on without limits: {why}", remedy
        )
    if asked and good == asked:
        yield Finding(OK, "limits.manager", "", "the users' service managers can limit sessions")


def limits_sessions(account: Account) -> bool:
    """Tell whether the user's sessions have limits that their service manager sets: it has to be there."""
    policy = _policy(account)
    return policy is not None and any(one.limits is not None for one in keyed.every(policy))


def _policy(account: Account) -> Policy | None:
    return policy_if_valid(account) if account.enrolled else None

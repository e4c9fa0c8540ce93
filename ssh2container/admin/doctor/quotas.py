"""The quotas of kept homes: in force as the policies have them, and not used up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.accounts.enable import policy_if_valid, specifier_values
from ssh2container.admin.accounts.home_quota import LimitHome
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, PROBLEM, WARNING, Finding
from ssh2container.admin.quotas import homes
from ssh2container.admin.quotas.quota import shown
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.account import Account

_CHECK = "user.quota"


@check.of_user(place=40)
def of_user(account: Account) -> Iterator[Finding]:
    """Yield whether the user's home has the quota that the policy names."""
    policy = policy_if_valid(account) if account.enrolled else None
    if policy is None:
        return
    name = account.name
    change = LimitHome(account, lambda _: policy, specifier_values)
    try:
        wanted = homes.wanted(policy, specifier_values(account))
        done = change.done()
        record = homes.recorded(account.uid)
        use = None if record is None else homes.use(record)
    except (SessionError, OSError) as error:
        remedy = error.remedy if isinstance(error, SessionError) else "ssh2containerctl check"
        why = error.reason() if isinstance(error, SessionError) else str(error)
        yield Finding(PROBLEM, _CHECK, name, f"the home has no quota: {why}", remedy)
        return
    if wanted is None and record is None:
        return
    if not done:
        now = "none" if use is None else homes.words(use.quota)
        named = "none" if wanted is None else homes.words(wanted[1])
        yield Finding(
            PROBLEM,
            _CHECK,
            name,
            f"the quota of the home is not what the policy names: {now} instead of {named}",
            "ssh2containerctl compile",
        )
    elif record is None:
        yield Finding(
            WARNING, _CHECK, name, change.describe(), "limits: required refuses what is not limited"
        )
    elif use is not None and use.size is not None and use.used >= use.size:
        text = f"the home is full: {shown(use.used)} of {shown(use.size)}; nothing more can be written there"
        yield Finding(WARNING, _CHECK, name, text, "a larger home.size, or ask the user to remove files")
    else:
        yield Finding(OK, _CHECK, name, "the quota of the home is as the policy names it")

"""What the hours of accounts need of the host: the data of the zones that policies name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.accounts.enable import policy_of
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, PROBLEM, Finding
from ssh2container.errors import SessionError
from ssh2container.plan.hours import fault_of
from ssh2container.policy import keyed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account


@check.of_users("hours", place=35)
def of_users(accounts: Sequence[Account], advance: Callable[[str], None]) -> Iterator[Finding]:
    """Yield the zones that the host cannot tell the time of, each once."""
    users: dict[str, dict[str, None]] = {}
    for account in accounts:
        try:
            policy = policy_of(account)
        except SessionError:
            continue  # told elsewhere
        for one in () if policy is None else keyed.every(policy):
            if one.access.times is not None:
                advance(f"hours of {account.name}")
                for zone in one.access.times.zones():
                    users.setdefault(zone, {})[account.name] = None
    faults = {zone: fault_of(zone) for zone in users}
    for zone, fault in faults.items():
        if fault:
            yield Finding(
                PROBLEM,
                "hours.zone",
                zone or "the host's zone",
                f"{fault}: logins of {', '.join(users[zone])} are refused",
                "apt-get install tzdata" if zone else "timedatectl set-timezone ZONE",
                {"users": [*users[zone]]},
            )
    if users and not any(faults.values()):
        yield Finding(OK, "hours.zone", "", "the host tells the time of every zone that policies name")

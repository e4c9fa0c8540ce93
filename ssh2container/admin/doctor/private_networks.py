"""Whether users whose policy gives them a private network get one, and all that belongs to it.

Sources: icmp(7) for who may ping, resolv.conf(5), the kernel's Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ssh2container import paths
from ssh2container.admin.accounts.enable import policy_of
from ssh2container.admin.change import read_or_none
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, PROBLEM, WARNING, Finding
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan import private
from ssh2container.plan.operations.private import DEVICE, MakeTap
from ssh2container.policy import keyed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account

PING_RANGE = "/proc/sys/net/ipv4/ping_group_range"
_LOAD, _OPEN = MakeTap.remedies[2], MakeTap.remedies[13]
_FOR_OTHERS = stat.S_IROTH | stat.S_IWOTH


@check.of_users("private networks", place=35)
def of_users(accounts: Sequence[Account], _advance: Callable[[str], None]) -> Iterator[Finding]:
    """Yield what ``accounts`` with a private network lack on this host."""
    private_ones = [account for account in accounts if _is_private(account)]
    if not private_ones:
        return
    found = [*of_device(DEVICE), *of_resolver(paths.RESOLV_CONF)]
    for account in private_ones:
        found += of_groups(account.name, os.getgrouplist(account.name, account.gid), PING_RANGE)
        found += _of_login(account, said=any(finding.level == PROBLEM for finding in found))
    yield from found
    if not found:
        yield Finding(OK, "network.private", "", "private networks have all that they need here")


def of_device(path: str) -> Iterator[Finding]:
    """Yield why users could make no interface by the device at ``path``."""
    try:
        found = os.stat(path)
    except OSError:
        yield Finding(
            PROBLEM,
            "network.tun",
            path,
            "is missing: nobody gets a private network",
            _LOAD,
        )
        return
    if not stat.S_ISCHR(found.st_mode) or found.st_mode & _FOR_OTHERS != _FOR_OTHERS:
        yield Finding(
            PROBLEM,
            "network.tun",
            path,
            "users may not open it: logins with a private network are refused",
            _OPEN,
        )


def of_resolver(path: str) -> Iterator[Finding]:
    """Yield whether the resolver file at ``path`` names nobody to ask."""
    text = read_or_none(path)
    if private.Observed((text or "").encode(), has_ipv6=False).has_resolver:
        return
    why = "does not exist" if text is None else "names no name server"
    yield Finding(
        WARNING,
        "network.resolver",
        path,
        f"{why}: for names of private networks this host itself is asked",
        "write nameserver ADDRESS into it (resolv.conf(5))",
    )


def of_groups(name: str, groups: Sequence[int], path: str) -> Iterator[Finding]:
    """Yield whether the host lets nobody with ``groups`` ping. path: of the setting."""
    words = (read_or_none(path) or "1 0").split()
    first, last = (int(word) for word in words[:2])
    if any(first <= group <= last for group in groups):
        return
    yield Finding(
        WARNING,
        "network.ping",
        name,
        f"ping gets no answer in a private network: none of the user's groups is in {first} to {last}",
        "sysctl net.ipv4.ping_group_range='0 2147483647' (persistently: /etc/sysctl.d)",
    )


def _of_login(account: Account, *, said: bool) -> Iterator[Finding]:
    """Yield what else refuses the user's logins, unless that is said already."""
    try:
        policy = policy_of(account)
        for one in keyed.every(policy) if policy is not None and not said else ():
            if one.network_mode == "private":
                private.observe(one)
    except Refusal as error:
        yield Finding(PROBLEM, "network.private", account.name, f"{error.what}: {error.why}", error.remedy)
    except SessionError:
        return  # said elsewhere


def _is_private(account: Account) -> bool:
    try:
        policy = policy_of(account) if account.enrolled else None
    except SessionError:
        return False  # said elsewhere
    return policy is not None and any(one.network_mode == "private" for one in keyed.every(policy))

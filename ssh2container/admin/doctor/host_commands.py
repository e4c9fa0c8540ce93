"""Whether commands of the host that policies name would run, and whether anybody takes them (proc(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.accounts.enable import policy_if_valid
from ssh2container.admin.change import read_or_none
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, PROBLEM, WARNING, Finding
from ssh2container.admin.host_commands import trust
from ssh2container.plan.host_commands import REMEDY, SOCKET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account

SOCKETS = "/proc/net/unix"
_FLAGS, _PATH = 3, 7
_LISTENS = 0x10000
"""Of the flags: __SO_ACCEPTCON."""


@check.of_users("commands of the host", place=48)
def of_users(accounts: Sequence[Account], _advance: Callable[[str], None]) -> Iterator[Finding]:
    """Yield what keeps commands of ``accounts`` from running."""
    named, found = False, []
    for account in accounts:
        policy = policy_if_valid(account) if account.enrolled else None
        if policy is None or not policy.values["host_commands"]:
            continue
        named = True
        for _, fault in trust.faults(policy):
            found.append(Finding(WARNING, "commands.program", account.name, fault.reason(), fault.remedy))
    if named and not listens(read_or_none(SOCKETS) or "", SOCKET):
        text = f"nobody listens at {SOCKET}: no command of the host runs, and logins may be refused"
        found.append(Finding(PROBLEM, "commands.socket", "", text, REMEDY))
    yield from found
    if named and not found:
        yield Finding(OK, "commands.socket", "", "the host runs the commands that policies name")


def listens(table: str, path: str) -> bool:
    """Tell whether somebody listens at ``path``, as ``table`` has it, the text of :data:`SOCKETS`."""
    rows = (line.split() for line in table.splitlines()[1:])
    return any(row[_PATH:] == [path] and int(row[_FLAGS], 16) & _LISTENS for row in rows)

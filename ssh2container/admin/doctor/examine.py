"""All checks, in the order in which an administrator wants to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.doctor import code, kernel, logind, ranges, routes, servers, state, trial
from ssh2container.admin.enrol.account import enrolled_names, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.doctor.finding import Finding


def examine(
    names: Sequence[str] = (), *, host_only: bool = False, advance: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Yield the findings of every check.

    names: the users to examine; none means all who have the login shell or are in its group.
    host_only: examine no user.
    advance: told each check as it begins.
    Raises :class:`SessionError` for a name that nobody has.
    """
    accounts = [] if host_only else [find(name) for name in (names or enrolled_names())]
    advance("a trial container")
    yield from trial.examine()
    for title, check in (
        ("kernel", kernel.examine),
        ("code", code.examine),
        ("policies", state.compiled),
        ("log", state.logging),
        ("ranges of ids", ranges.examine),
        ("host", routes.of_host),
    ):
        advance(title)
        yield from check()
    advance("sshd")
    yield from servers.examine(accounts)
    yield from state.of_users(accounts)
    yield from logind.of_users(accounts)
    for account in accounts:
        advance(account.name)
        yield from state.of_user(account)
        yield from routes.of_user(account)

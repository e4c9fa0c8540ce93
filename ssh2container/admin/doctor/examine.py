"""All checks, in the order in which an administrator wants to read them."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from ssh2container.admin import doctor
from ssh2container.admin.account import enrolled_names, find
from ssh2container.admin.doctor import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.doctor.finding import Finding

for _module in pkgutil.iter_modules(doctor.__path__, doctor.__name__ + "."):
    importlib.import_module(_module.name)


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
    for _, title, of_host in sorted(check.host_checks, key=lambda one: one[0]):
        advance(title)
        yield from of_host()
    for _, title, of_users in sorted(check.users_checks, key=lambda one: one[0]):
        advance(title)
        yield from of_users(accounts, advance)
    for account in accounts:
        advance(account.name)
        for _, of_user in sorted(check.user_checks, key=lambda one: one[0]):
            yield from of_user(account)

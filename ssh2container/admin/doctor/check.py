"""What a check of the doctor declares of itself, beside its code: what it looks at, and when it has its turn.

A check is a function in a module of this package that yields findings, under one of the decorators below.
It needs no mention anywhere else: :mod:`.examine` imports the package's modules, and docs/doctor.md is made
from the findings that stand in them (:mod:`.catalogue`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account
    from ssh2container.admin.doctor.finding import Finding

    Advance = Callable[[str], None]
    OfHost = Callable[[], Iterator[Finding]]
    OfUsers = Callable[[Sequence[Account], Advance], Iterator[Finding]]
    OfUser = Callable[[Account], Iterator[Finding]]

host_checks: list[tuple[int, str, OfHost]] = []
users_checks: list[tuple[int, str, OfUsers]] = []
user_checks: list[tuple[int, OfUser]] = []


def of_host(title: str, *, place: int) -> Callable[[OfHost], OfHost]:
    """Declare a check of the host, which takes nothing.

    title: what is looked at, for the progress. place: its turn among those of its kind, the lowest first.
    """

    def declare(check: OfHost) -> OfHost:
        host_checks.append((place, title, check))
        return check

    return declare


def of_users(title: str, *, place: int) -> Callable[[OfUsers], OfUsers]:
    """Declare a check that takes all accounts that are examined, and whom to tell of its progress."""

    def declare(check: OfUsers) -> OfUsers:
        users_checks.append((place, title, check))
        return check

    return declare


def of_user(*, place: int) -> Callable[[OfUser], OfUser]:
    """Declare a check of one account, which is all that it takes."""

    def declare(check: OfUser) -> OfUser:
        user_checks.append((place, check))
        return check

    return declare

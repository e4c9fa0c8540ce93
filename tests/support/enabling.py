"""Users who are contained by ``enable``, as an administrator does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.host import run
from support.networks import CONTROL
from support.users import User


@contextmanager
def enabling() -> Iterator[Callable[[User], User]]:
    """Contain users, and release them at the end of a ``with`` block."""
    contained: list[User] = []

    def enable(user: User) -> User:
        contained.append(user)
        run([CONTROL, "enable", user.name]).ok()
        return user

    yield enable
    for user in contained:
        run([CONTROL, "disable", user.name]).ok()

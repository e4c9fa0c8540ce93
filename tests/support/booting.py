"""Users whose sessions are whole systems (``boot``), and what their service manager makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from support.delegated import Scopes, delegated
from support.images import grant
from support.users import MakeUser, User

Booting: TypeAlias = "Callable[..., tuple[User, Scopes]]"
"""Makes one: (more of the policy, the value of ``boot``, the image as ``of=``), each optional."""


@contextmanager
def users_of(image: str, make_user: MakeUser) -> Iterator[Booting]:
    """Make users for the length of a ``with`` block. image: what they have unless told otherwise."""
    with ExitStack() as managers:

        def make(more: str = "", boot: str = "true", *, of: str = image) -> tuple[User, Scopes]:
            user = make_user(
                f"image: {of}\nuser: root\nuserns_mode: range\nshell: [/bin/sh]\nboot: {boot}\n{more}"
            )
            grant(user)
            return user, managers.enter_context(delegated(user))

        yield make

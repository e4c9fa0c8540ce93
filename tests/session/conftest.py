"""Fixtures of the suite session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from support.enabling import enabling
from support.users import MakeUser, User

from ssh2container.plan.pools import POOLS


@pytest.fixture
def enabled(make_user: MakeUser) -> Iterator[Callable[..., User]]:
    """Users with networks, by ``enable``."""
    made: list[User] = []
    with enabling() as enable:

        def make(networks: str, more: str = "", image: str = "host") -> User:
            made.append(make_user(f"image: {image}\n{more}networks: {networks}\n"))
            return enable(made[-1])

        yield make
    for user in made:
        assert not os.path.exists(f"{POOLS}/{user.uid}")

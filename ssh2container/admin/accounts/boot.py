"""What users need below /run: made for all of them at boot."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ssh2container.admin.account import Account, enrolled_names, find
from ssh2container.admin.accounts import meeting
from ssh2container.admin.accounts.enable import policy_if_valid, policy_of, specifier_values
from ssh2container.admin.accounts.grants import GrantRange
from ssh2container.admin.accounts.host_key import MakeHostKey
from ssh2container.admin.accounts.idmapped import ShowImages
from ssh2container.admin.accounts.networks import PrepareNetworks
from ssh2container.admin.accounts.nosuid import IgnoreSetId
from ssh2container.admin.accounts.runtime import RuntimeDirectory
from ssh2container.admin.accounts.trees import PrepareImage, bring_up_to_date
from ssh2container.admin.change import Change
from ssh2container.admin.images.store import shown
from ssh2container.admin.images.store.store import Store
from ssh2container.admin.networks import bridges, definitions
from ssh2container.errors import SessionError
from ssh2container.record.registry import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.policy.policy import Policy

_PATIENCE_S = 10.0
"""How long sshd waits at boot for bridges that policies name and that are not there yet."""


def make_runtime(failed: Callable[[str], None]) -> Iterator[str]:
    """Make what lies below /run for all enrolled users, as at boot; yield a sentence for each thing made.

    A user whose policy does not hold gets what can be made without it (the doctor tells). What an upgrade
    needs anew of images and grants is made too. failed: told, in a sentence, what could not be made for one
    user; the others get theirs.
    """
    images = Store()
    yield from bring_up_to_date(images, failed)
    if any(version.info["range"][1] for version in images.versions().values()) and shown.show(images):
        yield "show the images under the ids that sessions of userns_mode: range share"
    try:
        if meeting.lay():
            yield f"mount {SHARED}, where users who were not enabled make their own directories"
    except SessionError as error:
        failed(str(error))
    yield from _bring_up_networks(failed)
    for name in enrolled_names():
        try:
            yield from _make_for(find(name))
        except (SessionError, OSError) as error:
            failed(f"{name}: {error}")


def _bring_up_networks(failed: Callable[[str], None]) -> Iterator[str]:
    for name, bridge in bridges.ours().items():
        try:
            if bridges.bring_up(bridge):
                yield f"make the network {name}"
        except (SessionError, OSError) as error:
            failed(f"the network {name}: {error}")
    with contextlib.suppress(SessionError, OSError):  # each user's own attempt says what is wrong
        site = definitions.of_site()
        named = {network.name for policy in _policies() for network in policy.networks}
        awaited = [site.get(name) or definitions.Definition(name, parent=name) for name in named]
        definitions.await_parents(awaited, _PATIENCE_S)


def _policies() -> Iterator[Policy]:
    for name in enrolled_names():
        with contextlib.suppress(SessionError, OSError):
            policy = policy_if_valid(find(name))
            if policy is not None:
                yield policy


def _make_for(account: Account) -> Iterator[str]:
    changes: list[Change] = [RuntimeDirectory(account)]
    if policy_if_valid(account) is not None:
        changes += [PrepareImage(account, policy_of), GrantRange(account, policy_of)]
    changes += [
        ShowImages(account, policy_if_valid),
        IgnoreSetId(account, policy_if_valid, specifier_values),
        PrepareNetworks(account, policy_if_valid),
        MakeHostKey(account, policy_if_valid),
    ]
    for change in changes:
        if not change.done():
            change.do()
            yield change.describe()

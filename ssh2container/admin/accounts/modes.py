"""Which ids the sessions of a policy get on this host: what ``userns_mode: auto`` comes to."""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING

from ssh2container.admin.images import ids
from ssh2container.admin.images.store.store import Store
from ssh2container.kernel import idmapped
from ssh2container.policy import images

if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

_OVERLAY_ABOVE = (5, 19)
"""The first Linux whose overlay takes an idmapped mount as a lower layer."""


def mode_of(policy: Policy | None) -> str:
    """Return "single", "range" or "own_range": what ``enable`` prepares for ``policy``.

    Of several images some may be the host's, which has no range: then it is that of the others.
    Ids of the user's own where the host can show images under them: nobody else's sessions share those.
    """
    if policy is None or not any(one.ranged for one in images.choices(policy)):
        return "single"
    if policy.userns_mode != "auto":
        return policy.userns_mode
    # With the host's network, ids that others share are refused, so there is no choice.
    return "own_range" if policy.network_mode == "host" or can_show_own() else "range"


@functools.cache
def can_show_own() -> bool:
    """Tell, by trying, whether this host can show the images of the store under other ids."""
    numbers = [int(number) for number in re.findall("[0-9]+", os.uname().release)[:2]]
    if tuple(numbers) < _OVERLAY_ABOVE:
        return False
    store = Store()
    store.prepare()
    try:
        os.close(idmapped.clone_mapped(store.shifted_trees, 0, ids.UNPACKING.base, 1))
    except OSError:
        return False
    return True

"""The commands of the host that a policy lets sessions run, in words."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ssh2container.policy.host_commands import SELF, of

if TYPE_CHECKING:
    from typing import Any

    from ssh2container.policy.policy import Policy


def described(policy: Policy) -> list[dict[str, Any]]:
    """Return of each command: name, path, args, accept, user, timeout, words, key and the key's place."""
    found = []
    for one in of(policy.values):
        given = "".join(f" <{pattern}>" for pattern in one.accept)
        who = "the user" if one.user == SELF else one.user
        words = shlex.join((one.path, *one.args))
        origin = policy.origin(one.key)
        found.append(
            {
                **{name: getattr(one, name) for name in one.__slots__},
                "describe": f"{one.name}{given}: {words}{given}, as {who}, for {one.timeout} s at most",
                "key": one.key,
                "origin": None if origin is None else str(origin),
            }
        )
    return found

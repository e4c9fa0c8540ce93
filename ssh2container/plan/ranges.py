"""The ids of a session that has a whole system's users: where they are on the host, and the tree they own.

``range``: the one range that install.sh set aside, which all such sessions share; the image has a tree
shifted into it. ``own_range``: a range that no other user has, with the same tree seen through a mount
that shows its ids as the user's own (idmapped mounts, mount_setattr(2)). Only root can make that one;
``enable`` does, and a unit at boot.
"""

from __future__ import annotations

import posix as os

from ssh2container.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

    from .account import Account
    from .image import Image

HELPERS = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")
"""What writes the maps (package uidmap)."""
OWN_TREES = "/run/ssh2container/idmapped"
"""``UID/BASE`` below it shows all images of the store, shifted into the range from BASE on."""
_STEP = "identity-map"


class Range:
    """``count`` ids of the host from ``base``, which are 0, 1, … inside, and the image's tree they own.

    own: whether no other user's sessions have them.
    """

    __slots__ = ("base", "count", "own", "root")

    def __init__(self, base: int, count: int, root: str, *, own: bool) -> None:
        self.base = base
        self.count = count
        self.root = root
        self.own = own

    @classmethod
    def observe(cls, policy: Policy, account: Account, image: Image) -> Range | None:
        """Return the range of a session in ``image``; None for the host's image, which can have none.

        Raises Refusal, with what an administrator can do, where the host lacks something for it.
        """
        if image.kind != "tree":
            return None
        for helper in HELPERS:
            if not os.access(helper, os.X_OK):
                raise Refusal(
                    f"cannot map a range of ids (userns_mode: {policy.userns_mode})",
                    f"{helper} is not installed",
                    "an administrator installs it: apt-get install uidmap",
                    _STEP,
                )
        shifted = image.require_range()
        if policy.userns_mode != "own_range":
            return cls(image.range_base, image.range_count, shifted, own=False)
        base = own_base(account.uid)
        tree = f"{OWN_TREES}/{account.uid}/{base}/{image.digest[7:]}/range-{image.range_base}"
        try:
            owner = os.stat(tree).st_uid
        except OSError:
            owner = -1
        if base < 0 or not base <= owner < base + image.range_count:
            raise Refusal(
                f"cannot map a range of {account.name}'s own",
                "the images are not mounted under its ids",
                f"an administrator does it: ssh2containerctl enable {account.name}"
                " (after a boot, where systemd does not run: ssh2containerctl enable --runtime)",
                _STEP,
            )
        return cls(base, image.range_count, tree, own=True)


def own_base(uid: int) -> int:
    """Return the first id of the range that root has prepared for ``uid``, -1 for none."""
    try:
        names = os.listdir(f"{OWN_TREES}/{uid}")
    except OSError:
        return -1
    return next((int(name) for name in names if name.isdecimal()), -1)

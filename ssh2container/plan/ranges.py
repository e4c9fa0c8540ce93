"""The ids of a session that has a whole system's users: where they are on the host, and the tree they own.

``range``: the one range that install.sh set aside, which all such sessions share; the image has a tree
shifted into it. ``own_range``: a range that no other user has, with the same tree seen through a mount
that shows its ids as the user's own (idmapped mounts, mount_setattr(2)).

Who is root of a range owns the tree, and could change what the next user executes: by chmod(2) through
a descriptor that another process hands over, or from a user namespace made outside our shell.
So the trees lie in a directory that root alone can enter, and all that anybody sees of them is mounts that
are read-only, nosuid and nodev. Only root can make those; ``enable`` does, and a unit at boot.
"""

from __future__ import annotations

import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import mounts, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

    from .account import Account
    from .image import Image

INSTALL_HELPERS = "apt-get install uidmap"
SHARED_TREES = paths.RUNTIME + "/shifted"
"""Where all images of the store are seen that are shifted into the range that sessions share."""
OWN_TREES = paths.RUNTIME + "/idmapped"
"""``UID/BASE`` below it shows the same, shifted into the range from BASE on."""
_STEP = "identity-map"
_SEALED = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV


class Range:
    """``count`` ids of the host from ``base``, which are 0, 1, … inside, and the image's tree they own.

    own: whether no other user's sessions have them. init: where a whole system has its init, and what file
    that is; only under a policy with ``boot``.
    """

    __slots__ = ("base", "count", "init", "own", "root")
    init: tuple[tuple[str, ...], str]

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
        if helper := missing_helper():
            raise Refusal(
                f"cannot map a range of ids (userns_mode: {policy.userns_mode})",
                f"{helper} is not installed",
                f"an administrator installs it: {INSTALL_HELPERS}"
                + (" (userns_mode: single does without)" if policy.userns_mode == "auto" else ""),
                _STEP,
            )
        name = image.require_range()
        base = own_base(account.uid)
        own = f"{OWN_TREES}/{account.uid}/{base}/{name}"
        prepared = base >= 0 and sealed(own, base, image.range_count)
        if policy.userns_mode == "range" or (policy.userns_mode == "auto" and not prepared):
            tree = f"{SHARED_TREES}/{name}"
            if not sealed(tree, image.range_base, image.range_count):
                raise Refusal(
                    f"cannot use the image {image.name} in a range of ids",
                    f"{tree} is not there, or not a mount that is read-only, nosuid and nodev",
                    f"an administrator makes it: ssh2containerctl enable {account.name}"
                    " (after a boot, where systemd does not run: ssh2containerctl enable --runtime)",
                    _STEP,
                )
            return cls(image.range_base, image.range_count, tree, own=False).with_init(policy, image)
        if not prepared:
            raise Refusal(
                f"cannot map a range of {account.name}'s own",
                "the images are not mounted under its ids",
                f"an administrator does it: ssh2containerctl enable {account.name}"
                " (after a boot, where systemd does not run: ssh2containerctl enable --runtime)",
                _STEP,
            )
        return cls(base, image.range_count, own, own=True).with_init(policy, image)

    def with_init(self, policy: Policy, image: Image) -> Range:
        """Note where a whole system has its init, if the policy wants one, and return this range."""
        if policy.values["boot"]:
            from . import whole

            self.init = whole.observe(policy, image)
        return self


def missing_helper() -> str:
    """Return the first program for maps that cannot be executed here, "" where both can."""
    return next((helper for helper in namespaces.HELPERS if not os.access(helper, os.X_OK)), "")


def sealed(tree: str, base: int, count: int) -> bool:
    """Tell whether ``tree`` belongs to the ids from ``base`` and nobody who has them can change it here."""
    try:
        return base <= os.stat(tree).st_uid < base + count and os.statvfs(tree).f_flag & _SEALED == _SEALED
    except OSError:
        return False


def own_base(uid: int) -> int:
    """Return the first id of the range that root has prepared for ``uid``, -1 for none."""
    try:
        names = os.listdir(f"{OWN_TREES}/{uid}")
    except OSError:
        return -1
    return next((int(name) for name in names if name.isdecimal()), -1)

"""The images as users with ``userns_mode: own_range`` see them: under ids of their own.

One idmapped mount per user shows all images of the store, those to come too, with the set-aside range
as the user's own. It lies below /run, so it is made anew at each boot, by the same change.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ssh2container.admin.accounts.grants import own_range
from ssh2container.admin.accounts.modes import mode_of
from ssh2container.admin.change import Change
from ssh2container.admin.images import ids
from ssh2container.admin.images.store import shown
from ssh2container.admin.images.store.store import Store
from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.errors import SessionError
from ssh2container.kernel import idmapped, mounts
from ssh2container.plan.ranges import OWN_TREES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.account import Account
    from ssh2container.policy.policy import Policy

_REMEDIES = {
    errno.EINVAL: "its file system, or the kernel, has no idmapped mounts: use userns_mode: range",
    errno.EPERM: "root of a container cannot do it: use userns_mode: range",
}


class ShowImages(Change):
    """The images under the user's own ids, where their policy asks for that; otherwise none."""

    def __init__(self, account: Account, policy: Callable[[Account], Policy | None]) -> None:
        self.account = account
        self._policy = policy
        self._directory = f"{OWN_TREES}/{account.uid}"
        self._wanted = ""

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"show {self.account.name} the images under ids of the user's own, if the policy asks for it"

    def done(self) -> bool:
        """See :class:`Change`."""
        policy = self._policy(self.account)
        own = own_range(self.account.name)
        self._wanted = ""
        if mode_of(policy) == "own_range":
            self._wanted = str(own.base) if own is not None else "?"
        if not self._wanted:
            return not os.path.lexists(self._directory)
        return _mounted(self._directory) == [self._wanted] and shown.shows(
            f"{self._directory}/{self._wanted}", Store()
        )

    def do(self) -> None:
        """See :class:`Change`."""
        unshow(self.account)
        if not self._wanted:
            return
        shared, own = ids.set_aside(), own_range(self.account.name)
        if shared is None or own is None:
            raise SessionError(
                f"cannot show {self.account.name} the images under ids of the user's own",
                "no range is granted in /etc/subuid and /etc/subgid",
                "run install.sh again, then enable",
                "ranges",
            )
        store = Store()
        store.prepare()
        place = f"{self._directory}/{own.base}"
        os.makedirs(place, 0o755, exist_ok=True)
        try:
            tree = idmapped.clone_mapped(store.shifted_trees, shared.base, own.base, ids.COUNT)
        except OSError as error:
            unshow(self.account)
            raise SessionError(
                f"cannot show {store.path} under other ids",
                error.strerror or "",
                _REMEDIES.get(error.errno or 0, ""),
                "ranges",
                error.errno or 0,
            ) from None
        try:
            mounts.attach(tree, place)
        finally:
            os.close(tree)

    def undo(self) -> None:
        """See :class:`Change`."""
        unshow(self.account)


class HideImages(ShowImages):
    """The reverse of :class:`ShowImages`."""

    def __init__(self, account: Account) -> None:
        super().__init__(account, lambda _: None)

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"show {self.account.name} no images under ids of the user's own"


def unshow(account: Account) -> None:
    """Remove the user's view of the images; sessions that run keep theirs."""
    directory = f"{OWN_TREES}/{account.uid}"
    for name in _listed(directory):
        with contextlib.suppress(OSError):
            idmapped.detach(f"{directory}/{name}")
        with contextlib.suppress(OSError):
            os.rmdir(f"{directory}/{name}")
    with contextlib.suppress(OSError):
        os.rmdir(directory)


def _mounted(directory: str) -> list[str]:
    return [name for name in _listed(directory) if is_mount_point(f"{directory}/{name}")]


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []

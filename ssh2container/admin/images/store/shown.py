"""The shifted trees as sessions of ``userns_mode: range`` see them: one mount that nobody can write through.

The trees belong to ids that every user of the mode is root of. They lie in a directory of mode 700, and
this is the one way to them for others: read-only, nosuid, nodev, and so locked for every user namespace
(mount_namespaces(7)). It lies below /run, so it is made anew at each boot.
"""

from __future__ import annotations

import contextlib
import os

from ssh2container.admin.images.store.store import Store
from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.errors import SessionError
from ssh2container.kernel import idmapped, mounts
from ssh2container.plan.ranges import SHARED_TREES

_SEALED = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV
_ATTRIBUTES = mounts.ATTR_RDONLY | mounts.ATTR_NOSUID | mounts.ATTR_NODEV


def is_shown(store: Store) -> bool:
    """Tell whether the mount is there, shows this store's trees, and nobody can write through it."""
    return shows(SHARED_TREES, store)


def shows(place: str, store: Store) -> bool:
    """Tell whether ``place`` is a mount of the store's shifted trees through which nobody can write."""
    try:
        found, trees = os.stat(place), os.stat(store.shifted_trees)
        same = (found.st_dev, found.st_ino) == (trees.st_dev, trees.st_ino)
        return same and is_mount_point(place) and os.statvfs(place).f_flag & _SEALED == _SEALED
    except OSError:
        return False


def show(store: Store) -> bool:
    """Make the mount unless it is there, and say whether it had to be made. Raises SessionError."""
    if is_shown(store):
        return False
    store.prepare()
    hide()
    try:
        os.makedirs(SHARED_TREES, 0o755, exist_ok=True)
        tree = mounts.clone_tree(store.shifted_trees, recursive=False)
        try:
            mounts.set_attributes(tree, _ATTRIBUTES, recursive=False)
            mounts.attach(tree, SHARED_TREES)
        finally:
            os.close(tree)
    except OSError as error:
        raise SessionError(
            f"cannot show the images at {SHARED_TREES}",
            error.strerror or "",
            "run it as root of the host",
            "ranges",
            error.errno or 0,
        ) from None
    return True


def hide() -> None:
    """Take the mount away; sessions that run keep what they have."""
    while is_mount_point(SHARED_TREES):
        idmapped.detach(SHARED_TREES)
    with contextlib.suppress(OSError):
        os.rmdir(SHARED_TREES)

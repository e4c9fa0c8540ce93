"""The second tree of an image, for ``userns_mode: range``: the same files, ids in the set-aside range.

It costs the image's size again on the disk (nothing but the directory on btrfs and xfs, whose
copies share blocks), once per image, and nothing per login. The first tree stays owned by root: who
gets hold of an id of the range must not be able to change what single-map sessions run.
"""

from __future__ import annotations

import os

from ssh2container.admin.images import ids, manifest, ownership
from ssh2container.admin.images.durable import flush
from ssh2container.admin.images.store import Store, Version
from ssh2container.admin.images.streams import Progress
from ssh2container.errors import SessionError


def ensure(store: Store, version: Version, progress: Progress, range_: ids.Range | None = None) -> Version:
    """Make the shifted tree of ``version`` unless it is there, and return the version that says so.

    Raises SessionError when no range is set aside, or the disk is full (the store is unchanged).
    """
    wanted = range_ or ids.set_aside()
    if wanted is None:
        raise SessionError(
            "cannot make a tree for userns_mode: range",
            f"no ids are set aside for {ids.OWNER} in /etc/subuid and /etc/subgid",
            "run install.sh again: it sets them aside",
            step="image",
        )
    place = f"{store.tree(version)}/range-{wanted.base}"
    if version.info["range"] == [wanted.base, wanted.count] and os.path.isdir(place):
        return version
    if not os.path.isdir(place):
        with store.stage(wanted) as staging:
            progress("copying for the id range", 0, version.info["size"])
            copied = f"{staging.path}/copy"
            ownership.copy(f"{store.tree(version)}/root", copied)
            progress("shifting the ids", 0, 0)
            listing = manifest.read(f"{store.tree(version)}/{manifest.NAME}")
            ownership.put_on(copied, (ownership.on_disk(line, wanted.base) for line in listing))
            flush(copied)
            os.rename(copied, place)
    version.info["range"] = [wanted.base, wanted.count]
    store.update_info(version)
    return version

"""The second tree of an image, for sessions with a range of ids: the same files, in the set-aside range.

It costs the image's size again on the disk (nothing but the directory on btrfs and xfs, whose
copies share blocks), once per image, and nothing per login. The first tree stays owned by root: who
gets hold of an id of the range must not be able to change what single-map sessions run. Nor may they
change what the next user of the range runs: the second lies where root alone comes, and what others see
of it is a mount that is read-only (:mod:`.shown`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from ssh2container.admin.durable import flush, listed, remove
from ssh2container.admin.images import ids, manifest, ownership
from ssh2container.admin.images.store.store import Store, Version
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.images.unpack.streams import Progress

_FORMER = "range-"
"""How the name of a shifted tree began while it lay beside the other, where everybody could reach it."""


def is_there(store: Store, version: Version, range_: ids.Range | None = None) -> bool:
    """Tell whether ``version`` has a tree in the range, by default the set-aside one."""
    wanted = range_ or ids.set_aside()
    if wanted is None or version.info["range"] != [wanted.base, wanted.count]:
        return False
    return os.path.isdir(store.shifted(version, wanted.base))


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
    put_away(store, version)
    if is_there(store, version, wanted):
        return version
    place = store.shifted(version, wanted.base)
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


def take_back(store: Store, version: Version) -> None:
    """Undo :func:`ensure`."""
    remove(store.shifted(version, version.info["range"][0]))
    version.info["range"] = [0, 0]
    store.update_info(version)


def former(store: Store, version: Version) -> Iterator[str]:
    """Yield the shifted trees of ``version`` that lie where everybody can reach them."""
    tree = store.tree(version)
    for name in listed(tree):
        if name.startswith(_FORMER) and os.path.isdir(f"{tree}/{name}"):
            yield f"{tree}/{name}"


def put_away(store: Store, version: Version) -> bool:
    """Move what :func:`former` finds to where root alone comes, and say whether there was any.

    Its owners may have changed it, so it is of no use any more but to sessions that run in it; ``gc``
    removes it after them.
    """
    found = list(former(store, version))
    if found:
        store.prepare()
    for path in found:
        name = f"{version.hexadecimal}.{os.path.basename(path)}.{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, f"{store.path}/shifted/{name}")
    return bool(found)

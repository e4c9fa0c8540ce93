"""What an image may be made of: pure rules, applied to every member by name.

An image is hostile input. Each rule either refuses the member (:class:`HostileError`) or says how it is
neutralised. The unpacker, the only caller that acts, runs in a user namespace of unprivileged ids.
"""

from __future__ import annotations

import os
import stat
from typing import Any

NOBODY = 65534
"""The id that stands in for one that the id range cannot hold (user_namespaces(7))."""

BITS_REMOVED = "set-user-id and set-group-id bits removed"

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
_LONGEST_PATH_BYTES = 3072  # leaves room for the store's own directories below PATH_MAX (4096)
_DEEPEST = 128


class HostileError(Exception):
    """The member ``name`` must not be unpacked, because of ``why``; the import ends."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name = name
        self.why = why

    def __str__(self) -> str:
        return f"{self.name}: {self.why}" if self.name else self.why


class Limits:
    """How much an image may hold.

    size: bytes of all files together, holes counted as if written; entries: how many members,
    files removed again by a later layer included.
    """

    __slots__ = ("entries", "size")

    def __init__(self, size: int = 32 << 30, entries: int = 2_000_000) -> None:
        self.size = size
        self.entries = entries

    @classmethod
    def of(cls, origin: dict[str, Any]) -> Limits:
        """Return the limits of an earlier import, which :meth:`kept` has put into ``origin``."""
        usual = cls()
        return cls(origin.get("max_size", usual.size), origin.get("max_entries", usual.entries))

    def kept(self) -> dict[str, int]:
        """Return what an image's origin says about them: what it becomes later has the same."""
        return {"max_size": self.size, "max_entries": self.entries}


class Count:
    """What has been unpacked so far, held against ``limits``."""

    __slots__ = ("entries", "limits", "size")

    def __init__(self, limits: Limits, entries: int = 0, size: int = 0) -> None:
        self.limits = limits
        self.entries = entries
        self.size = size

    def add(self, name: str, size: int) -> None:
        """Count the member ``name`` of ``size`` bytes; raises HostileError beyond a limit."""
        self.entries += 1
        self.size += max(size, 0)
        if self.entries > self.limits.entries:
            raise HostileError(name, f"more than {self.limits.entries} entries; see --max-entries")
        if size < 0 or self.size > self.limits.size:
            raise HostileError(
                name, f"it makes the image larger than {self.limits.size} bytes; see --max-size"
            )


def member_path(name: str) -> str:
    """Return where in the image the member ``name`` belongs: relative, without ``.``, "" for the root.

    A leading slash is dropped, as every tar does. Raises HostileError for a name that leaves the image
    or that no tool of the host could handle afterwards.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise HostileError(name, "its name leads out of the image with ..")
    if len(parts) > _DEEPEST:
        raise HostileError(name[:200], f"it lies deeper than {_DEEPEST} directories")
    path = "/".join(parts)
    if len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise HostileError(name[:200], f"its path is longer than {_LONGEST_PATH_BYTES} bytes")
    return path


def link_target(name: str, target: str) -> str:
    """Return the path inside the image that the hard link ``name`` refers to; raises HostileError."""
    try:
        path = member_path(target)
    except HostileError:
        raise HostileError(name, f"it is a hard link to {target[:200]}, outside the image") from None
    if not path:
        raise HostileError(name, "it is a hard link to the root directory")
    return path


def whiteout(name: str, base: str) -> str | None:
    """Return what the last component ``base`` of a layer's member removes.

    None: nothing, it is an ordinary file. "": all that lower layers put into its directory. A name:
    that one. ``.wh..wh.plnk`` and its like, another union filesystem's bookkeeping, is the name of
    nothing. Raises HostileError for one that would remove something else (OCI image spec, layer.md).
    """
    if not base.startswith(WHITEOUT):
        return None
    if base == OPAQUE:
        return ""
    if base.startswith(_RESERVED):
        return base
    removed = base[len(WHITEOUT) :]
    if removed in ("", ".", ".."):
        raise HostileError(name, "it is a whiteout of its own directory or the one above")
    return removed


def is_bookkeeping(name: str, parent: str) -> bool:
    """Say whether a layer's member lies in a directory like ``.wh..wh.plnk``; such have no meaning here.

    Raises HostileError for one below any other whiteout.
    """
    for part in parent.split("/"):
        if part.startswith(_RESERVED):
            return True
        if part.startswith(WHITEOUT):
            raise HostileError(name, "it lies below a whiteout")
    return False


def mode(value: int) -> int:
    """Return the permission bits without set-user-id and set-group-id, which no session honours."""
    return stat.S_IMODE(value) & ~(stat.S_ISUID | stat.S_ISGID)


def keeps_attribute(key: str) -> bool:
    """Say whether the extended attribute ``key`` stays.

    Only ``user.`` ones, and of these not overlayfs' own, which would turn files into whiteouts or
    redirect directories (``user.overlay.*``, Documentation/filesystems/overlayfs.rst);
    ``security.capability`` would be rights, ``trusted.`` and ``system.`` mean other hosts' state.
    """
    return key.startswith("user.") and not key.startswith("user.overlay.")


def owner(value: int, count: int) -> int:
    """Return the id, or nobody when the range of ``count`` ids cannot hold it."""
    return value if 0 <= value < count else NOBODY


def moment(nanoseconds: int) -> int:
    """Return a time since 1970 that the system calls take; what it becomes is the filesystem's to say.

    Every filesystem puts the nearest time that it can hold in place of one that it cannot
    (ext4: 1901 to 2446, xfs without ``bigtime``: 1901 to 2038).
    """
    latest = (1 << 62) * 1_000_000_000
    return max(-latest, min(nanoseconds, latest))

"""Who could change a file: root alone, or somebody else too."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def weakness(path: str) -> str:
    """Return why somebody else than root could change ``path``, "" if nobody can.

    A directory counts with what it holds by name only: who can write there can replace it.
    An access list shows in the group bits of the mode, as its mask (acl(5)).
    """
    found = os.lstat(path)
    if found.st_uid != 0:
        return f"belongs to uid {found.st_uid}"
    if stat.S_ISLNK(found.st_mode):
        return ""
    others = found.st_mode & 0o002 or (found.st_mode & 0o020 and _has_members(found.st_gid))
    if others and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return f"is writable by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def _has_members(gid: int) -> bool:
    """Return whether anybody but root is in a group; Debian's "staff" is empty and owns /usr/local."""
    try:
        members = grp.getgrgid(gid).gr_mem
    except KeyError:
        return False
    return bool(members) or any(entry.pw_gid == gid and entry.pw_uid != 0 for entry in pwd.getpwall())


def way_to(path: str) -> Iterator[str]:
    """Yield every directory and link on the way to ``path``, and what it leads to."""
    seen: set[str] = set()
    waiting = [path]
    while waiting:
        current = os.path.normpath(waiting.pop())
        if current in seen:
            continue
        seen.add(current)
        yield current
        if os.path.islink(current):
            waiting.append(os.path.join(os.path.dirname(current), os.readlink(current)))
        if current != "/":
            waiting.append(os.path.dirname(current))

"""The directory that was the root of sessions: what is in it, bound where it was seen."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ssh2container.admin.foreign.told import unreadable

if TYPE_CHECKING:
    from ssh2container.admin.convert.tree import Text
    from ssh2container.admin.foreign.told import Subject, Told

MOST_ENTRIES = 32
"""Of the directory: so many volumes are still a policy that somebody reads."""
OWN = frozenset(
    ("bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "tmp",
     "usr", "var", "lost+found")
)  # fmt: skip
"""What a container has itself, or makes for the home."""
_DIFFERS = (
    "what is in it is bound where it was seen, beside the container's own /usr; what is put into it later is"
    " not seen until volumes names it"
)


def take(told: Told, subject: Subject, node: Text, chroot: str, name: str, inner: str) -> str:
    """Bind what sessions saw in ``chroot``; name: what it is called in the file at ``node``.

    inner: where the home is within it, if it is.
    Returns where sessions began: "" for the home, else the root.
    Raises PolicyError for a directory that is none, or that holds too much.
    """
    chroot = os.path.normpath(chroot)
    home = os.path.normpath(subject.account.home)
    try:
        entries = sorted(os.scandir(subject.root + chroot), key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(told.source, node.line, f"{name}: {chroot}: {error.strerror}") from None
    within = os.path.normpath(f"{chroot}/{inner}")
    seen = within != chroot and is_directory(subject.root + within)
    told.home = within if seen else ""
    told.apart = told.home != home
    first = inner.strip("/").split("/")[0] if seen else ""
    taken = OWN | {home.strip("/").split("/")[0]}
    wanted = [entry for entry in entries if entry.name not in taken and entry.name != first]
    if len(wanted) > MOST_ENTRIES:
        hint = "write a policy by hand: ssh2containerctl edit, then enable"
        found = f"{name}: {len(wanted)} files and directories in {chroot}"
        raise unreadable(told.source, node.line, found, f"{MOST_ENTRIES} at most", hint)
    for entry in wanted:
        path = f"{chroot.rstrip('/')}/{entry.name}"
        if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
            told.bind(node, path, f"/{entry.name}", f"{name}: {path}", read_only=False)
        else:
            told.leave(
                node, f"{name}: {path}", "a link, a device or a socket: only files and directories are bound"
            )
    others = [entry.name for entry in entries if entry.name in taken and entry.name != first]
    if others:
        told.leave(node, f"{name}: {', '.join(others)} in {chroot}", "a container has its own")
    if wanted:
        told.differ(node, f"{name} {chroot}", _DIFFERS)
    return "" if seen else "/"


def below(chroot: str, path: str) -> str:
    """Return what of ``path`` is below ``chroot``, "/" where it is not."""
    chroot, path = os.path.normpath(chroot), os.path.normpath(path)
    return path[len(chroot) :] if path.startswith(f"{chroot}/") else "/"


def is_directory(path: str) -> bool:
    """Tell whether ``path`` is a directory, and no link."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False

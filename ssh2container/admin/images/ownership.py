"""Owners and modes of the trees on the host's disk, which are not those that the image means.

Every user of the host can reach the trees, by paths that their uid, their groups or everybody may use. So
the tree of the single map belongs to root altogether and only root can write to it: an image's uid
1000 must not be the host's, its 1777 directories no place to leave files for others. In the tree of
the range map the owners are the image's, shifted. What the image means stands in the manifest.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterable, Iterator

from ssh2container.admin.images.manifest import Line
from ssh2container.errors import SessionError

_WRITABLE_BY_OTHERS = 0o022
_WRITABLE_BY_EVERYBODY = 0o002


def on_disk(line: Line, base: int | None) -> Line:
    """Return the manifest line ``line`` as it is on the disk.

    base: the first id of the range, for the shifted tree; None for the tree that belongs to root.
    """
    path, kind, mode, uid, gid, *rest = line
    writable = _WRITABLE_BY_OTHERS if base is None else _WRITABLE_BY_EVERYBODY
    shown = int(mode) if kind == "l" else int(mode) & ~writable
    owner, group = (0, 0) if base is None else (int(uid) + base, int(gid) + base)
    return [path, kind, shown, owner, group, *rest]


def as_meant(line: Line, base: int) -> Line:
    """Return ``line`` with the image's own modes, owned by the ids from ``base``: for unpacked files."""
    path, kind, mode, uid, gid, *rest = line
    return [path, kind, mode, int(uid) + base, int(gid) + base, *rest]


def put_on(root: str, lines: Iterable[Line]) -> None:
    """Give everything in ``root`` the modes and owners of ``lines``; no link is followed.

    Nobody else may reach the tree meanwhile. chown(2) clears s-bits and file capabilities, which
    an image does not have anyway.
    """
    for line in lines:
        path = f"{root}/{line[0]}"
        os.chown(path, int(line[3]), int(line[4]), follow_symlinks=False)
        if line[1] != "l":
            os.chmod(path, int(line[2]))


def writable(lines: Iterable[Line]) -> Iterator[tuple[str, int]]:
    """Yield (path, mode) of the directories that everybody may write to, as the image means it."""
    for line in lines:
        mode = int(line[2])
        if line[1] == "d" and mode & _WRITABLE_BY_EVERYBODY:
            yield "/" + str(line[0]), stat.S_IMODE(mode)


def copy(source: str, target: str) -> None:
    """Copy a whole tree: hard links, holes, times, attributes kept; blocks shared where possible."""
    argv = ["cp", "-a", "--reflink=auto", "--sparse=auto", source, target]
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if result.returncode:
        text = result.stderr.decode("utf-8", "backslashreplace").strip().splitlines()[-1:]
        raise SessionError("cannot copy the image", " ".join(text), "is the disk full?", step="image")


def give_times(source: str, target: str) -> None:
    """Give everything in the tree ``target`` the time that it has in ``source``, which holds the same."""
    for path, directories, files, descriptor in os.fwalk(source, topdown=False, follow_symlinks=False):
        place = os.path.join(target, os.path.relpath(path, source))
        for name in (*files, *directories):
            status = os.lstat(name, dir_fd=descriptor)
            if os.lstat(f"{place}/{name}").st_mtime_ns != status.st_mtime_ns:
                times = (status.st_mtime_ns, status.st_mtime_ns)
                os.utime(f"{place}/{name}", ns=times, follow_symlinks=False)

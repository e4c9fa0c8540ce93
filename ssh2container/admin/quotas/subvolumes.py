"""Quotas of btrfs: the group of a subvolume is limited in what it refers to (btrfs-qgroup(8))."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

from ssh2container.admin.quotas.quota import BEST, STEP, Means, Quota, Use, cannot
from ssh2container.errors import SessionError

_TOP_INODE = 256
"""The number of every subvolume's top directory (BTRFS_FIRST_FREE_OBJECTID)."""
_PATIENCE_S = 120.0
"""A transaction of a busy disk may take seconds."""
_ROW = re.compile(r"^0/\d+\s+(\d+)\s+\d+\s+(\d+|none)\s", re.MULTILINE)
"""The group of a subvolume itself; --format json of btrfs-progs 6.2 aborts where a limit is set."""


class Subvolume(Means):
    """A directory of btrfs. there: it, or what is there of the way to it."""

    def __init__(self, path: str, there: str, point: str) -> None:
        super().__init__(path)
        self._there = there
        self._point = point

    def require(self, quota: Quota) -> None:
        """See :class:`Means`."""
        if not can_make():
            raise cannot(self.path, "there is no program btrfs", f"apt-get install btrfs-progs, {BEST}")
        if quota.inodes is not None:
            raise cannot(self.path, "btrfs does not limit the number of files", f"home.inodes: none, {BEST}")
        try:
            _btrfs("qgroup", "show", "--raw", "-re", "-f", self._there)
        except SessionError as error:
            remedy = f"btrfs quota enable {shlex.quote(self._point)}, {BEST}"
            raise cannot(self.path, f"{self._point}: {error.why}", remedy) from None
        if self._there == self.path and os.lstat(self.path).st_ino != _TOP_INODE:
            place = shlex.quote(self.path)
            raise cannot(
                self.path,
                "it is a plain directory, and btrfs limits subvolumes",
                f"while nobody is logged in: mv {place} {place}.old; btrfs subvolume create {place}; cp -a"
                f" --reflink=always {place}.old/. {place}, {BEST}",
            )

    def use(self, project: int) -> Use | None:
        """See :class:`Means`."""
        if os.lstat(self.path).st_ino != _TOP_INODE:
            return None
        try:
            told = _btrfs("qgroup", "show", "--raw", "-re", "-f", self.path)
        except SessionError:
            return None  # no quotas any more
        row = _ROW.search(told)
        if row is None:
            return None
        return Use(int(row[1]), None if row[2] == "none" else int(row[2]), None, None)

    def set(self, quota: Quota, project: int) -> None:
        """See :class:`Means`."""
        _btrfs("qgroup", "limit", "none" if quota.size is None else str(quota.size), self.path)

    def clear(self, project: int) -> None:
        """See :class:`Means`."""
        use = self.use(project)
        if use is not None and use.size is not None:
            _btrfs("qgroup", "limit", "none", self.path)


def can_make() -> bool:
    """Whether the program is installed that makes and limits subvolumes."""
    return shutil.which("btrfs") is not None


def make(path: str) -> None:
    """Make a subvolume; raises SessionError."""
    _btrfs("subvolume", "create", path)


def _btrfs(*words: str) -> str:
    try:
        done = subprocess.run(
            ("btrfs", *words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise SessionError(
            f"btrfs {words[0]} {words[1]}", f"no end within {_PATIENCE_S:.0f} s", "", STEP
        ) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise SessionError(f"btrfs {' '.join(words)}", lines[-1].removeprefix("ERROR: "), "", STEP)
    return done.stdout

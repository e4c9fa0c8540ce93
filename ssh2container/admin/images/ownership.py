"""Whole trees shifted from one id range to another, by root, without following a link."""

from __future__ import annotations

import os
import stat
import subprocess

from ssh2container.admin.images import sandbox
from ssh2container.errors import SessionError


def shift(root: str, by: int) -> None:
    """Add ``by`` to the owner and group of everything in ``root``.

    Nobody else may reach the tree meanwhile. chown(2) clears s-bits and file capabilities, which
    an image does not have anyway. A hard link is moved once.
    """
    done: set[int] = set()
    for _, directories, files, descriptor in os.fwalk(root, follow_symlinks=False):
        own = os.fstat(descriptor)
        os.fchown(descriptor, own.st_uid + by, own.st_gid + by)
        for name in files + directories:
            status = os.lstat(name, dir_fd=descriptor)
            if stat.S_ISDIR(status.st_mode):
                continue
            if status.st_nlink > 1:
                if status.st_ino in done:
                    continue
                done.add(status.st_ino)
            os.chown(name, status.st_uid + by, status.st_gid + by, dir_fd=descriptor, follow_symlinks=False)


def copy(source: str, target: str) -> None:
    """Copy a whole tree: hard links, holes, times, attributes kept; blocks shared where possible."""
    argv = [sandbox.need("cp", "copying an image"), "-a", "--reflink=auto", "--sparse=auto", source, target]
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if result.returncode:
        text = result.stderr.decode("utf-8", "backslashreplace").strip().splitlines()[-1:]
        raise SessionError("cannot copy the image", " ".join(text), "is the disk full?", step="image")

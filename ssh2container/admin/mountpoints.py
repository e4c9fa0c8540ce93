"""Where something is mounted."""

from __future__ import annotations

import os


def is_mount_point(path: str) -> bool:
    """Tell whether a mount is at ``path`` itself, which is no link.

    By the number of the mount (proc_pid_fdinfo(5)): ``os.path.ismount`` goes by devices, and sees nothing
    where a directory is bound within one file system.
    """
    if path == "/":
        return True
    try:
        return number_of_mount(path) != number_of_mount(os.path.dirname(path))
    except OSError:
        return False


def number_of_mount(path: str, *, follow: bool = False) -> str:
    """Return the number of the mount that ``path`` is on. follow: where it is a link. Raises OSError."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
            return next(line.split()[1] for line in file if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)

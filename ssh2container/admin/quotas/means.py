"""Which means of limiting a directory its file system has."""

from __future__ import annotations

import os
from typing import NamedTuple

from ssh2container.admin import reachable
from ssh2container.admin.mountpoints import number_of_mount
from ssh2container.admin.quotas.projects import Projects
from ssh2container.admin.quotas.quota import BEST, Means, cannot
from ssh2container.admin.quotas.subvolumes import Subvolume
from ssh2container.kernel.answering import unescaped

_FIELDS_BEFORE_POINT = 4


class Mount(NamedTuple):
    """A mount: where, of which type, from which device."""

    point: str
    kind: str
    device: str


def of(path: str) -> Means:
    """Return how what is in ``path`` can be limited. It need not be there yet: then its parent decides.

    Raises SessionError where its file system knows no quotas of directories, or does not answer.
    """
    reachable.require(path, "a home with a quota")
    there = path
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    mount = mount_of(there)
    if mount.kind in ("ext4", "xfs"):
        return Projects(path, there, mount.kind, mount.point, mount.device)
    if mount.kind == "btrfs":
        return Subvolume(path, there, mount.point)
    raise cannot(
        path,
        f"{mount.point} is {mount.kind}, which limits no directories",
        f"keep it on ext4, xfs or btrfs, have its server limit it, {BEST}",
    )


def mount_of(path: str) -> Mount:
    """Return the mount that ``path`` is on (proc_pid_mountinfo(5))."""
    number = number_of_mount(path, follow=True)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            words, source = left.split(" "), right.split(" ")
            if words[0] == number:
                return Mount(unescaped(words[_FIELDS_BEFORE_POINT]), source[0], unescaped(source[1]))
    return Mount(path, "not mounted any more", "")

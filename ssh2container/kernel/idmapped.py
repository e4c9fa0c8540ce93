"""Mounts that show files under other ids: idmapped mounts (mount_setattr(2)). Only root can make one."""

from __future__ import annotations

import os

from . import libc, mounts, namespaces

_ATTR_IDMAP = 0x00100000


def clone_mapped(path: str, there: int, shown: int, count: int) -> int:
    """Return a detached, read-only copy of the mount at ``path`` that shows ``count`` ids as others.

    there: the first id on the disk; shown: what it is seen as. Other ids are seen as nobody's.
    Raises OSError; EINVAL where the file system cannot do it (Linux 5.12 for ext4, 5.15 for btrfs, 5.19
    for an overlay above it).
    """
    tree = mounts.clone_tree(path, recursive=False)
    try:
        namespace = _namespace(there, shown, count)
        try:
            attributes = mounts.ATTR_RDONLY | mounts.ATTR_NOSUID | mounts.ATTR_NODEV | _ATTR_IDMAP
            # struct mount_attr: attributes to set, to clear, propagation, the user namespace of the map
            request = attributes.to_bytes(8, "little") + bytes(16) + namespace.to_bytes(8, "little")
            libc.syscall("mount_setattr", tree, b"", libc.AT_EMPTY_PATH, request, len(request))
        finally:
            os.close(namespace)
    except BaseException:
        os.close(tree)
        raise
    return tree


def _namespace(there: int, shown: int, count: int) -> int:
    """Return a descriptor of a user namespace in which ``there`` is the host's ``shown``."""
    waits, ends = os.pipe()
    pid, pidfd = namespaces.clone(namespaces.CLONE_NEWUSER)
    if pid == 0:
        os.close(ends)
        os.read(waits, 1)  # until the other end is closed, by us or because we are gone
        os._exit(0)
    try:
        for name in ("uid_map", "gid_map"):
            namespaces.write_file(f"/proc/{pid}/{name}", f"{there} {shown} {count}")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ends)
        os.waitpid(pid, 0)
        os.close(waits)
        os.close(pidfd)


def detach(path: str) -> None:
    """Unmount what is at ``path``; who uses it keeps it (umount2(2), MNT_DETACH)."""
    libc.syscall("umount2", os.fsencode(path), mounts.MNT_DETACH)

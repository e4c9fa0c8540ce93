"""Mounting, by descriptor where somebody else could change the path in between.

Sources: mount(2), open_tree(2), move_mount(2), mount_setattr(2), openat2(2), pivot_root(2),
Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import posix as os

from ssh2container import paths

from . import libc

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

ATTR_RDONLY = 0x1
ATTR_NOSUID = 0x2
ATTR_NODEV = 0x4
ATTR_NOEXEC = 0x8

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

AT_FDCWD = libc.AT_FDCWD
AT_EMPTY_PATH = libc.AT_EMPTY_PATH
_OPEN_TREE_CLONE = 0x1
_EXDEV = 18
MOVE_ON_PATH = 0x4 | 0x10
"""MOVE_MOUNT_F_EMPTY_PATH and MOVE_MOUNT_T_SYMLINKS."""
MOVE_ON_DESCRIPTOR = 0x4 | 0x40
"""MOVE_MOUNT_F_EMPTY_PATH and MOVE_MOUNT_T_EMPTY_PATH."""


def mount(kind: str, target: str, flags: int, options: str) -> None:
    """Mount a new filesystem of ``kind`` (tmpfs, proc, devpts, overlay) on ``target``."""
    what = kind.encode()
    libc.syscall("mount", what, _path(target), what, flags, _path(options))


def bind(source: str, target: str) -> None:
    """Bind ``source`` on ``target``, one mount, both paths inside our own root."""
    libc.syscall("mount", _path(source), _path(target), None, MS_BIND, None)


def how_to_open(resolve: int) -> bytes:
    """Return the struct open_how that opens a path without touching it (O_PATH), resolved as demanded."""
    return (
        (os.O_PATH | os.O_CLOEXEC).to_bytes(8, "little")
        + bytes(8)
        + (resolve | RESOLVE_NO_MAGICLINKS).to_bytes(8, "little")
    )


def open_path(path: str, resolve: int = 0, *, directory: int = libc.AT_FDCWD) -> int:
    """Open ``path`` without touching it (O_PATH), resolved as ``resolve`` demands.

    Raises OSError; ELOOP where a symbolic link stands that ``resolve`` forbids, EXDEV where
    the path leaves its directory (openat2(2)).
    """
    how = how_to_open(resolve)
    return libc.syscall("openat2", directory, _path(path), how, len(how))


def leads_over_a_mount(path: str) -> bool:
    """Tell whether a mount point lies on the way to ``path``, without looking at what is mounted there."""
    try:
        os.close(open_path(path, RESOLVE_NO_XDEV))
    except OSError as error:
        return error.errno == _EXDEV
    return False


def clone_flags(*, recursive: bool) -> int:
    """Return the flags of open_tree(2) for a detached copy."""
    return _OPEN_TREE_CLONE | os.O_CLOEXEC | (libc.AT_RECURSIVE if recursive else 0)


def clone_tree(path: str, *, recursive: bool) -> int:
    """Return a descriptor of a detached copy of the mount (tree) at ``path``."""
    return libc.syscall("open_tree", libc.AT_FDCWD, _path(path), clone_flags(recursive=recursive))


def setattr_flags(*, recursive: bool) -> int:
    """Return the flags of mount_setattr(2) for a descriptor."""
    return libc.AT_EMPTY_PATH | (libc.AT_RECURSIVE if recursive else 0)


def attributes_request(attributes: int) -> bytes:
    """Return the struct mount_attr that adds ``attributes``."""
    return attributes.to_bytes(8, "little") + bytes(24)


def set_attributes(tree: int, attributes: int, *, recursive: bool) -> None:
    """Add ``attributes`` to every mount of ``tree``; flags already locked stay as they are.

    One call covers submounts too: a read-only bind whose submount stays writable is the classic
    mistake (mount_setattr(2)).
    """
    request = attributes_request(attributes)
    libc.syscall("mount_setattr", tree, b"", setattr_flags(recursive=recursive), request, len(request))


def attach(tree: int, target: str) -> None:
    """Attach the detached mount ``tree`` at ``target``, symbolic links followed."""
    libc.syscall("move_mount", tree, b"", libc.AT_FDCWD, _path(target), MOVE_ON_PATH)


def pivot_root(new_root: str) -> None:
    """Make ``new_root`` the root; the old one stays stacked on it until :func:`detach_old_root`."""
    os.chdir(new_root)
    libc.syscall("pivot_root", b".", b".")


def detach_old_root() -> None:
    """Drop the host's tree: nothing names it any more (pivot_root(2), NOTES)."""
    os.chdir("/")
    libc.syscall("umount2", b".", MNT_DETACH)


def _path(path: str) -> bytes:
    """Return ``path`` as the kernel reads it; a NUL inside would cut it short unseen."""
    encoded = paths.fsencode(path)
    if b"\0" in encoded:
        raise OSError(22, "the path has a NUL byte in it", path)  # EINVAL
    return encoded

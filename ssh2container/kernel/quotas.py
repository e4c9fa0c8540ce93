"""Disk quotas of projects, as ext4 and xfs have them: quotactl(2) and FS_IOC_FSSETXATTR.

Every file has the number of a project; a directory that is marked so hands its own on to what is made in it.
Space and inodes are counted by number, and limited for all processes without CAP_SYS_RESOURCE. The owner of a
file may give it another number, but not from within a user namespace (fileattr_set_prepare, fs/file_attr.c).
"""

from __future__ import annotations

import errno
import fcntl

from . import libc

_GETFSXATTR, _SETFSXATTR = 0x801C581F, 0x401C5820
_XFLAGS, _NUMBER = slice(0, 4), slice(12, 16)
"""Where struct fsxattr (linux/fs.h) has its flags and the project's number."""
_ATTRIBUTES_BYTES = 28
_PROJINHERIT = 0x200
_PROJECTS = 2
"""PRJQUOTA (linux/quota.h)."""
_GETQUOTA, _SETQUOTA, _GETSTATE = 0x800007, 0x800008, (ord("X") << 8) + 5
_ACCOUNTED, _ENFORCED = 1 << 4, 1 << 5
"""FS_QUOTA_PDQ_ACCT and FS_QUOTA_PDQ_ENFD (linux/dqblk_xfs.h)."""
_STATE_BYTES = 80
_BLOCK_BYTES = 1024
_QUOTA_WORDS, _QUOTA_BYTES = 8, 72
"""struct if_dqblk: hard limit, soft limit and use of space, the same of inodes, two times; what is valid."""
_LIMITS_VALID = 1 | 4


def enforced(descriptor: int) -> tuple[bool, bool]:
    """Return whether the file system counts by project, and whether it enforces limits."""
    state = bytearray(_STATE_BYTES)
    try:
        _quotactl(_GETSTATE, descriptor, 0, state)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ESRCH, errno.EINVAL, errno.EOPNOTSUPP):
            return False, False
        raise
    flags = int.from_bytes(state[2:4], "little")
    return bool(flags & _ACCOUNTED), bool(flags & _ENFORCED)


def usage(descriptor: int, project: int) -> tuple[int, int, int, int]:
    """Return the bytes and inodes that a project uses, and its limits on both; 0 is no limit."""
    quota = bytearray(_QUOTA_BYTES)
    try:
        _quotactl(_GETQUOTA, descriptor, project, quota)
    except OSError as error:
        if error.errno != errno.ENOENT:  # what xfs says of a number that it has not met yet
            raise
    blocks, _, used, inodes, _, count = (
        int.from_bytes(quota[8 * at : 8 * at + 8], "little") for at in range(_QUOTA_WORDS - 2)
    )
    return used, count, blocks * _BLOCK_BYTES, inodes


def limit(descriptor: int, project: int, size: int, inodes: int) -> None:
    """Limit a project to ``size`` bytes, rounded up to KiB, and to so many inodes; 0 is no limit."""
    blocks = -(-size // _BLOCK_BYTES)
    words = (blocks, 0, 0, inodes, 0, 0, 0, 0)
    quota = b"".join(word.to_bytes(8, "little") for word in words) + _LIMITS_VALID.to_bytes(8, "little")
    _quotactl(_SETQUOTA, descriptor, project, bytearray(quota))


def project(descriptor: int) -> tuple[int, bool]:
    """Return the project of an open file, and whether a directory hands it on to what is made in it."""
    attributes = _attributes(descriptor)
    flags = int.from_bytes(attributes[_XFLAGS], "little")
    return int.from_bytes(attributes[_NUMBER], "little"), bool(flags & _PROJINHERIT)


def assign(descriptor: int, number: int, *, inherited: bool) -> None:
    """Give an open file to a project. inherited: for a directory, whether it hands that on."""
    attributes = _attributes(descriptor)
    flags = int.from_bytes(attributes[_XFLAGS], "little")
    flags = flags | _PROJINHERIT if inherited else flags & ~_PROJINHERIT
    attributes[_XFLAGS] = flags.to_bytes(4, "little")
    attributes[_NUMBER] = number.to_bytes(4, "little")
    fcntl.ioctl(descriptor, _SETFSXATTR, attributes)


def _attributes(descriptor: int) -> bytearray:
    attributes = bytearray(_ATTRIBUTES_BYTES)
    fcntl.ioctl(descriptor, _GETFSXATTR, attributes)
    return attributes


def _quotactl(command: int, descriptor: int, number: int, data: bytearray) -> None:
    libc.syscall("quotactl_fd", descriptor, command << 8 | _PROJECTS, number, data)

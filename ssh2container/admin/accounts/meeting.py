"""/run/ssh2container/users: where sessions of users make their own runtime directory whom nobody has enabled.

Whoever a group's policy admits needs no step on each host, so what ``enable`` makes as root may be
missing. Root lays one directory for all of them: sticky and write-only, so that nobody can list it, nor
remove or rename what another has made, and on a small file system of its own, so that whoever fills it
fills nothing else.
Another uid may still make the name first; the login sees whose it is and says so, and ``enable`` gives a
directory where nobody else can write.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat

from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.errors import SessionError
from ssh2container.kernel import idmapped, mounts
from ssh2container.record.registry import SHARED

_FLAGS = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
_OPTIONS = "mode=1733,size=64m,nr_inodes=131072"
_QUOTA = ",usrquota,usrquota_block_hardlimit=2m,usrquota_inode_hardlimit=1000"
"""Each uid's part (tmpfs(5); Linux 6.6, where it was built in)."""


def is_laid() -> bool:
    """Tell whether the directory is there, root's, sticky, and a file system of its own."""
    try:
        found = os.lstat(SHARED)
    except OSError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == 0
    return ours and stat.S_IMODE(found.st_mode) == 0o1733 and is_mount_point(SHARED)  # noqa: PLR2004


def lay() -> bool:
    """Make it unless it is there, and say whether it had to be made. Raises SessionError."""
    if is_laid():
        return False
    try:
        os.makedirs(SHARED, 0o755, exist_ok=True)
        if is_mount_point(SHARED):
            idmapped.detach(SHARED)
        with contextlib.suppress(OSError):
            mounts.mount("tmpfs", SHARED, _FLAGS, _OPTIONS + _QUOTA)
            return True
        mounts.mount("tmpfs", SHARED, _FLAGS, _OPTIONS)
    except OSError as error:
        raise SessionError(
            f"cannot mount {SHARED}",
            error.strerror or "",
            "run it as root of the host",
            "enrol",
            error.errno or 0,
        ) from None
    return True


def squatter(uid: int) -> str:
    """Return who has made the place of ``uid`` there, "" where that is the user or nobody."""
    try:
        owner = os.lstat(f"{SHARED}/{uid}").st_uid
    except OSError:
        return ""
    if owner == uid:
        return ""
    try:
        return f"{pwd.getpwuid(owner).pw_name} (uid {owner})"
    except KeyError:
        return f"uid {owner}"

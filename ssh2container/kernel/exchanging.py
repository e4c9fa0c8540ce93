"""Two names that change places in one step (renameat2(2))."""

from __future__ import annotations

from ssh2container import paths

from . import libc

_RENAME_EXCHANGE = 2


def exchange(one: str, other: str) -> None:
    """Have two directories of one file system change their names; nobody ever finds one name missing.

    Raises OSError: EINVAL where the file system cannot, EXDEV for two of them or a lower layer of overlayfs.
    """
    names = [paths.fsencode(path) + b"\0" for path in (one, other)]
    libc.syscall("renameat2", libc.AT_FDCWD, names[0], libc.AT_FDCWD, names[1], _RENAME_EXCHANGE)

"""The directory below /run/ssh2container that a user's sessions share: made, kept through boots, removed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from typing import TYPE_CHECKING

from ssh2container import paths
from ssh2container.admin.account import Account
from ssh2container.admin.change import Change, WriteFile, make_directories, remove_directories
from ssh2container.admin.durable import remove as remove_tree
from ssh2container.admin.sessions import unlisted
from ssh2container.record import registry

if TYPE_CHECKING:
    pass

RUNTIME = paths.RUNTIME
_PRIVATE = 0o700
TMPFILES = "/etc/tmpfiles.d"


class RuntimeDirectory(Change):
    """/run/ssh2container/UID: the user's own, so that nobody can forge another's entries."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.path = f"{RUNTIME}/{account.uid}"
        self._made: list[str] = []
        self._former: os.stat_result | None = None

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"make {self.path} (mode 700, owner {self.account.name})"

    def done(self) -> bool:
        """See :class:`Change`."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return (
            stat.S_ISDIR(found.st_mode)
            and stat.S_IMODE(found.st_mode) == _PRIVATE
            and (found.st_uid, found.st_gid) == (self.account.uid, self.account.gid)
        )

    def do(self) -> None:
        """See :class:`Change`."""
        self._former = None
        if os.path.lexists(self.path):
            self._former = os.lstat(self.path)
            if not stat.S_ISDIR(self._former.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.path)
        self._made = make_directories(RUNTIME)
        try:
            if self._former is None:
                os.mkdir(self.path, 0o700)
            self._give(self.account.uid, self.account.gid, 0o700)
        except BaseException:
            self.undo()
            raise

    def _give(self, uid: int, gid: int, mode: int) -> None:
        os.chown(self.path, uid, gid, follow_symlinks=False)
        os.chmod(self.path, mode)

    def undo(self) -> None:
        """See :class:`Change`; what was there before is as it was."""
        if self._former is not None:
            self._give(self._former.st_uid, self._former.st_gid, stat.S_IMODE(self._former.st_mode))
        else:
            shutil.rmtree(self.path, ignore_errors=True)
            remove_directories(self._made)


def tmpfiles_entry(account: Account) -> WriteFile:
    """Return the change that makes the runtime directory come back after a boot (tmpfiles.d(5))."""
    text = f"# {account.name}\nd {RUNTIME}/{account.uid} 0700 {account.uid} {account.gid} -\n"
    return WriteFile(entry_of(account.uid), text)


def entry_of(uid: int) -> str:
    """Return the file of :func:`tmpfiles_entry`: who has it is enabled, or is being enabled."""
    return f"{TMPFILES}/ssh2container-{uid}.conf"


class RemoveRuntimeDirectory(RuntimeDirectory):
    """The reverse of :class:`RuntimeDirectory`; sessions that still run keep their entries in it."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._in_use = False
        self._made_by_user = f"{registry.SHARED}/{account.uid}"

    def describe(self) -> str:
        """See :class:`Change`."""
        if self._in_use:
            return f"leave {self.path} for the sessions that are still running"
        return f"remove {self.path}"

    def done(self) -> bool:
        """See :class:`Change`."""
        self._in_use = any(unlisted.monitors((self.account.uid,)))
        return self._in_use or not (os.path.lexists(self.path) or os.path.lexists(self._made_by_user))

    def do(self) -> None:
        """See :class:`Change`."""
        if os.path.lexists(self.path):
            shutil.rmtree(self.path)
        if os.path.lexists(self._made_by_user):
            remove_tree(self._made_by_user)

    def undo(self) -> None:
        """See :class:`Change`."""
        super().do()

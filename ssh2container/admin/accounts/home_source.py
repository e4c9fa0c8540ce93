"""The directory on the host that a policy keeps as a user's home: made as useradd(8) would."""

from __future__ import annotations

import os
import shlex
import shutil
import stat

from ssh2container.admin import reachable
from ssh2container.admin.account import Account
from ssh2container.admin.change import Change, make_directories, remove_directories
from ssh2container.admin.quotas import subvolumes
from ssh2container.errors import SessionError

_SKIPPED_IN_SKEL = (".ssh",)


def bringing(account: Account, former: str, path: str) -> str:
    """Return the command that brings the home of a renamed user along, "" where there is none to bring.

    former, path: the places of the user's home under the former name, and under the one of today.
    """
    try:
        found = os.lstat(former)
    except OSError:
        return ""
    if former == path or not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid:
        return ""
    return "" if os.path.lexists(path) else f"mv -nT {shlex.quote(former)} {shlex.quote(path)}"


def require_roots_own(path: str, what: str) -> None:
    """Refuse a place where somebody else could put a link under our feet; some of it may be missing.

    what: what cannot be done then, for the SessionError that is raised.
    """
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    while True:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise SessionError(
                what,
                f"{path} is a link, not root's, or writable by others",
                "choose a source whose parent directories only root can change",
                "enrol",
            )
        if path == "/":
            return
        path = os.path.dirname(path)


class HomeSource(Change):
    """The directory that the policy binds as home, filled from skel when it is new."""

    def __init__(self, account: Account, path: str, skel: str | None, *, subvolume: bool = False) -> None:
        """``subvolume``: make it one of btrfs, which limits nothing else."""
        self.subvolume = subvolume
        self.account = account
        self.path = path
        self.skel = skel
        self._made: list[str] = []

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"make the home {self.path} (mode 700, owner {self.account.name})"

    def done(self) -> bool:
        """See :class:`Change`; whether what is there can be used, the login says that is tried afterwards."""
        reachable.require(self.path, f"the home of {self.account.name}'s sessions")
        try:
            os.lstat(self.path)
        except FileNotFoundError:
            return False
        except OSError:
            pass  # a file system whose server is gone, say
        return True

    def do(self) -> None:
        """Make it beside its place and rename it, so that half a home is never seen."""
        parent = os.path.dirname(self.path)
        require_roots_own(parent, f"cannot make the home {self.path}")
        self._made = make_directories(parent)
        beside = f"{self.path}.new-{os.getpid()}"
        try:
            subvolumes.make(beside) if self.subvolume else os.mkdir(beside, 0o700)
            if self.skel and os.path.isdir(self.skel):
                shutil.copytree(
                    self.skel,
                    beside,
                    symlinks=True,
                    dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns(*_SKIPPED_IN_SKEL),
                )
            os.chmod(beside, 0o700)
            # From below: what the user owns, and can put links into, is nowhere that root still has to go.
            for directory, below, names in os.walk(beside, topdown=False):
                for name in (*below, *names):
                    self._give(os.path.join(directory, name))
            self._give(beside)
            os.rename(beside, self.path)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            remove_directories(self._made)
            raise

    def _give(self, path: str) -> None:
        os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def undo(self) -> None:
        """See :class:`Change`."""
        shutil.rmtree(self.path)
        remove_directories(self._made)

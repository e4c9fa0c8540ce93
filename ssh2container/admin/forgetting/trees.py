"""Trees of people who are gone: measured, archived and removed, following no link and leaving no file system.

du(1), tar(1) and rm(1) open each directory below the one that they hold, and no link; what is above has to be
root's own, so that nobody can put a link there either (:func:`require_roots_own`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import time

from ssh2container.admin import durable
from ssh2container.admin.accounts.home_source import require_roots_own
from ssh2container.admin.change import Change, make_directories, remove_directories
from ssh2container.errors import SessionError

ARCHIVES = "/var/lib/ssh2container/archive"
"""Where homes are archived unless somebody says otherwise, for root alone."""
_PRIVATE_DIRECTORY, _PRIVATE = 0o700, 0o600


def size(path: str) -> int | None:
    """Return the bytes that a file or a tree takes on its disk; None where that cannot be told."""
    try:
        answer = subprocess.run(
            ["du", "-sxB1", "--", path], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        return int(answer.stdout.split()[0])
    except (OSError, ValueError, IndexError):
        return None


def same(path: str) -> tuple[int, int]:
    """Return what tells a directory from another that comes into its place. Raises OSError."""
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{path} is no directory")
    return found.st_dev, found.st_ino


class RemoveForGood(Change):
    """A tree that is not there any more, and does not come back."""

    def __init__(self, path: str) -> None:
        """Raise OSError where there is no such directory."""
        self.path = path
        self._same = same(path)

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"remove {self.path} for good"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not os.path.lexists(self.path)

    def do(self) -> None:
        """See :class:`Change`."""
        if same(self.path) != self._same:
            raise SessionError(f"cannot remove {self.path}", "another directory has its place", step="forget")
        durable.remove(self.path)
        if os.path.lexists(self.path):
            raise SessionError(
                f"cannot remove all of {self.path}",
                "some of it is immutable, mounted, or on a file system that is read-only",
                f"see what is left: find {self.path} -ls",
                "forget",
            )

    def undo(self) -> None:
        """Say that it cannot be: what is removed is gone."""
        raise SessionError(f"cannot bring {self.path} back", "it was removed for good", step="forget")


class Archive(Change):
    """A tree in a file that only root can read, complete and on the disk before anything else happens.

    path: of the tree. directory: where the file is to be. label: how its name begins.
    """

    def __init__(self, path: str, directory: str, label: str) -> None:
        self.path = path
        self.directory = directory
        self._packer, end = ("--zstd", "zst") if shutil.which("zstd") else ("--gzip", "gz")
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.file = f"{directory}/{label}-{moment}.tar.{end}"
        self._made: list[str] = []

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"archive {self.path} in {self.file}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return False

    def do(self) -> None:
        """See :class:`Change`; a file that is not complete is removed."""
        require_roots_own(self.directory, f"cannot archive {self.path} in {self.directory}")
        self._made = make_directories(self.directory, _PRIVATE_DIRECTORY)
        partial = f"{self.file}.part"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
        try:
            self._pack(descriptor)
            os.fsync(descriptor)
            os.link(partial, self.file)  # not rename(2): that would replace another archive
        except BaseException:
            remove_directories(self._made)
            raise
        finally:
            os.close(descriptor)
            os.unlink(partial)
        with durable.locked(self.directory) as held:
            os.fsync(held)

    def _pack(self, descriptor: int) -> None:
        parent, name = os.path.split(self.path)
        command = [
            "tar", "--create", "--one-file-system", "--numeric-owner", "--sparse", "--acls", "--xattrs",
            self._packer, "--directory", parent, "--file", "-", "--", name,
        ]  # fmt: skip
        try:
            answer = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=subprocess.PIPE, check=False
            )
        except FileNotFoundError:
            raise SessionError(
                f"cannot archive {self.path}", "there is no tar", "install tar", "forget"
            ) from None
        if answer.returncode:
            said = answer.stderr.decode("utf-8", "replace").strip().replace("\n", "; ")
            raise SessionError(f"cannot archive {self.path}", said, "nothing of it was removed", "forget")

    def undo(self) -> None:
        """See :class:`Change`."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.file)
        remove_directories(self._made)

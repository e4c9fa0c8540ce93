"""Quotas of ext4 and xfs: everything in a directory belongs to a project, whose use is limited."""

from __future__ import annotations

import errno
import os
import shlex
import stat

from ssh2container.admin.quotas.quota import BEST, Means, Quota, Use, cannot
from ssh2container.kernel import mounts, quotas

_HERE = mounts.RESOLVE_NO_XDEV | mounts.RESOLVE_NO_SYMLINKS
_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Projects(Means):
    """A directory of ext4 or xfs. there: it, or what is there of the way to it."""

    def __init__(self, path: str, there: str, kind: str, point: str, device: str) -> None:
        super().__init__(path)
        self._there = there
        self._kind = kind
        self._point = point
        self._device = device

    def require(self, quota: Quota) -> None:  # both can be limited, or neither
        """See :class:`Means`."""
        descriptor = os.open(self._there, os.O_PATH | os.O_CLOEXEC)
        try:
            counted, enforced = quotas.enforced(descriptor)
        finally:
            os.close(descriptor)
        if not enforced:
            state = "counts what projects use, and limits nothing" if counted else "has no project quotas"
            raise cannot(
                self.path, f"{self._point} ({self._kind}) {state}", f"{self._remedy(counted=counted)}; {BEST}"
            )

    def _remedy(self, *, counted: bool) -> str:
        if self._point == "/":
            option = "boot with rootflags=prjquota"
        else:
            option = f"add prjquota to its options in /etc/fstab, and mount {shlex.quote(self._point)} anew"
        if self._kind == "xfs" or counted:
            return option
        where = "from a rescue system" if self._point == "/" else "unmount it"
        return f"{where}: tune2fs -O project,quota -Q prjquota {self._device}; {option}"

    def use(self, project: int) -> Use | None:
        """See :class:`Means`."""
        descriptor = self._open()
        try:
            if not project or quotas.project(descriptor) != (project, True):
                return None
            if not quotas.enforced(descriptor)[1]:
                return None
            used, count, size, inodes = quotas.usage(descriptor, project)
        finally:
            os.close(descriptor)
        return Use(used, size or None, count, inodes or None)

    def belongs_to(self) -> int:
        """Return the directory's project, 0 for none."""
        descriptor = self._open()
        try:
            return quotas.project(descriptor)[0]
        finally:
            os.close(descriptor)

    def is_in_use(self, project: int) -> bool:
        """Whether the file system has files, or a limit, of the project."""
        descriptor = os.open(self._there, os.O_PATH | os.O_CLOEXEC)
        try:
            return any(quotas.usage(descriptor, project))
        finally:
            os.close(descriptor)

    def set(self, quota: Quota, project: int) -> None:
        """See :class:`Means`. The limit comes first: nobody outruns the walk by making more and more."""
        descriptor = self._open()
        try:
            former = quotas.project(descriptor)[0]
            if former not in (0, project):
                raise cannot(
                    self.path,
                    f"it belongs to project {former}, which somebody else limits",
                    f"take it out first: chattr -R -p 0 {shlex.quote(self.path)}; {BEST}",
                )
            quotas.limit(descriptor, project, quota.size or 0, quota.inodes or 0)
            try:
                self._give(descriptor, project)
            except BaseException:
                if former == 0:
                    self._give(descriptor, 0)
                    quotas.limit(descriptor, project, 0, 0)
                raise
        finally:
            os.close(descriptor)

    def clear(self, project: int) -> None:
        """See :class:`Means`."""
        descriptor = self._open()
        try:
            if quotas.project(descriptor)[0] == project:
                self._give(descriptor, 0, former=project)
            if quotas.enforced(descriptor)[0]:
                quotas.limit(descriptor, project, 0, 0)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        """Open the directory, without a link on the way: its user may have put one there."""
        return _reading(mounts.open_path(self.path, mounts.RESOLVE_NO_SYMLINKS))

    def _give(self, descriptor: int, project: int, *, former: int | None = None) -> None:
        """Give all that is in an open directory to ``project``. former: only what is of that one.

        Its user may change the tree meanwhile: a directory is given away before it is listed, so what is made
        in it later belongs to the project, and nothing that does not can be moved into it (rename(2), EXDEV).
        """
        quotas.assign(descriptor, project, inherited=project != 0)
        waiting = [(os.dup(descriptor), iter(os.listdir(descriptor)))]
        try:
            while waiting:
                directory, names = waiting[-1]
                for name in names:
                    below = self._given(directory, name, project, former)
                    if below is not None:
                        waiting.append((below, iter(os.listdir(below))))
                        break
                else:
                    os.close(waiting.pop()[0])
        finally:
            for directory, _ in waiting:
                os.close(directory)

    def _given(self, directory: int, name: str, project: int, former: int | None) -> int | None:
        """Give one file to ``project``; return a descriptor of it where it is a directory."""
        below = None
        try:
            place = mounts.open_path(name, _HERE, directory=directory)
            if stat.S_IFMT(os.fstat(place).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                os.close(place)
                return None  # opening a pipe or a device may do something
            below = _reading(place)
            found = quotas.project(below)[0]
            is_directory = stat.S_ISDIR(os.fstat(below).st_mode)
            if former in (None, found):
                quotas.assign(below, project, inherited=is_directory and project != 0)
            if is_directory:
                kept, below = below, None
                return kept
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise cannot(self.path, "it has directories in directories beyond counting", BEST) from None
            if error.errno == errno.EWOULDBLOCK:
                why = f"its owner holds a lease on {name} (fcntl(2), F_SETLEASE)"
                raise cannot(self.path, why, "try again in a minute, when it has been broken") from None
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EXDEV):  # gone, a link, another mount
                raise
        finally:
            if below is not None:
                os.close(below)
        return None


def _reading(place: int) -> int:
    """Open for reading what an O_PATH descriptor, which is closed, refers to."""
    try:
        return os.open(f"/proc/self/fd/{place}", _READING)
    finally:
        os.close(place)

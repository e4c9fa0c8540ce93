"""Unpacks one tar stream into the current root: the program that runs inside the sandbox.

It is started by ``layers.apply`` as ``root`` of a user namespace whose ids are all unprivileged
outside, reads the tar on standard input and reports on standard output, one JSON object a line:
``{"entries": n, "size": n}`` now and then, at the end ``{"done": …}`` or ``{"member": …, "error": …}``.
Symbolic links are followed only after chroot(2) into the image, so none can lead outside.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
import tarfile
import time
from typing import IO

from ssh2container.admin.images import safety
from ssh2container.admin.images.safety import Count, HostileError, Limits
from ssh2container.errors import printable

_CHUNK = 1 << 20
_REPORT_SECONDS = 0.2
_ZEROS = bytes(_CHUNK)
_XATTR_PREFIX = "SCHILY.xattr."


class DamagedError(Exception):
    """The archive ends too early or holds something that is no header."""


class _Member(tarfile.TarInfo):
    """A header that tells a broken archive from its end; the library takes one for the other."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Member:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            if not tarfile_.offset:
                raise
            raise DamagedError(str(error)) from None


class Unpacker:
    """Puts members into the directory tree below the current root.

    layered: whiteouts have their meaning and names of earlier layers may change their type.
    count: what the image holds so far; ids: how many ids the range holds.
    """

    def __init__(self, count: Count, ids: int, *, layered: bool) -> None:
        self._count = count
        self._ids = ids
        self._layered = layered
        self._mine: set[str] = set()
        self._times: dict[str, float] = {}
        self._parent = ""
        self._directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        self.neutralised: dict[str, list[str]] = {}
        """What was done, to which members (the first few of each)."""

    def unpack(self, stream: IO[bytes]) -> None:
        """Unpack the whole tar ``stream``; raises HostileError, DamagedError, OSError."""
        last, told = "", time.monotonic()
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member, errorlevel=2) as tar:
                while (member := tar.next()) is not None:
                    last = member.name
                    self._one(tar, member)
                    tar.members.clear()  # type: ignore[attr-defined]  # or it keeps every header
                    if time.monotonic() - told > _REPORT_SECONDS:
                        told = time.monotonic()
                        report(entries=self._count.entries, size=self._count.size)
        except (tarfile.TarError, DamagedError, EOFError, ValueError) as error:
            raise DamagedError(f"after {last}: {error}" if last else str(error)) from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, last) from None
        except MemoryError:
            raise HostileError(last, "the header after it does not fit into memory") from None
        for path, mtime in sorted(self._times.items(), reverse=True):
            self._set_times(path, mtime)

    def _one(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = member.name
        path = safety.member_path(name)
        self._count.add(name, member.size if member.isreg() else 0)
        if not path:
            if not member.isdir():
                raise HostileError(name, "the root of the image is not a directory")
            return
        parent, _, base = path.rpartition("/")
        if self._layered and safety.is_bookkeeping(name, parent):
            return
        if self._layered and (removed := safety.whiteout(name, base)) is not None:
            self._white_out(parent, removed)
            return
        if member.isdev():
            self._note("devices and FIFOs left out", name)
            return
        self._enter(parent, name)
        self._mine.add(path)
        if member.isdir():
            self._make_directory(base, path, member)
        elif member.islnk():
            self._link(base, member)
        elif member.issym():
            self._replace(base)
            os.symlink(member.linkname, base, dir_fd=self._directory)
            self._own(base, member)
            times = (safety.seconds(member.mtime),) * 2
            os.utime(base, times, dir_fd=self._directory, follow_symlinks=False)
        else:
            self._write(tar, base, member)

    def _enter(self, parent: str, name: str) -> None:
        """Make the directory that will hold ``name`` current, creating what is missing."""
        if parent == self._parent:
            return
        try:
            descriptor = self._open_directory(parent)
        except FileNotFoundError:
            self._make_parents(parent)
            descriptor = self._open_directory(parent)
        except NotADirectoryError:
            if not self._layered:
                raise HostileError(name, "what should be its directory is a file") from None
            self._make_parents(parent)
            descriptor = self._open_directory(parent)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise HostileError(name, "its directory is a loop of symbolic links") from None
            raise
        os.close(self._directory)
        self._directory, self._parent = descriptor, parent

    @staticmethod
    def _open_directory(path: str) -> int:
        return os.open("/" + path, os.O_RDONLY | os.O_DIRECTORY)

    def _make_parents(self, path: str) -> None:
        made = ""
        for part in path.split("/"):
            made += "/" + part
            try:
                if stat.S_ISDIR(os.stat(made).st_mode):
                    continue
                os.unlink(made)
            except FileNotFoundError:
                if os.path.islink(made):
                    # /var/run may well lead to a /run that the image leaves to its host.
                    os.makedirs(os.path.realpath(made), 0o755)
                    continue
            os.mkdir(made, 0o755)

    def _replace(self, base: str) -> None:
        """Remove what stands where a member goes."""
        try:
            os.unlink(base, dir_fd=self._directory)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            shutil.rmtree(base, dir_fd=self._directory)

    def _make_directory(self, base: str, path: str, member: tarfile.TarInfo) -> None:
        try:
            if not stat.S_ISDIR(os.lstat(base, dir_fd=self._directory).st_mode):
                self._replace(base)
                os.mkdir(base, 0o700, dir_fd=self._directory)
        except FileNotFoundError:
            os.mkdir(base, 0o700, dir_fd=self._directory)
        self._own(base, member)
        self._set_mode(base, member)
        self._times[path] = safety.seconds(member.mtime)

    def _link(self, base: str, member: tarfile.TarInfo) -> None:
        target = safety.link_target(member.name, member.linkname)
        self._replace(base)
        try:
            os.link("/" + target, base, dst_dir_fd=self._directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            raise HostileError(
                member.name, f"it is a hard link to {target[:200]}, which is no file of the image"
            ) from None

    def _write(self, tar: tarfile.TarFile, base: str, member: tarfile.TarInfo) -> None:
        self._replace(base)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(base, flags, 0o600, dir_fd=self._directory)
        try:
            source = tar.extractfile(member)
            left = member.size
            while source is not None and left:
                chunk = source.read(min(_CHUNK, left))
                if not chunk:
                    raise DamagedError("the file is shorter than its header says")
                left -= len(chunk)
                if chunk == _ZEROS:
                    os.lseek(descriptor, len(chunk), os.SEEK_CUR)
                    continue
                view = memoryview(chunk)
                while view:
                    view = view[os.write(descriptor, view) :]
            os.ftruncate(descriptor, member.size)  # the last of it may be a hole
            self._own_open(descriptor, member)
            self._set_attributes(descriptor, member)
            os.fchmod(descriptor, self._mode(member))
            mtime = safety.seconds(member.mtime)
            os.utime(descriptor, (mtime, mtime))
        finally:
            os.close(descriptor)

    def _ids_of(self, member: tarfile.TarInfo) -> tuple[int, int]:
        uid, gid = safety.owner(member.uid, self._ids), safety.owner(member.gid, self._ids)
        if (uid, gid) != (member.uid, member.gid):
            self._note(f"owner beyond the {self._ids} ids of an image, now nobody", member.name)
        return uid, gid

    def _own(self, base: str, member: tarfile.TarInfo) -> None:
        os.chown(base, *self._ids_of(member), dir_fd=self._directory, follow_symlinks=False)

    def _own_open(self, descriptor: int, member: tarfile.TarInfo) -> None:
        os.fchown(descriptor, *self._ids_of(member))

    def _mode(self, member: tarfile.TarInfo) -> int:
        mode = safety.mode(member.mode)
        if mode != stat.S_IMODE(member.mode):
            self._note("set-user-id and set-group-id bits removed", member.name)
        return mode

    def _set_mode(self, base: str, member: tarfile.TarInfo) -> None:
        os.chmod(base, self._mode(member), dir_fd=self._directory)

    def _set_attributes(self, descriptor: int, member: tarfile.TarInfo) -> None:
        for header, value in member.pax_headers.items():
            if not header.startswith(_XATTR_PREFIX):
                continue
            key = header[len(_XATTR_PREFIX) :]
            if not safety.keeps_attribute(key):
                self._note(f"extended attribute {key} removed", member.name)
                continue
            try:
                os.setxattr(descriptor, key, value.encode("utf-8", "surrogateescape"))
            except OSError:
                self._note("extended attributes that the store cannot hold removed", member.name)

    @staticmethod
    def _set_times(path: str, mtime: float) -> None:
        try:
            os.utime("/" + path, (mtime, mtime), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return  # a later member replaced it

    def _white_out(self, parent: str, removed: str) -> None:
        try:
            directory = self._open_directory(parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            for base in os.listdir(directory) if not removed else (removed,):
                path = f"{parent}/{base}" if parent else base
                if path not in self._mine:
                    self._remove_lower(directory, base, path)
        finally:
            os.close(directory)

    def _remove_lower(self, directory: int, base: str, path: str) -> None:
        """Remove ``path``, but nothing that this very layer has put there."""
        try:
            status = os.lstat(base, dir_fd=directory)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(base, dir_fd=directory)
        elif any(mine.startswith(path + "/") for mine in self._mine):
            self._white_out(path, "")
        else:
            shutil.rmtree(base, dir_fd=directory)
            self._parent = "\0"  # no path: the directory we have open may be gone

    def _note(self, what: str, name: str) -> None:
        names = self.neutralised.setdefault(what, [])
        names.append(name)
        shown = 20
        if len(names) > shown:
            names[shown:] = []


def report(**values: object) -> None:
    """Tell the caller."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Unpack standard input into the directory ``arguments[0]`` as the JSON in ``arguments[1]`` says."""
    settings = json.loads(arguments[1])
    sys.setrecursionlimit(10_000)
    count = Count(
        Limits(settings["max_size"], settings["max_entries"]), settings["entries"], settings["size"]
    )
    printable("\n")  # its codec is a module: nothing can be imported after chroot(2)
    os.chroot(arguments[0])
    os.chdir("/")
    os.umask(0o022)
    unpacker = Unpacker(count, settings["ids"], layered=settings["layered"])
    try:
        unpacker.unpack(sys.stdin.buffer)
        # What follows the end marker is read too, or whoever writes it would die of SIGPIPE.
        while sys.stdin.buffer.read(_CHUNK):
            pass
    except HostileError as error:
        report(member=printable(error.name), error=error.why)
        return 1
    except DamagedError as error:
        report(damaged=True, error=printable(str(error)))
        return 1
    except OSError as error:
        report(member=printable(str(error.filename or "")), errno=error.errno, error=error.strerror)
        return 1
    report(done=True, entries=count.entries, size=count.size, neutralised=unpacker.neutralised)
    return 0

# Longer than 300 lines: every kind of member is written into one tree, by the same open directories.
"""Unpacks tar streams into the current root: the program that runs inside the sandbox.

It is started by ``streams.unpack`` as ``root`` of a user namespace whose ids are all unprivileged
outside. On the socket that is its standard input comes a JSON object for each tar, with a descriptor to
read it from; it reports on standard output, one JSON object a line: ``{"entries": n, "size": n}`` now and
then, at the end of each tar ``{"done": …}``, or ``{"member": …, "error": …}`` and no more.
Symbolic links are followed only after chroot(2) into the image, so none can lead outside.
"""

from __future__ import annotations

import _socket
import errno
import gzip
import json
import os
import shutil
import stat
import sys
import time
import zlib
from typing import IO, Any

from ssh2container.admin.images.unpack import headers, rules
from ssh2container.admin.images.unpack.fields import DamagedError
from ssh2container.admin.images.unpack.headers import Member, Tar
from ssh2container.admin.images.unpack.rules import Count, HostileError, Limits
from ssh2container.errors import printable
from ssh2container.run import packets

_CHUNK = 1 << 20
_REPORT_SECONDS = 0.2
_ZEROS = bytes(_CHUNK)
_LEFT_OUT = "devices and FIFOs left out"


class Unpacker:
    """Puts members into the directory tree below the current root.

    count: what the image holds so far; ids: how many ids the range holds.
    """

    def __init__(self, count: Count, ids: int) -> None:
        self._count = count
        self._ids = ids
        self._layered = False
        self._mine: set[str] = set()
        self._times: dict[str, int] = {}
        self._touched: set[str] = set()  # directories in which this tar changed something
        self._left_out: set[str] = set()
        self._links: list[tuple[str, Member]] = []
        self._parent = ""
        self._directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        self.neutralised: dict[str, list[str]] = {}
        """What was done, to which members (the first few of each)."""

    def unpack(self, stream: IO[bytes], *, layered: bool, whole: bool) -> None:
        """Unpack the tar ``stream``; raises HostileError, DamagedError, OSError.

        layered: whiteouts have their meaning and names of earlier layers may change their type.
        whole: see headers.Tar.
        """
        self._layered = layered
        last, told = "", time.monotonic()
        tar = Tar(stream, whole=whole)
        try:
            for member in tar.members():
                last = member.name
                self._one(tar, member)
                if time.monotonic() - told > _REPORT_SECONDS:
                    told = time.monotonic()
                    report(entries=self._count.entries, size=self._count.size)
            last = ""
            self._link_later()
        except (DamagedError, EOFError, ValueError, gzip.BadGzipFile, zlib.error) as error:
            raise DamagedError(f"after {last}: {error}" if last else str(error)) from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, last) from None
        except MemoryError:
            raise HostileError(last, "what follows it does not fit into memory") from None
        for path in self._touched & self._times.keys():
            self._set_times(path, self._times[path])
        self._mine.clear()
        self._touched.clear()

    def _one(self, tar: Tar, member: Member) -> None:
        name = member.name
        for note in member.notes:
            self._note(note, name)
        if member.kind == headers.IGNORED:
            return
        path = rules.member_path(name)
        self._count.add(name, member.size if member.kind == headers.FILE else 0)
        if not path:
            if member.kind != headers.DIRECTORY:
                raise HostileError(name, "the root of the image is not a directory")
            return
        parent, _, base = path.rpartition("/")
        if self._layered and rules.is_bookkeeping(name, parent):
            return
        if self._layered and (removed := rules.whiteout(name, base)) is not None:
            self._white_out(parent, removed)
            return
        self._enter(parent, name)
        self._mine.add(path)
        self._touched.add(parent)
        self._times.pop(path, None)
        if member.kind == headers.DEVICE:
            self._leave_out(base, path, name)
            return
        self._left_out.discard(path)
        if member.kind == headers.DIRECTORY:
            self._make_directory(base, path, member)
        elif member.kind == headers.LINK:
            self._link(tar, base, path, member)
        elif member.kind == headers.SYMLINK:
            self._replace(base)
            os.symlink(member.link, base, dir_fd=self._directory)
            self._own(base, member)
            self._set_attributes(None, member)
            times = (rules.moment(member.mtime),) * 2
            os.utime(base, ns=times, dir_fd=self._directory, follow_symlinks=False)
        else:
            self._replace(base)
            self._write(tar, base, member)

    def _leave_out(self, base: str, path: str, name: str) -> None:
        self._replace(base)
        self._left_out.add(path)
        self._note(_LEFT_OUT, name)

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

    def _make_directory(self, base: str, path: str, member: Member) -> None:
        try:
            if not stat.S_ISDIR(os.lstat(base, dir_fd=self._directory).st_mode):
                self._replace(base)
                os.mkdir(base, 0o700, dir_fd=self._directory)
        except FileNotFoundError:
            os.mkdir(base, 0o700, dir_fd=self._directory)
        self._own(base, member)
        if member.attributes:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            descriptor = os.open(base, flags, dir_fd=self._directory)
            try:
                self._set_attributes(descriptor, member)
            finally:
                os.close(descriptor)
        os.chmod(base, self._mode(member), dir_fd=self._directory)
        self._times[path] = rules.moment(member.mtime)
        self._touched.add(path)

    def _link(self, tar: Tar, base: str, path: str, member: Member) -> None:
        """Make the hard link ``member``; one to a name that comes later is made at the end."""
        target = rules.link_target(member.name, member.link)
        if target in self._left_out:
            self._leave_out(base, path, member.name)
            return
        try:
            there = os.lstat("/" + target)
        except (FileNotFoundError, NotADirectoryError):
            self._replace(base)
            if member.size:
                self._write(tar, base, member)
            else:
                self._links.append((path, member))
            return
        if stat.S_ISDIR(there.st_mode):
            raise _no_file(member, target)
        try:
            if os.path.samestat(there, os.lstat(base, dir_fd=self._directory)):
                return  # tar was told to pack the same place twice
        except FileNotFoundError:
            pass
        self._replace(base)
        try:
            os.link("/" + target, base, dst_dir_fd=self._directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            raise _no_file(member, target) from None
        if member.size and stat.S_ISREG(there.st_mode):
            self._write(tar, base, member)  # with each name comes the content (pax -o linkdata)

    def _link_later(self) -> None:
        """Make the links to names that came after them, in any order; raises HostileError."""
        while self._links:
            waiting, self._links = self._links, []
            for path, member in waiting:
                parent, _, base = path.rpartition("/")
                self._enter(parent, member.name)
                try:
                    os.lstat(base, dir_fd=self._directory)
                except FileNotFoundError:
                    self._link(_NO_DATA, base, path, member)
            if len(self._links) == len(waiting):
                member = waiting[0][1]
                raise _no_file(member, rules.link_target(member.name, member.link))

    def _write(self, tar: Tar, base: str, member: Member) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        descriptor = os.open(base, flags, 0o600, dir_fd=self._directory)
        try:
            at = 0
            for offset, chunk in tar.data(member):
                if chunk == _ZEROS:
                    continue
                if offset != at:
                    os.lseek(descriptor, offset, os.SEEK_SET)
                at = offset + len(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[os.write(descriptor, view) :]
            os.ftruncate(descriptor, member.size)  # the last of it may be a hole
            self._own_open(descriptor, member)
            self._set_attributes(descriptor, member)
            os.fchmod(descriptor, self._mode(member))
            mtime = rules.moment(member.mtime)
            os.utime(descriptor, ns=(mtime, mtime))
        finally:
            os.close(descriptor)

    def _ids_of(self, member: Member) -> tuple[int, int]:
        uid, gid = rules.owner(member.uid, self._ids), rules.owner(member.gid, self._ids)
        if (uid, gid) != (member.uid, member.gid):
            self._note(f"owner beyond the {self._ids} ids of an image, now nobody", member.name)
        return uid, gid

    def _own(self, base: str, member: Member) -> None:
        os.chown(base, *self._ids_of(member), dir_fd=self._directory, follow_symlinks=False)

    def _own_open(self, descriptor: int, member: Member) -> None:
        os.fchown(descriptor, *self._ids_of(member))

    def _mode(self, member: Member) -> int:
        mode = rules.mode(member.mode)
        if mode != stat.S_IMODE(member.mode):
            self._note(rules.BITS_REMOVED, member.name)
        return mode

    def _set_attributes(self, descriptor: int | None, member: Member) -> None:
        """Give the open file the attributes that stay; None: a symbolic link, which can have none."""
        for key, value in member.attributes.items():
            if descriptor is None or not rules.keeps_attribute(key):
                self._note(f"extended attribute {key} removed", member.name)
                continue
            try:
                os.setxattr(descriptor, key, value)
            except OSError:
                self._note("extended attributes that the store cannot hold removed", member.name)

    @staticmethod
    def _set_times(path: str, mtime: int) -> None:
        try:
            os.utime("/" + path, ns=(mtime, mtime), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return  # a later member replaced it

    def _white_out(self, parent: str, removed: str) -> None:
        self._touched.add(parent)
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


_NO_DATA = Tar(open(os.devnull, "rb"), whole=True)  # noqa: SIM115 - as long as the process


def _no_file(member: Member, target: str) -> HostileError:
    why = f"it is a hard link to {target[:200]}, which is not a file of the image"
    return HostileError(member.name, why)


def report(**values: object) -> None:
    """Tell the caller."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Unpack into the directory ``arguments[0]`` what comes, as the JSON in ``arguments[1]`` says."""
    settings = json.loads(arguments[1])
    limits = Limits(settings["max_size"], settings["max_entries"])
    count = Count(limits, settings["entries"], settings["size"])
    printable("\n")  # its codec is a module: nothing can be imported after chroot(2)
    channel = _socket.socket(fileno=0)
    os.chroot(arguments[0])
    os.chdir("/")
    os.umask(0o022)
    unpacker = Unpacker(count, settings["ids"])
    while True:
        kind, content, descriptor = packets.receive(channel)
        if not kind:
            return 0
        with open(descriptor, "rb", buffering=_CHUNK) as file:
            if not _unpacked(unpacker, file, json.loads(content)):
                return 1
        told, unpacker.neutralised = unpacker.neutralised, {}
        report(done=True, entries=count.entries, size=count.size, neutralised=told)


def _unpacked(unpacker: Unpacker, file: IO[bytes], settings: dict[str, Any]) -> bool:
    """Unpack one tar and say whether that went well; the caller is told why not."""
    stream: Any = gzip.GzipFile(fileobj=file) if settings["gzip"] else file
    try:
        unpacker.unpack(stream, layered=settings["layered"], whole=settings["whole"])
        # What follows the end marker is read too, or whoever writes it would die of SIGPIPE.
        while stream.read(_CHUNK):
            pass
    except HostileError as error:
        report(member=printable(error.name), error=error.why)
    except (DamagedError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        report(damaged=True, error=printable(str(error)))
    except OSError as error:
        report(member=printable(str(error.filename or "")), errno=error.errno, error=error.strerror)
    else:
        return True
    return False

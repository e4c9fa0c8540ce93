"""A cpio archive on standard input as a tar on standard output: newc, crc, odc, and binary of both orders.

Each form names a file of several names in its own way. newc and crc give the content with the last name
only and the others a size of 0, odc and binary give it with each. Names of one file have its inode's number.
After an archive may come another, as kernels read an initrd; what else follows is not looked at.
Sources: cpio(5), Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
"""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import sys
import tarfile
from collections.abc import Iterator
from typing import IO

_NEWC, _CRC, _ODC = b"070701", b"070702", b"070707"
_LITTLE, _BIG = b"\xc7\x71", b"\x71\xc7"
MAGICS = (_NEWC, _CRC, _ODC, _LITTLE, _BIG)
_MAGIC_BYTES = 6
_TRAILER = b"TRAILER!!!"
_LONGEST_NAME = 1 << 16
_CHUNK = 1 << 16
_FEW_LINKS = 1


class DamagedError(Exception):
    """The archive ends early, or holds something that is no header."""


class Header:
    """One header: the fields that a tar has too, and how many bytes pad name and content."""

    __slots__ = ("check", "gid", "key", "links", "mode", "mtime", "name", "name_size", "pad", "size", "uid")

    def __init__(self, magic: bytes, file: IO[bytes]) -> None:
        if magic in (_NEWC, _CRC):
            fields = [_digits(word, 16) for word in struct.unpack("8s" * 13, _exactly(file, 104))]
            inode, self.mode, self.uid, self.gid, self.links, self.mtime, self.size, *rest = fields
            self.key, self.name_size, self.check = (rest[0], rest[1], inode), rest[4], rest[5]
            self.pad, before = 4, 110
        elif magic == _ODC:
            words = struct.unpack("6s6s6s6s6s6s6s11s6s11s", _exactly(file, 70))
            fields = [_digits(word, 8) for word in words]
            self.key = (fields[0], 0, fields[1])
            self.mode, self.uid, self.gid, self.links, _, self.mtime, self.name_size, self.size = fields[2:]
            self.pad, before = 1, 76
        else:
            order = "<" if magic[:2] == _LITTLE else ">"
            fields = list(struct.unpack(order + "13H", magic[:2] + magic[2:] + _exactly(file, 20)))
            self.key = (fields[1], 0, fields[2])
            self.mode, self.uid, self.gid, self.links = fields[3:7]
            self.mtime, self.name_size = fields[8] << 16 | fields[9], fields[10]
            self.size, self.pad, before = fields[11] << 16 | fields[12], 2, 26
        if magic != _CRC:
            self.check = -1
        if not 0 < self.name_size <= _LONGEST_NAME:
            raise DamagedError(f"a name is {self.name_size} bytes long")
        self.name = _exactly(file, self.name_size).partition(b"\0")[0]
        _exactly(file, -(before + self.name_size) % self.pad)


class Archives:
    """The headers of the archives that ``file`` begins with. rest: where something else follows, or 0."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.rest = 0

    def __iter__(self) -> Iterator[Header]:
        """Yield each header; the caller reads content and padding. Raises DamagedError."""
        magic = self._file.read(_MAGIC_BYTES)
        if not _is_header(magic):
            raise DamagedError("it is not a cpio archive")
        while _is_header(magic):
            while (header := Header(magic, self._file)).name != _TRAILER:
                yield header
                magic = _exactly(self._file, _MAGIC_BYTES)
                if not _is_header(magic):
                    raise DamagedError("a cpio header is missing where one is required")
            magic = self._next()

    def _next(self) -> bytes:
        """Return the first bytes of what follows, past the zeros that fill a block."""
        magic = self._file.read(_MAGIC_BYTES)
        while magic and not magic.strip(b"\0"):
            magic = self._file.read(_MAGIC_BYTES)
        found = magic.lstrip(b"\0")
        magic = found + self._file.read(_MAGIC_BYTES - len(found))
        if magic and self._file.seekable() and not _is_header(magic):
            self.rest = self._file.tell() - len(magic)
        return magic


class _Content(io.RawIOBase):
    """The content of one member, as tarfile wants it; adds up the bytes for ``crc``."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file, self._left, self.sum = file, size, 0

    def read(self, size: int = -1) -> bytes:
        data = _exactly(self._file, self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self.sum += sum(data)
        return data


class Converter:
    """Writes members to ``tar``, and keeps track of those that are one file."""

    def __init__(self, file: IO[bytes], tar: tarfile.TarFile) -> None:
        self._file = file
        self._tar = tar
        self._linked: dict[tuple[int, ...], str] = {}
        self._waiting: dict[tuple[int, ...], list[tarfile.TarInfo]] = {}

    def convert(self) -> None:
        """Write all; raises DamagedError."""
        for header in Archives(self._file):
            self._one(header)
            _exactly(self._file, -header.size % header.pad)
            self._tar.members.clear()  # type: ignore[attr-defined]  # or it keeps every header
        for key in list(self._waiting):
            self._empty(key)

    def _one(self, header: Header) -> None:
        info = tarfile.TarInfo(header.name.decode("utf-8", "surrogateescape"))
        info.mode, info.uid, info.gid = stat.S_IMODE(header.mode), header.uid, header.gid
        info.mtime = header.mtime
        kind = stat.S_IFMT(header.mode)
        if kind == stat.S_IFREG:
            self._file_of(info, header)
            return
        content = _exactly(self._file, header.size) if header.size <= _LONGEST_NAME else None
        if content is None:
            raise DamagedError(f"{info.name} is no file and has {header.size} bytes")
        if kind == stat.S_IFDIR:
            info.type = tarfile.DIRTYPE
        elif kind == stat.S_IFLNK:
            info.type = tarfile.SYMTYPE
            info.linkname = content.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        else:
            info.type = tarfile.FIFOTYPE  # devices, sockets: the unpacker reports and leaves them out
        self._tar.addfile(info)

    def _file_of(self, info: tarfile.TarInfo, header: Header) -> None:
        shared = header.links > _FEW_LINKS
        if shared and header.key in self._linked:
            for _ in _chunks(self._file, header.size):
                pass
            self._link(info, header.key)
        elif shared and not header.size:
            names = self._waiting.setdefault(header.key, [])
            names.append(info)
            if len(names) == header.links:
                self._empty(header.key)
        else:
            info.size = header.size
            content = _Content(self._file, header.size)
            self._tar.addfile(info, content)
            if header.check >= 0 and content.sum & 0xFFFFFFFF != header.check:
                raise DamagedError(f"{info.name} does not match its checksum")
            if shared:
                self._linked[header.key] = info.name
                for name in self._waiting.pop(header.key, []):
                    self._link(name, header.key)

    def _empty(self, key: tuple[int, ...]) -> None:
        """Write a file of several names, none of which came with any content."""
        first, *others = self._waiting.pop(key)
        self._tar.addfile(first)
        self._linked[key] = first.name
        for name in others:
            self._link(name, key)

    def _link(self, info: tarfile.TarInfo, key: tuple[int, ...]) -> None:
        info.type, info.linkname = tarfile.LNKTYPE, self._linked[key]
        self._tar.addfile(info)


def rest(file: IO[bytes]) -> int:
    """Return where what follows the archives at the beginning of ``file`` begins, 0 if nothing does."""
    archives = Archives(file)
    for header in archives:
        file.seek(header.size + -header.size % header.pad, os.SEEK_CUR)
    return archives.rest


def _is_header(magic: bytes) -> bool:
    return magic in (_NEWC, _CRC, _ODC) or (len(magic) == _MAGIC_BYTES and magic[:2] in (_LITTLE, _BIG))


def _digits(word: bytes, base: int) -> int:
    try:
        return int(word.strip(b" \0") or b"0", base)
    except ValueError:
        raise DamagedError(f"{word!r} in a header is not a number") from None


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size) if size else b""
    if len(data) < size:
        raise DamagedError("the archive ends early")
    return data


def _chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        data = _exactly(file, min(size, _CHUNK))
        size -= len(data)
        yield data


def main(arguments: list[str]) -> int:
    """Write the tar; with ``rest``, print where what follows the archives begins."""
    file = open(0, "rb", buffering=_CHUNK)  # noqa: SIM115 - as long as the process
    try:
        if arguments == ["rest"]:
            sys.stdout.write(json.dumps(rest(file)))
            return 0
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            Converter(file, tar).convert()
        while file.read(_CHUNK):
            pass  # or whoever writes it would die of SIGPIPE
    except DamagedError as error:
        sys.stderr.write(f"the cpio archive is damaged or cut short: {error}\n")
        return 1
    return 0

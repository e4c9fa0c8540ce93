"""The members of a tar, whichever program wrote it: each header is read as its own dialect means it.

What bytes mean depends on the magic: 345 to 500 are a part of the name in POSIX headers and times in
GNU ones, 257 to 512 mean nothing at all before 1988. Python's tarfile does not ask, takes a damaged header
for the end, dumped directories and volume labels for files, and has no way to be told otherwise.
Sources: tar(5) of libarchive, POSIX pax(1), the GNU tar manual ("Tar Internals"), star(5).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import IO
from urllib.parse import unquote_to_bytes

from ssh2container.admin.images.unpack import fields
from ssh2container.admin.images.unpack.fields import DamagedError
from ssh2container.admin.images.unpack.rules import HostileError

BLOCK = 512
_CHUNK = 1 << 20
_LARGEST_HEADER = 16 << 20
_MOST_EXTENTS = 1 << 20
_ZEROS = bytes(BLOCK)
_POSIX = b"ustar\0"

FILE, LINK, SYMLINK, DIRECTORY, DEVICE, IGNORED = "file", "link", "symlink", "directory", "device", "ignored"
_KINDS = {
    b"\0": FILE, b"0": FILE, b"7": FILE, b"S": FILE, b"1": LINK, b"2": SYMLINK, b"3": DEVICE, b"4": DEVICE,
    b"5": DIRECTORY, b"6": DEVICE, b"D": DIRECTORY, b"V": IGNORED, b"A": IGNORED, b"E": IGNORED,
}  # fmt: skip
"""D: a directory and the names in it (GNU, incremental); V: a volume's label; A, E: Solaris' access lists
and attributes. Any other is a file that a later standard knows more about (POSIX pax, typeflag)."""
_WITHOUT_DATA = frozenset(b"123456")
_SOLARIS = {b"A": "access control lists removed", b"E": "extended attributes of Solaris removed"}


class Member:
    """One member. size: bytes of the file, holes included; mtime: nanoseconds since 1970.

    attributes: extended attributes by name; extents: (offset, length) of what is no hole, None for a
    file without holes; notes: sentences about what cannot be kept.
    """

    __slots__ = (
        "attributes", "extents", "gid", "kind", "link", "mode", "mtime", "name", "notes", "size", "stored",
        "uid",
    )  # fmt: skip

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.mode = self.uid = self.gid = self.size = self.stored = self.mtime = 0
        self.link = ""
        self.attributes: dict[str, bytes] = {}
        self.extents: list[tuple[int, int]] | None = None
        self.notes: list[str] = []


class Tar:
    """The archive that ``file`` yields, from its beginning.

    whole: somebody vouches that nothing is missing (a digest, a decompressor's own check), so an archive
    may do without its end mark, and without the padding of its last member.
    """

    def __init__(self, file: IO[bytes], *, whole: bool) -> None:
        self._file = file
        self._whole = whole
        self._seen = b""
        self._left = 0
        self._padding = 0
        self._everywhere: dict[bytes, bytes] = {}

    def members(self) -> Iterator[Member]:
        """Yield the members in order; raises DamagedError, HostileError for a giant header."""
        own: dict[bytes, bytes] = {}
        long: dict[bytes, bytes] = {}
        while (block := self._header()) is not None:
            kind = block[156:157]
            if kind in (b"L", b"K"):
                key = b"path" if kind == b"L" else b"linkpath"
                long[key] = self._whole_of(block).partition(b"\0")[0]
            elif kind in (b"x", b"X"):
                own.update(fields.records(self._whole_of(block)))
            elif kind == b"g":
                self._everywhere.update(fields.records(self._whole_of(block)))
            else:
                member = self._member(block, {**self._everywhere, **long, **own})
                own, long = {}, {}
                yield member
                self.skip()

    def data(self, member: Member) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of what is stored of ``member``, the one that was yielded last."""
        for start, length in [(0, member.stored)] if member.extents is None else member.extents:
            at, end = start, start + length
            while at < end:
                chunk = self._read(min(_CHUNK, end - at))
                self._left -= len(chunk)
                yield at, chunk
                at += len(chunk)

    def skip(self) -> None:
        """Go to the end of the member that was yielded last."""
        while self._left:
            self._left -= len(self._read(min(_CHUNK, self._left)))
        if self._padding:
            found = len(self._take(self._padding))
            if found < self._padding and not self._whole:
                raise DamagedError("the archive ends in the middle of a block")
            self._padding = 0

    def _take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end of the file."""
        before, self._seen = self._seen[:size], self._seen[size:]
        return before + self._file.read(size - len(before)) if len(before) < size else before

    def _read(self, size: int) -> bytes:
        found = self._take(size)
        if len(found) < size:
            raise DamagedError("the archive ends in the middle of a file")
        return found

    def _header(self) -> bytes | None:
        """Return the next header, None at the archive's end."""
        block = self._take(BLOCK)
        if not block.strip(b"\0"):
            if block or self._whole:
                return None
            raise DamagedError("the archive has no end mark, so it may be cut short")
        if len(block) < BLOCK:
            raise DamagedError("the archive ends in the middle of a header")
        if not is_header(block):
            raise DamagedError("a header is missing where one is required")
        self._measure(fields.number(block[124:136], "size"))
        return block

    def _measure(self, size: int) -> None:
        if size < 0:
            raise DamagedError("a size is negative")
        self._left, self._padding = size, -size % BLOCK

    def _whole_of(self, block: bytes) -> bytes:
        size = self._left
        if size > _LARGEST_HEADER:
            name = fields.text(block[:100].partition(b"\0")[0])
            raise HostileError(name, f"it is a header of {size} bytes, more than {_LARGEST_HEADER}")
        content = self._read(size)
        self._left = 0
        self.skip()
        return content

    def _member(self, block: bytes, words: dict[bytes, bytes]) -> Member:
        flag, name = block[156:157], words.get(b"GNU.sparse.name") or words.get(b"path") or _name(block)
        member = Member(fields.text(name), _KINDS.get(flag, FILE))
        if flag == b"M" or words.get(b"GNU.volume.offset", b"0").strip(b"0"):
            raise DamagedError(f"{member.name} continues a file of another volume: join the volumes first")
        if flag not in _KINDS:
            member.notes.append(f"of the unknown type {fields.text(flag)!r}, taken for a file")
        elif flag in _SOLARIS:
            member.notes.append(_SOLARIS[flag])
        member.mode = fields.number(block[100:108], "mode")
        member.uid = fields.decimal(words.get(b"uid"), fields.number(block[108:116], "uid"))
        member.gid = fields.decimal(words.get(b"gid"), fields.number(block[116:124], "gid"))
        member.mtime = fields.nanoseconds(
            words.get(b"mtime"), fields.number(block[136:148], "mtime") * 1_000_000_000
        )
        member.link = fields.text(words.get(b"linkpath") or block[157:257].partition(b"\0")[0])
        size = fields.decimal(words.get(b"size"), self._left)
        if flag[0] in _WITHOUT_DATA and size and self._header_follows():
            size = 0  # many a tar gives the size of what a link refers to, of a directory, and no data
        self._measure(size)
        member.size = member.stored = size
        if member.kind == FILE and not size and member.name.endswith("/"):
            member.kind = DIRECTORY  # as tars before 1988 wrote them
        if member.kind == DIRECTORY:
            member.name = member.name.rstrip("/") or "/"
        if member.kind == FILE:
            self._sparse(member, block, words)
        _attributes(member, words)
        return member

    def _header_follows(self) -> bool:
        self._seen = self._take(BLOCK)
        return not self._seen.strip(b"\0") or (len(self._seen) == BLOCK and is_header(self._seen))

    # -- files with holes ----------------------------------------------------------------------

    def _sparse(self, member: Member, block: bytes, words: dict[bytes, bytes]) -> None:
        """Find out where the holes are, in any of the four forms of GNU tar."""
        if block[156:157] == b"S":
            numbers, real = self._old_sparse(block)
        elif words.get(b"GNU.sparse.major") == b"1":
            numbers, real = self._sparse_in_data(), fields.decimal(words.get(b"GNU.sparse.realsize"), 0)
        elif b"GNU.sparse.map" in words or b"GNU.sparse.size" in words:
            text = words.get(b"GNU.sparse.map", b"")
            numbers = [fields.decimal(word, -1) for word in text.split(b",")] if text else []
            real = fields.decimal(words.get(b"GNU.sparse.size"), 0)
        else:
            return
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        # A file that grew while it was packed goes on behind the size that it had before.
        member.size = max([real, *(start + length for start, length in pairs)])
        member.stored, member.extents = self._left, pairs
        if (
            len(numbers) % 2
            or any(number < 0 for number in numbers)
            or sum(length for _, length in pairs) != self._left
        ):
            raise DamagedError(f"the list of holes of {member.name} does not fit its size")

    def _old_sparse(self, block: bytes) -> tuple[list[int], int]:
        real = fields.number(block[483:495], "size")
        numbers = fields.pairs(block[386:482])
        more = block[482]
        while more:
            block = self._read(BLOCK)
            numbers += fields.pairs(block[:504])
            more = block[504]
            if len(numbers) > _MOST_EXTENTS:
                raise DamagedError("a file has too many holes")
        return numbers, real

    def _sparse_in_data(self) -> list[int]:
        """Read the list that stands before the data itself (version 1.0), a number a line."""
        text = b""
        lines: list[bytes] = []
        count = -1
        while count < 0 or len(lines) < count:
            if self._left < BLOCK:
                raise DamagedError("the list of a file's holes is incomplete")
            self._left -= BLOCK
            *found, text = (text + self._read(BLOCK)).split(b"\n")
            lines += found
            if count < 0 and lines:
                count = 2 * fields.decimal(lines.pop(0), -1)
                if not 0 <= count <= _MOST_EXTENTS:
                    raise DamagedError("a file has too many holes")
        return [fields.decimal(line, -1) for line in lines[:count]]


def is_header(block: bytes) -> bool:
    """Say whether ``block`` has a header's checksum; some old tars added up signed characters."""
    field = block[148:156].partition(b"\0")[0].strip()
    if not field or field.strip(b"01234567"):
        return False
    plain = sum(block[:148]) + 8 * 32 + sum(block[156:])
    told = int(field, 8)
    return told in (plain, plain - 256 * sum(byte > 127 for byte in block[:148] + block[156:]))  # noqa: PLR2004


def _name(block: bytes) -> bytes:
    name, prefix = block[:100].partition(b"\0")[0], block[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and block[257:263] == _POSIX else name


def _attributes(member: Member, words: dict[bytes, bytes]) -> None:
    """Take over extended attributes, as star and GNU tar write them, or bsdtar."""
    for key, value in words.items():
        if key.startswith(b"SCHILY.xattr."):
            member.attributes[fields.text(key[13:])] = value
        elif key.startswith(b"LIBARCHIVE.xattr."):
            padded = value + b"=" * (-len(value) % 4)
            try:
                member.attributes[fields.text(unquote_to_bytes(key[17:]))] = base64.b64decode(padded)
            except binascii.Error:
                raise DamagedError(f"an extended attribute of {member.name} is damaged") from None
        elif key == b"RHT.security.selinux":
            member.attributes["security.selinux"] = value
        elif key.startswith(b"SCHILY.acl."):
            member.notes.append("access control lists removed")

"""An xfs filesystem as a tar on standard output, through libfsxfs."""

from __future__ import annotations

import importlib
import io
import os
import stat
import struct
import sys
import tarfile
from typing import IO, Any

from ssh2container.admin.images.unpack.rules import member_path

_HEAD_BYTES = 512
_VERSION_WITH_FEATURES = 5
_NREXT64 = 1 << 5
_KNOWN_FEATURES = 0b1110_1111
"""sb_features_incompat: file types, sparse inodes, meta_uuid, bigtime, nrext64, exchange-range, parent
pointers; not "needs repair" (1 << 4), nor what comes after: it would be misread without a word."""


class _Content(io.RawIOBase):
    """A file of the filesystem as tarfile wants it."""

    def __init__(self, entry: Any) -> None:  # noqa: ANN401 - the binding has no types
        super().__init__()
        self._entry = entry

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._entry.read_buffer(size) if size else b""
        return data


class Layout:
    """Where inodes lie, and what the superblock says of their form.

    Source: the XFS Algorithms and Data Structures manual, superblock and on-disk inode.
    """

    def __init__(self, head: bytes) -> None:
        self.block, self.ag_blocks = (
            struct.unpack_from(">I", head, 4)[0],
            struct.unpack_from(">I", head, 84)[0],
        )
        self.inode_size, _ = struct.unpack_from(">HH", head, 104)
        self.per_block_log, self.ag_log = head[123], head[124]
        version = struct.unpack_from(">H", head, 100)[0] & 0xF
        self.features = struct.unpack_from(">I", head, 216)[0] if version >= _VERSION_WITH_FEATURES else 0

    def place(self, number: int) -> int:
        """Return where inode ``number`` lies, in bytes."""
        group, rest = divmod(number, 1 << (self.ag_log + self.per_block_log))
        block, index = divmod(rest, 1 << self.per_block_log)
        place: int = (group * self.ag_blocks + block) * self.block + index * self.inode_size
        return place

    def number(self, place: int) -> int:
        """Return the number of the inode that would lie at ``place``."""
        block, rest = divmod(place, self.block)
        group, block = divmod(block, self.ag_blocks)
        number: int = ((group << self.ag_log | block) << self.per_block_log) | rest // self.inode_size
        return number


class Times:
    """Modification times read from the inodes themselves: libfsxfs takes ``bigtime`` for the old form."""

    _BIGTIME = 1 << 3
    _VERSION_WITH_FLAGS = 3
    _INODE_BYTES = 176
    _EPOCH_SECONDS = 1 << 31  # bigtime counts nanoseconds from this long before 1970

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self._file = file
        self._layout = layout

    def __call__(self, number: int) -> int:
        """Return the mtime of inode ``number`` in seconds, 0 where there is none."""
        self._file.seek(self._layout.place(number))
        inode = self._file.read(self._INODE_BYTES)
        if inode[:2] != b"IN" or len(inode) < self._INODE_BYTES:
            return 0
        version, flags = inode[4], struct.unpack_from(">Q", inode, 120)[0]
        if version >= self._VERSION_WITH_FLAGS and flags & self._BIGTIME:
            nanoseconds: int = struct.unpack_from(">Q", inode, 40)[0]
            return nanoseconds // 1_000_000_000 - self._EPOCH_SECONDS
        seconds: int = struct.unpack_from(">i", inode, 40)[0]
        return seconds


class SmallCounts(io.RawIOBase):
    """The filesystem with its counts of extents where they were before ``nrext64``.

    mkfs.xfs makes that form by default since 6.5; libfsxfs would find no extents and read zeros. An
    inode is one that says its own number, where that number lies: what a file holds is not touched.
    """

    _FLAG = 1 << 4  # of di_flags2

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        super().__init__()
        self._file = file
        self._layout = layout
        self._at = 0
        self._size = file.seek(0, os.SEEK_END)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as libfsxfs asks for."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return where the next byte is read."""
        return self._at

    def get_size(self) -> int:
        """Return the size in bytes."""
        return self._size

    def read(self, size: int = -1) -> bytes:
        """Read, whole inodes at a time."""
        end = self._size if size < 0 else min(self._at + size, self._size)
        step = self._layout.inode_size
        first = self._at - self._at % step
        self._file.seek(first)
        data = bytearray(self._file.read(-(-end // step) * step - first))
        for place in range(0, len(data) - step + 1, step):
            if data[place : place + 2] == b"IN":
                self._restore(data, place, first + place)
        answer = bytes(data[self._at - first : end - first])
        self._at = end
        return answer

    def _restore(self, data: bytearray, at: int, place: int) -> None:
        flags, number = (
            struct.unpack_from(">Q", data, at + 120)[0],
            struct.unpack_from(">Q", data, at + 152)[0],
        )
        if not flags & self._FLAG or number != self._layout.number(place):
            return
        extents, of_attributes = (
            struct.unpack_from(">Q", data, at + 24)[0],
            struct.unpack_from(">I", data, at + 76)[0],
        )
        if extents >> 32 or of_attributes >> 16:
            raise ValueError(f"inode {number} has more extents than can be read")
        struct.pack_into(">IH", data, at + 76, extents, of_attributes)
        struct.pack_into(">Q", data, at + 24, 0)


def main(arguments: list[str]) -> int:
    """Write the tar of the filesystem in the file ``arguments[0]``."""
    pyfsxfs = importlib.import_module("pyfsxfs")  # installed only where it is needed

    file = open(arguments[0], "rb")  # noqa: SIM115 - as long as the process
    layout = Layout(file.read(_HEAD_BYTES))
    unknown = layout.features & ~_KNOWN_FEATURES
    if unknown:
        sys.stderr.write(
            f"the filesystem has features that cannot be read ({unknown:#x}), or needs a repair\n"
        )
        return 1
    volume = pyfsxfs.volume()
    if layout.features & _NREXT64:
        volume.open_file_object(SmallCounts(open(arguments[0], "rb"), layout))  # noqa: SIM115
    else:
        volume.open(arguments[0])
    linked: dict[int, str] = {}
    times = Times(file, layout)
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _write(tar, volume.get_root_directory(), ".", linked, times)
    return 0


def _write(tar: tarfile.TarFile, entry: Any, path: str, linked: dict[int, str], times: Times) -> None:  # noqa: ANN401
    member_path(path)  # a loop of directories ends here, as too deep
    info = tarfile.TarInfo(path)
    info.mode = stat.S_IMODE(entry.file_mode)
    info.uid, info.gid = entry.owner_identifier, entry.group_identifier
    info.mtime = times(entry.inode_number)
    kind = stat.S_IFMT(entry.file_mode)
    if kind == stat.S_IFDIR:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
        for index in range(entry.number_of_sub_file_entries):
            child = entry.get_sub_file_entry(index)
            _write(tar, child, f"{path}/{child.name}", linked, times)
    elif kind == stat.S_IFLNK:
        info.type, info.linkname = tarfile.SYMTYPE, entry.symbolic_link_target or ""
        tar.addfile(info)
    elif kind == stat.S_IFREG and entry.inode_number in linked:
        info.type, info.linkname = tarfile.LNKTYPE, linked[entry.inode_number]
        tar.addfile(info)
    elif kind == stat.S_IFREG:
        linked[entry.inode_number] = path
        info.size = entry.size
        tar.addfile(info, _Content(entry))
    else:
        info.type = tarfile.FIFOTYPE  # devices, sockets: the unpacker reports and leaves them out
        tar.addfile(info)
    tar.members.clear()  # type: ignore[attr-defined]  # or it keeps every header

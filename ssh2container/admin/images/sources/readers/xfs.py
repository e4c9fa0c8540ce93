"""An xfs filesystem as a tar on standard output, through libfsxfs."""

from __future__ import annotations

import importlib
import io
import stat
import struct
import sys
import tarfile
from typing import Any

from ssh2container.admin.images.safety import member_path


class _Content(io.RawIOBase):
    """A file of the filesystem as tarfile wants it."""

    def __init__(self, entry: Any) -> None:  # noqa: ANN401 - the binding has no types
        super().__init__()
        self._entry = entry

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._entry.read_buffer(size) if size else b""
        return data


class Times:
    """Modification times read from the inodes themselves: libfsxfs takes ``bigtime`` for the old form.

    Source: the XFS Algorithms and Data Structures manual, superblock and on-disk inode.
    """

    _BIGTIME = 1 << 3
    _VERSION_WITH_FLAGS = 3
    _INODE_BYTES = 176
    _EPOCH_SECONDS = 1 << 31  # bigtime counts nanoseconds from this long before 1970

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - as long as the process
        head = self._file.read(512)
        self._block, self._ag_blocks = (
            struct.unpack_from(">I", head, 4)[0],
            struct.unpack_from(">I", head, 84)[0],
        )
        self._inode_size, self._per_block = struct.unpack_from(">HH", head, 104)
        self._per_block_log, self._ag_log = head[123], head[124]

    def __call__(self, number: int) -> int:
        """Return the mtime of inode ``number`` in seconds, 0 where there is none."""
        group, rest = divmod(number, 1 << (self._ag_log + self._per_block_log))
        block, index = divmod(rest, 1 << self._per_block_log)
        self._file.seek((group * self._ag_blocks + block) * self._block + index * self._inode_size)
        inode = self._file.read(self._INODE_BYTES)
        if inode[:2] != b"IN" or len(inode) < self._INODE_BYTES:
            return 0
        version, flags = inode[4], struct.unpack_from(">Q", inode, 120)[0]
        if version >= self._VERSION_WITH_FLAGS and flags & self._BIGTIME:
            nanoseconds: int = struct.unpack_from(">Q", inode, 40)[0]
            return nanoseconds // 1_000_000_000 - self._EPOCH_SECONDS
        seconds: int = struct.unpack_from(">i", inode, 40)[0]
        return seconds


def main(arguments: list[str]) -> int:
    """Write the tar of the filesystem in the file ``arguments[0]``."""
    pyfsxfs = importlib.import_module("pyfsxfs")  # installed only where it is needed

    volume = pyfsxfs.volume()
    volume.open(arguments[0])
    linked: dict[int, str] = {}
    times = Times(arguments[0])
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

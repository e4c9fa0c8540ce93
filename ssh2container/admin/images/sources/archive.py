"""tar and cpio archives, plain or compressed; the formats are told by their first bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

from ssh2container.admin.images.ids import Range
from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.sources.readers import cpio
from ssh2container.admin.images.sources.readers.start import reader
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.unpack.headers import BLOCK, is_header
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.unpack.streams import Progress, Stream

_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x1f\x9d", "gzip"),  # compress
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"LZIP", "xz"),
    (b"\x5d\0\0", "xz"),  # lzma, before it had a magic
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),  # as kernels have it
)
_SKIPPABLE = b"\x2a\x4d\x18"
"""Frames that begin with any of 0x50 to 0x5f and this mean nothing to zstd and lz4 (RFC 8878, 3.1.2)."""
_MOST_SKIPPED = 1000
_MAGIC_BYTES = 8
HEAD_BYTES = 512


class Archive(Source):
    """A tar or cpio file."""

    kind = "archive"

    def streams(self, staging: Staging, limits: Limits, progress: Progress) -> Iterator[Stream]:
        """Yield the one stream; of an initrd also what is packed behind the first archives."""
        with open(self.reference, "rb", buffering=0) as file:
            behind = 0
            if not compression(file) and file.read(_MAGIC_BYTES).startswith(cpio.MAGICS):
                file.seek(0)
                behind = int(box(staging.range).run(reader("cpio", "rest"), stdin=file))
        yield open_archive(self.reference, staging.range)
        if behind:
            yield open_archive(self.reference, staging.range, behind)


def compression(file: IO[bytes]) -> str:
    """Return the tool that decompresses ``file`` from its position on, "" for none; the position stays."""
    start = file.tell()
    try:
        head = file.read(_MAGIC_BYTES)
        for _ in range(_MOST_SKIPPED):
            if head[1:4] != _SKIPPABLE or head[0] >> 4 != 5:  # noqa: PLR2004
                break
            file.seek(int.from_bytes(head[4:8], "little"), os.SEEK_CUR)
            head = file.read(_MAGIC_BYTES)
        return next((tool for magic, tool in _COMPRESSIONS if head.startswith(magic)), "")
    finally:
        file.seek(start)


def is_archive(head: bytes) -> bool:
    """Say whether ``head``, decompressed, begins a tar or a cpio."""
    return _is_tar(head) or head.startswith(cpio.MAGICS)


def open_archive(path: str, ids: Range, start: int = 0) -> Stream:
    """Return the archive at ``path``, from the byte ``start`` on, as a tar stream.

    Raises SessionError without the tools.
    """
    file: IO[bytes] = open(path, "rb", buffering=0)  # noqa: SIM115 - the stream closes it
    try:
        file.seek(start)
        head = decompressed_head(file, ids)
        tool = compression(file)
        stream = Stream(os.path.basename(path), file)
        if tool:
            stream.through(box(ids), decompressor(tool))
        if head.startswith(cpio.MAGICS):
            stream.through(box(ids), reader("cpio"))
    except BaseException:
        file.close()
        raise
    return stream


def box(ids: Range) -> sandbox.Sandbox:
    """Return the sandbox of a program that turns one stream into another."""
    return sandbox.Sandbox(ids)


def decompressor(tool: str) -> list[str]:
    """Return the argv that decompresses standard input."""
    argv = [sandbox.need(tool, f"decompressing {tool}"), "-dc"]
    # zstd otherwise refuses windows that ``zstd --ultra --long`` makes; memory is limited anyway.
    return [*argv, "--long=31"] if tool == "zstd" else argv


def decompressed_head(file: IO[bytes], ids: Range, size: int = HEAD_BYTES) -> bytes:
    """Return the next bytes of ``file``, decompressed; the file's position stays."""
    start = file.tell()
    tool = compression(file)
    try:
        if not tool:
            return file.read(size)
        process = box(ids).start(decompressor(tool), stdin=file)
        try:
            return process.stdout.read(size) if process.stdout else b""
        finally:
            sandbox.end(process)
    finally:
        file.seek(start)


def _is_tar(head: bytes) -> bool:
    """Check the header's magic, or, for the oldest tars, its checksum (tar(5))."""
    return len(head) >= BLOCK and (head[257:262] == b"ustar" or is_header(head[:BLOCK]))

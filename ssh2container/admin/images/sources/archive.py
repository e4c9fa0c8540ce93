"""tar and cpio archives, plain or compressed; the formats are told by their first bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

from ssh2container.admin.images import sandbox
from ssh2container.admin.images.ids import Range
from ssh2container.admin.images.safety import Limits
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.staging import Staging
from ssh2container.admin.images.streams import Progress, Stream

_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_CPIO = (b"070701", b"070702", b"070707", b"\xc7\x71", b"\x71\xc7")
HEAD_BYTES = 512


class Archive(Source):
    """A tar or cpio file."""

    kind = "archive"

    def streams(self, staging: Staging, limits: Limits, progress: Progress) -> Iterator[Stream]:
        """Yield the one stream."""
        yield open_archive(self.reference, staging.range)


def compression(head: bytes) -> str:
    """Return the tool that decompresses a file that begins with ``head``, "" for none."""
    return next((tool for magic, tool in _COMPRESSIONS if head.startswith(magic)), "")


def is_archive(head: bytes) -> bool:
    """Say whether ``head``, decompressed, begins a tar or a cpio."""
    return _is_tar(head) or head.startswith(_CPIO)


def open_archive(path: str, ids: Range) -> Stream:
    """Return the archive at ``path`` as a tar stream; raises SessionError without the tools."""
    file: IO[bytes] = open(path, "rb", buffering=0)  # noqa: SIM115 - the stream closes it
    try:
        head = decompressed_head(file, ids)
        tool = compression(_peek(file))
        stream = Stream(os.path.basename(path), file)
        if tool:
            stream.through(box(ids), decompressor(tool))
        if head.startswith(_CPIO):
            bsdtar = sandbox.need("bsdtar", "reading a cpio archive")
            stream.through(box(ids), [bsdtar, "-cf", "-", "--format=pax", "@-"])
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
    """Return the first bytes of ``file``, decompressed; the file's position is its beginning again."""
    head = _peek(file, size)
    tool = compression(head)
    if not tool:
        return head
    process = box(ids).start(decompressor(tool), stdin=file)
    try:
        return process.stdout.read(size) if process.stdout else b""
    finally:
        sandbox.end(process)
        file.seek(0)


def _peek(file: IO[bytes], size: int = HEAD_BYTES) -> bytes:
    file.seek(0)
    head = file.read(size)
    file.seek(0)
    return head


def _is_tar(head: bytes) -> bool:
    """Check the header's magic, or, for the oldest tars, its checksum (tar(5))."""
    if len(head) < HEAD_BYTES:
        return False
    head = head[:HEAD_BYTES]
    if head[257:262] == b"ustar":
        return True
    field = head[148:156].strip(b" \0")
    return (
        bool(field)
        and all(digit in b"01234567" for digit in field)
        and int(field, 8) == sum(head[:148]) + 8 * 32 + sum(head[156:])
    )

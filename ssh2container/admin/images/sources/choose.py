"""Which kind of source an administrator's word means."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from ssh2container.admin.images import ids, platforms
from ssh2container.admin.images.sources import archive, disk, foreign
from ssh2container.admin.images.sources.archive import Archive
from ssh2container.admin.images.sources.directory import Directory
from ssh2container.admin.images.sources.oci import DockerArchive, Layout, LayoutArchive, Registry
from ssh2container.admin.images.sources.source import Source
from ssh2container.errors import SessionError


class _Options(NamedTuple):
    """What the administrator said beside the source; see :func:`choose`."""

    authfile: str | None
    insecure: bool
    partition: int
    inside: str


class _Kind(NamedTuple):
    """One kind of source.

    words: what ``--help`` calls it; what stands before a ":" or "//" there is how it is named.
    make: makes the source of what stands behind that, or of the path.
    fits: whether a file with this beginning is one; None for what is named.
    """

    words: str
    make: Callable[[str, _Options], Source]
    fits: Callable[[bytes], bool] | None = None

    @property
    def prefix(self) -> str:
        """What names it: ``oci:``, ``docker://``."""
        scheme, colon, rest = self.words.partition(":")
        return scheme + colon + ("//" if rest.startswith("//") else "")


_KINDS = (
    _Kind(
        "a tar or cpio archive (gzip, bzip2, xz, zstd, lz4)",
        lambda path, _: Archive(path),
        lambda head: archive.is_archive(head) or not head.strip(b"\0"),
    ),
    _Kind("oci:DIR[:NAME]", lambda place, _: Layout(place)),
    _Kind("oci-archive:FILE[:NAME]", lambda place, _: LayoutArchive(place)),
    _Kind("docker-archive:FILE[:NAME]", lambda place, _: DockerArchive(place)),
    _Kind(
        "docker://[HOST/]NAME[:TAG][@sha256:DIGEST]",
        lambda name, options: Registry(name, options.authfile, insecure=options.insecure),
    ),
    _Kind(
        "a disk image (raw, qcow2, vmdk, vdi, vhdx; partitions, LVM; ext, xfs, btrfs, squashfs) or an ISO",
        lambda path, options: disk.Disk(path, partition=options.partition, inside=options.inside),
        disk.is_disk,
    ),
)
"""Every kind beside a directory, in the order in which a file is tried: one more is one more row."""


def kinds() -> str:
    """Return what a source may be, for ``--help``."""
    *most, last = (kind.words for kind in _KINDS)
    return "a directory, " + ", ".join(most) + ", " + last


def choose(
    source: str,
    *,
    authfile: str | None = None,
    insecure: bool = False,
    partition: int = 0,
    inside: str = "",
    platform: str = "",
) -> Source:
    """Return the source that ``source`` means: a path, or ``KIND:…``; raises SessionError.

    authfile, insecure: for registries, see oci.Registry; partition, inside: see disk.Disk;
    platform: ``linux/arm64``, "" for this machine's.
    """
    chosen = _choose(source, _Options(authfile, insecure, partition, inside))
    if platform:
        chosen.platform = platforms.parse(platform)
    return chosen


def _choose(source: str, options: _Options) -> Source:
    for kind in _KINDS:
        if kind.fits is None and source.startswith(kind.prefix):
            return kind.make(source.removeprefix(kind.prefix), options)
    try:
        status = os.stat(source)
    except OSError as error:
        meant = foreign.of_missing(source) if isinstance(error, FileNotFoundError) else ""
        raise SessionError(f"cannot open {source}", error.strerror or "", meant, "image") from None
    if stat.S_ISDIR(status.st_mode):
        return Directory(source)
    if not stat.S_ISREG(status.st_mode):
        raise SessionError(f"{source} is neither a file nor a directory", step="image")
    with open(source, "rb", buffering=0) as file:
        head = archive.decompressed_head(file, ids.UNPACKING, disk.HEAD_BYTES)
    for kind in _KINDS:
        if kind.fits is not None and kind.fits(head):
            return kind.make(source, options)
    what, remedy = foreign.of_file(head)
    if what:
        raise SessionError(
            f"{source} is not of a kind that can be imported", f"it is {what}", remedy, "image"
        )
    raise SessionError(
        f"{source} is not of a kind that can be imported",
        "it is not a directory, tar, cpio, disk image, file system, squashfs or ISO, plain or compressed",
        "see the SOURCE of: ssh2containerctl image import --help",
        step="image",
    )

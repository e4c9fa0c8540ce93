"""Which kind of source an administrator's word means."""

from __future__ import annotations

import os
import stat

from ssh2container.admin.images import ids
from ssh2container.admin.images.sources import archive, disk
from ssh2container.admin.images.sources.archive import Archive
from ssh2container.admin.images.sources.directory import Directory
from ssh2container.admin.images.sources.oci import DockerArchive, Layout, Registry
from ssh2container.admin.images.sources.source import Source
from ssh2container.errors import SessionError

_KINDS = {"oci:": Layout, "docker-archive:": DockerArchive}


def choose(
    source: str,
    *,
    authfile: str | None = None,
    insecure: bool = False,
    partition: int = 0,
    inside: str = "",
) -> Source:
    """Return the source that ``source`` means: a path, or ``KIND:…``; raises SessionError.

    authfile, insecure: for registries, see oci.Registry; partition, inside: see disk.Disk.
    """
    for prefix, kind in _KINDS.items():
        if source.startswith(prefix):
            return kind(source[len(prefix) :])
    if source.startswith("docker://"):
        return Registry(source[len("docker://") :], authfile, insecure=insecure)
    try:
        status = os.stat(source)
    except OSError as error:
        raise SessionError(f"cannot open {source}", error.strerror or "", step="image") from None
    if stat.S_ISDIR(status.st_mode):
        return Directory(source)
    if not stat.S_ISREG(status.st_mode):
        raise SessionError(f"{source} is neither a file nor a directory", step="image")
    with open(source, "rb", buffering=0) as file:
        head = archive.decompressed_head(file, ids.UNPACKING, disk.HEAD_BYTES)
    if archive.is_archive(head) or not head.strip(b"\0"):
        return Archive(source)
    if disk.is_disk(head):
        return disk.Disk(source, partition=partition, inside=inside)
    raise SessionError(
        f"{source} is of no kind that can be imported",
        "it is no directory, tar, cpio, disk image, file system, squashfs or ISO, plain or compressed",
        "see the SOURCE of: ssh2containerctl image import --help",
        step="image",
    )

"""Disk images: whatever qemu-img reads, partitions, LVM, down to one filesystem.

Nothing is mounted and no kernel sees the image: every reader is a program in the sandbox. Each step
turns a file into a smaller one in the staging directory until a filesystem is left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.sources import archive, filesystem, tools
from ssh2container.admin.images.sources.readers.start import with_bindings
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.unpack.rules import HostileError, Limits
from ssh2container.admin.images.unpack.streams import Progress, Stream
from ssh2container.errors import SessionError

_CONTAINERS = {
    "qcow2": (0, b"QFI\xfb"),
    "vmdk": (0, b"KDMV"),
    "vmdk ": (0, b"# Disk DescriptorFile"),
    "vdi": (0x40, b"\x7f\x10\xda\xbe"),
    "vhdx": (0, b"vhdxfile"),
    "vpc": (0, b"conectix"),
}
_RAW = (
    (0, b"hsqs"),
    (0, b"XFSB"),
    (510, b"\x55\xaa"),
    (512, b"LABELONE"),
    (1080, b"\x53\xef"),
    (0x8001, b"CD001"),
    (0x10040, b"_BHRfS_M"),
)
HEAD_BYTES = 0x10080
_MOST_VIRTUAL = 16
"""A disk may claim to be so many times larger than what its files may hold."""
_ROOT_TYPES = (
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",  # root of x86-64 (Discoverable Partitions Specification)
    "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",  # root of arm64
)
_MOST_STEPS = 6


class Partition(NamedTuple):
    """A partition: its number, where it lies in bytes, its type in the table, its filesystem."""

    number: int
    start: int
    size: int
    type: str
    content: str


def is_disk(head: bytes) -> bool:
    """Say whether a file that begins with ``head`` is a disk image or a filesystem."""
    return bool(_format(head)) or any(head[at : at + len(magic)] == magic for at, magic in _RAW)


def _format(head: bytes) -> str:
    found = (name for name, (at, magic) in _CONTAINERS.items() if head[at : at + len(magic)] == magic)
    return next(found, "").strip()


class Disk(Source):
    """An image file, compressed or not. partition, inside: which one to take, 0 and "" = the obvious."""

    kind = "disk"

    def __init__(self, reference: str, *, partition: int = 0, inside: str = "") -> None:
        super().__init__(reference)
        self._partition = partition
        self._inside = inside
        self._stream: filesystem.Opener | None = None

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Peel the image down to a filesystem."""
        work = _Workshop(staging, limits, progress)
        path = work.decompressed(self.reference)
        path = work.raw(path)
        for _ in range(_MOST_STEPS):
            kind = work.identify(path)
            if kind == "partitions":
                path = work.partition(path, self._partition)
            elif kind == "LVM2_member":
                path = work.logical_volume(path)
            elif kind == "iso9660":
                inner = work.live_image(path, self._inside)
                if not inner:
                    break
                path = inner
            elif kind == "squashfs" and (inner := work.inside_squashfs(path)):
                path = inner
            else:
                break
        else:
            raise HostileError("", "it is an image in an image in an image")
        self._stream = filesystem.opener(kind, path, staging, limits, progress)

    def streams(self, staging: Staging, limits: Limits, progress: Progress) -> Iterator[Stream]:
        """Yield the filesystem's one stream."""
        if self._stream is None:
            raise SessionError("the disk image was not prepared", step="image")
        yield self._stream()


class _Workshop:
    """The steps, each from a file to a file in ``/scratch`` of one sandbox."""

    def __init__(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        self._staging = staging
        self._limits = limits
        self._progress = progress
        self._out = staging.scratch("disk")
        self._made = 0

    def _box(self, path: str) -> sandbox.Sandbox:
        return sandbox.scratch(self._staging.range, self._out, {"/input": path})

    def _new(self, ending: str) -> tuple[str, str]:
        """Return a new file's name: outside, and inside the sandbox."""
        self._made += 1
        name = f"{self._made}.{ending}"
        return f"{self._out}/{name}", f"/scratch/{name}"

    def _replace(self, old: str) -> None:
        """Remove an intermediate file that has been turned into the next one."""
        if os.path.dirname(old) == self._out:
            os.unlink(old)

    def _write(self, old: str, argv: list[str], outside: str, what: str, *, piped: bool = False) -> str:
        """Run ``argv``, which makes the file ``outside``, from standard input to output if ``piped``."""
        box = self._box(old)
        if piped:
            with open(old, "rb") as source, open(outside, "wb") as target:
                tools.run(
                    box, argv, self._out, self._limits, self._progress, what=what, stdin=source, stdout=target
                )
            os.chown(outside, self._staging.range.base, self._staging.range.base)
        else:
            tools.run(box, argv, self._out, self._limits, self._progress, what=what)
        self._replace(old)
        return outside

    def decompressed(self, path: str) -> str:
        with open(path, "rb") as file:
            tool = archive.compression(file)
        if not tool:
            return self._staging.readable_copy(path)
        outside, _ = self._new("img")
        return self._write(path, archive.decompressor(tool), outside, "decompressing", piped=True)

    def raw(self, path: str) -> str:
        """Turn any container format into the plain bytes of the disk; holes stay holes."""
        with open(path, "rb") as file:
            if not _format(file.read(HEAD_BYTES)):
                return path
        qemu_img = sandbox.need("qemu-img", "reading this disk image")
        output = self._box(path).run([qemu_img, "info", "--output=json", "/input"])
        info: dict[str, Any] = json.loads(output)
        specific = info.get("format-specific", {}).get("data", {})
        for key, what in (("backing-filename", info), ("data-file", specific)):
            if what.get(key):
                raise HostileError(str(what[key]), "the disk image refers to this other file")
        most = self._limits.size * _MOST_VIRTUAL
        if info["virtual-size"] > most:
            raise HostileError("", f"the disk claims to be {info['virtual-size']} bytes; see --max-size")
        outside, inside = self._new("raw")
        argv = [qemu_img, "convert", "-f", info["format"], "-O", "raw", "/input", inside]
        return self._write(path, argv, outside, f"converting from {info['format']}")

    def identify(self, path: str) -> str:
        """Return what is on ``path``: a filesystem's name as blkid has it, or ``partitions``."""
        found = self._probe(path)
        if found.get("TYPE"):
            return found["TYPE"]
        if found.get("PTTYPE"):
            return "partitions"
        raise SessionError(
            "there is no filesystem on the disk image that blkid knows", "", "is it encrypted?", step="image"
        )

    def _probe(self, path: str, offset: int = 0, size: int = 0) -> dict[str, str]:
        argv = [sandbox.need("blkid", "reading a disk image"), "--probe", "--output", "export"]
        if size:
            argv += ["--offset", str(offset), "--size", str(size)]
        try:
            text = self._box(path).run([*argv, "/input"])
        except SessionError:
            return {}  # status 2: nothing found
        lines = text.decode("utf-8", "replace").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def partition(self, path: str, number: int) -> str:
        """Cut out the partition ``number``, or the one that holds the root."""
        table = json.loads(
            self._box(path).run([sandbox.need("sfdisk", "reading a partition table"), "--json", "/input"])
        )["partitiontable"]
        sector = int(table.get("sectorsize", 512))
        partitions = []
        for index, row in enumerate(table.get("partitions", ()), 1):
            start, size = int(row["start"]) * sector, int(row["size"]) * sector
            tail = str(row.get("node", "")).removeprefix("/input").removeprefix("p")
            content = self._probe(path, start, size).get("TYPE", "")
            partitions.append(
                Partition(
                    int(tail) if tail.isdecimal() else index, start, size, str(row.get("type")), content
                )
            )
        chosen = choose_partition(partitions, number)
        outside, inside = self._new("part")
        qemu_img = sandbox.need("qemu-img", "cutting out a partition")
        cut = f"driver=raw,offset={chosen.start},size={chosen.size},file.driver=file,file.filename=/input"
        argv = [qemu_img, "convert", "-O", "raw", "--image-opts", cut, inside]
        return self._write(path, argv, outside, f"cutting out partition {chosen.number}")

    def logical_volume(self, path: str) -> str:
        """Copy the logical volume that holds the root out of LVM."""
        filesystem.need_module("pyvslvm", "LVM", "python3-libvslvm")
        box = self._box(path)
        volumes = json.loads(box.run(with_bindings("lvm", "list", "/input")))
        fitting = [(name, size) for name, size in volumes if "swap" not in name]
        if not fitting:
            raise SessionError("the volume group has no logical volume", step="image")
        named = [name for name, _ in fitting if name.lower() in ("root", "lv_root", "lvroot", "rootlv")]
        name = named[0] if named else max(fitting, key=lambda volume: volume[1])[0]
        outside, inside = self._new("lv")
        argv = with_bindings("lvm", "copy", "/input", name, inside)
        return self._write(path, argv, outside, f"copying logical volume {name}")

    def live_image(self, path: str, inside_path: str) -> str:
        """Copy the squashfs of live media out of an ISO; "" for an ISO that is the image itself."""
        bsdtar = sandbox.need("bsdtar", "reading an ISO image")
        listing = self._box(path).run([bsdtar, "-tf", "/input"]).decode("utf-8", "surrogateescape")
        chosen = inside_path or filesystem.live_member(listing.splitlines())
        if not chosen:
            return ""
        outside, _ = self._new("squashfs")
        argv = [bsdtar, "-xOf", "-", "--", chosen]
        return self._write(path, argv, outside, f"copying {chosen}", piped=True)

    def inside_squashfs(self, path: str) -> str:
        """Copy the disk image out of a squashfs that holds nothing else; "" for an ordinary one."""
        listing = filesystem.squashfs_names(self._box(path))
        if listing not in (["LiveOS/rootfs.img"], ["LiveOS/ext3fs.img"]):
            return ""
        outside, _ = self._new("img")
        rdsquashfs = sandbox.need("rdsquashfs", "reading a squashfs in a squashfs")
        argv = [rdsquashfs, "--cat", listing[0], "/input"]
        return self._write(path, argv, outside, f"copying {listing[0]}", piped=True)


def choose_partition(partitions: list[Partition], number: int) -> Partition:
    """Return the partition that holds the root: as told, by its type, or the largest with a filesystem.

    Raises SessionError that lists what there is.
    """
    usable = [part for part in partitions if part.content in filesystem.KNOWN]
    if number:
        usable = [part for part in partitions if part.number == number]
    typed = [part for part in usable if part.type.upper() in _ROOT_TYPES]
    if not usable:
        there = ", ".join(f"{p.number}: {p.content or 'unknown'}, {p.size} bytes" for p in partitions)
        raise SessionError(
            f"there is no partition {number}" if number else "no partition has a filesystem we can read",
            there,
            "choose with --partition",
            step="image",
        )
    return max(typed or usable, key=lambda part: part.size)

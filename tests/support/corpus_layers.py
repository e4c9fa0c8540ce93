"""The layouts and disk images of the corpus: layers with whiteouts, filesystems, containers of disks."""

from __future__ import annotations

import gzip
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from support.corpus import Item, member, packed, plain, run
from support.material import Entry, directory, entry, hardlink, oci_layout, symlink, tar

# ruff: noqa: E501 - a row for each image

Layer = list[Entry] | bytes


def _layers(*layers: Layer, prefix: str = "oci:", form: str = "") -> Callable[[Path], str]:
    """Return the maker of a layout of ``layers``, or of what skopeo makes of it in another form."""

    def make(place: Path) -> str:
        written = [layer if isinstance(layer, bytes) else tar(layer) for layer in layers]
        layout = oci_layout(f"{place}/layout", written)
        if not form:
            return f"{prefix}{layout}"
        run(
            "skopeo", "copy", "-q", "--insecure-policy", f"oci:{layout}:latest", f"{form}:{place}/saved:lab:1"
        )
        return f"{prefix}{place}/saved"

    return make


def _special(name: str, kind: bytes) -> Entry:
    return entry(name, kind=kind)


_LOWER: list[Entry] = [
    directory("etc"), entry("etc/one", b"lower"), entry("etc/two", b"lower"), directory("opt/deep"), entry("opt/deep/file", b"x"),
    directory("usr/lib"), symlink("lib", "usr/lib"), entry("usr/lib/so", b"x", mode=0o755), hardlink("usr/lib/same", "usr/lib/so"),
]  # fmt: skip
_UPPERS: dict[str, list[Entry]] = {
    "nothing": [],
    "a file anew": [entry("etc/one", b"upper")],
    "a mode alone": [entry("etc/one", b"lower", mode=0o600, uid=7, gid=8)],
    "a directory anew": [directory("etc", mode=0o700)],
    "a whiteout": [entry("etc/.wh.one")],
    "a whiteout of a directory": [entry("opt/.wh.deep")],
    "a whiteout of all of it": [entry(".wh.opt")],
    "a whiteout of nothing": [entry("etc/.wh.none"), entry("none/.wh.none")],
    "a whiteout of a name of several": [entry("usr/lib/.wh.so")],
    "a whiteout of a link": [entry(".wh.lib")],
    "a whiteout, then the file": [entry("etc/.wh.one"), entry("etc/one", b"upper")],
    "the file, then a whiteout": [entry("etc/one", b"upper"), entry("etc/.wh.one")],
    "opaque": [directory("etc"), entry("etc/.wh..wh..opq"), entry("etc/new", b"x")],
    "opaque, at the end": [directory("etc"), entry("etc/new", b"x"), entry("etc/.wh..wh..opq")],
    "opaque, deep": [directory("opt"), entry("opt/.wh..wh..opq"), directory("opt/deep"), entry("opt/deep/new", b"x")],
    "a directory where a file was": [directory("etc/one"), entry("etc/one/new", b"x")],
    "a file where a directory was": [entry("opt", b"x")],
    "a link where a file was": [symlink("etc/one", "two")],
    "a file where a link was": [entry("lib", b"x")],
    "a directory where a link was": [directory("lib"), entry("lib/new", b"x")],
    "a hard link to the lower layer": [hardlink("etc/three", "etc/one")],
    "one of several names anew": [entry("usr/lib/so", b"upper")],
    "directories that were not there": [entry("var/lib/new", b"x")],
    "owners beyond all ids": [entry("etc/new", b"x", uid=70_000, gid=80_000)],
    "s-bits, devices, FIFOs": [entry("etc/new", b"x", mode=0o4755), _special("etc/pipe", tarfile.FIFOTYPE)],
}  # fmt: skip
_THROUGH: list[Entry] = [entry("lib/.wh.so"), entry("lib/new", b"x")]

LAYERS = [
    *(Item(name, _layers(_LOWER, upper), "umoci") for name, upper in _UPPERS.items()),
    Item("a whiteout through a link", _layers(_LOWER, _THROUGH), ours={"usr/lib/so": None, "usr/lib/new": b"x", "lib": b"usr/lib"},
         why="A link in the image points where it would in the container. umoci replaces it with a directory."),
    Item("three layers", _layers(_LOWER, [entry(".wh.etc")], [directory("etc"), entry("etc/new", b"x")]), "umoci"),
    Item("a layer with gzip", _layers(gzip.compress(tar(_LOWER)), [entry("etc/.wh.one")]), "umoci"),
    Item("a layer without its end", _layers(_LOWER, member(b"etc/new", b"DATA\n")), "umoci"),
    Item("a layer without its last padding", _layers(_LOWER, member(b"etc/new", b"DATA\n")[:-507]), "umoci"),
    Item("bookkeeping of aufs", _layers(_LOWER, [directory(".wh..wh.plnk"), entry(".wh..wh.plnk/1.2", b"x")]), ours={".wh..wh.plnk": None, "etc/one": b"lower"},
         why="It means nothing outside aufs."),
    Item("a whiteout of its own directory", _layers(_LOWER, [entry("etc/.wh..")]), ours="refused", why="The specification gives it no meaning."),
    Item("docker-archive", _layers(_LOWER, [entry("etc/.wh.one")], prefix="docker-archive:", form="docker-archive"), "umoci"),
    Item("oci-archive", _layers(_LOWER, [entry("etc/.wh.one")], prefix="oci-archive:", form="oci-archive"), "umoci"),
]  # fmt: skip
"""Layouts, and what is made of them."""


def _disk(*steps: str) -> Callable[[Path], str]:
    """Return the maker of a disk image by shell commands, in a directory with the tree ``packed``."""

    def make(place: Path) -> str:
        plain(place / "packed")
        for step in steps:
            subprocess.run(["sh", "-ec", step], cwd=place, check=True, capture_output=True)
        return f"{place}/disk"

    return make


_CONTENT: dict[str, bytes | None] = {
    "bin/one": b"DATA\n", "bin/two": b"DATA\n", "usr/lib/three": b"DATA\n", "etc/motd": b"", "etc/shadow": b"root:*:\n",
    "lib": b"usr/lib", "etc/conf.d/big": bytes(range(256)) * 40, "lost+found": None,
}  # fmt: skip
_COPIES = "The content is the same. Hard links become copies: the reader does not keep them together."
_EXT4 = "mke2fs -q -t ext4 -d packed root 8M"

DISKS = [
    *(Item(f"squashfs, {kind}", packed(plain, "mksquashfs", "TREE", "OUT", "-quiet", "-no-progress", "-comp", kind), "as packed") for kind in ("gzip", "xz", "zstd", "lz4")),
    Item("ISO 9660 with Rock Ridge", _disk("genisoimage -quiet -R -o disk packed"), "bsdtar"),
    *(Item(kind, _disk(f"mke2fs -q -t {kind} -d packed disk 8M"), ours=_CONTENT, why=_COPIES) for kind in ("ext2", "ext3", "ext4")),
    Item("btrfs", _disk("truncate -s 120M disk; mkfs.btrfs -q -r packed disk"), ours=_CONTENT, why=_COPIES),
    *(Item(f"ext4 in {form}", _disk(_EXT4, f"qemu-img convert -O {form} root disk"), ours=_CONTENT, why=_COPIES) for form in ("qcow2", "vmdk", "vdi", "vhdx", "vpc")),
    Item("ext4 in a partition", _disk(_EXT4, "truncate -s 12M disk; printf 'label: dos\\nstart=2048, size=16384\\n' | sfdisk -q disk; dd if=root of=disk bs=512 seek=2048 conv=notrunc"), ours=_CONTENT, why=_COPIES),
    Item("ext4, xz", _disk(_EXT4, "xz -0 -c root >disk"), ours=_CONTENT, why=_COPIES),
]  # fmt: skip
"""Disk images."""

"""The rest of the corpus: cpio, compressions, layouts with layers, disk images."""

# ruff: noqa: E501 - a row for each archive

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

from support.corpus import (
    A_TIME,
    NEWC_END,
    Item,
    member,
    newc,
    odd,
    packed,
    plain,
    run,
    shell,
    special,
    written,
)

_BLOCK = bytes(512)
_NONE = b""


def _binary(name: bytes, data: bytes = b"", *, order: str = ">", inode: int = 1, links: int = 1) -> bytes:
    """Return one member of the oldest cpio, in either order of bytes."""
    size = (A_TIME >> 16, A_TIME & 0xFFFF, len(name) + 1, len(data) >> 16, len(data) & 0xFFFF)
    head = struct.pack(order + "13H", 0o070707, 1, inode, 0o100644, 10, 11, links, 0, *size)
    return head + name + b"\0" + bytes((len(name) + 1) % 2) + data + bytes(len(data) % 2)


_LINKED = (
    newc(b"a", inode=5, links=3),
    newc(b"b", inode=5, links=3),
    newc(b"c", b"DATA\n", inode=5, links=3),
)
_FIRST = (newc(b"a", b"DATA\n", inode=5, links=2), newc(b"b", inode=5, links=2))
_ROOT = newc(b"bin", mode=0o040755, links=2) + newc(b"bin/one", b"DATA\n") + NEWC_END
_MICROCODE = newc(b"kernel", mode=0o040755) + newc(b"kernel/x86", b"microcode") + NEWC_END
_BOTH: dict[str, bytes | None] = {"kernel/x86": b"microcode", "bin/one": b"DATA\n"}
_KERNEL = "GNU cpio stops at the end of the first archive. A kernel reads them all, and the second one holds the root."

CPIO = [
    *(
        Item(f"GNU cpio, {form}", shell(plain, f'find . | sort | cpio --quiet -o -H {form} >"$OUT"'), "GNU cpio")
        for form in ("newc", "crc", "odc", "bin", "hpodc", "hpbin")
    ),
    Item("GNU cpio, what no image has", shell(special, 'find . | cpio --quiet -o -H newc >"$OUT"'), "GNU cpio"),
    Item("GNU cpio, strange names", shell(odd, 'find . -print0 | cpio --quiet -0 -o -H newc >"$OUT"'), "GNU cpio"),
    *(
        Item(f"bsdtar, {form}", packed(plain, "bsdtar", f"--format={form}", "-cf", "OUT", "-C", "TREE", "."), "GNU cpio")
        for form in ("newc", "odc")
    ),
    Item("busybox cpio", shell(plain, 'find . | sort | busybox cpio -o -H newc >"$OUT"'), "GNU cpio"),
    Item("newc: data with the last name", written(*_LINKED, NEWC_END, end=_NONE), "GNU cpio"),
    Item("newc: data with the first name", written(*_FIRST, NEWC_END, end=_NONE), "GNU cpio"),
    Item("newc: names of an empty file", written(newc(b"a", inode=5, links=2), newc(b"b", inode=5, links=2), NEWC_END, end=_NONE), "GNU cpio"),
    Item("newc: one of three names", written(newc(b"a", inode=5, links=3), newc(b"b", b"x"), NEWC_END, end=_NONE), "GNU cpio"),
    Item("newc: names in several directories", shell(plain, 'mkdir x y; echo DATA >x/a; ln x/a y/b; touch -d @1500000000 x/a x y; find x y | cpio --quiet -o -H newc >"$OUT"'), "GNU cpio"),
    Item("newc: two names of a symbolic link", shell(plain, 'ln -P lib again; find . | sort | cpio --quiet -o -H newc >"$OUT"'), ours={"lib": b"usr/lib", "again": b"usr/lib"},
         why="The archive stores the link in full under each name, so they become two separate links."),
    Item("newc: names without directories", written(newc(b"a/b/c", b"x"), NEWC_END, end=_NONE), ours={"a/b/c": b"x"}, why="GNU cpio makes missing directories only with -d, and with the default mode."),
    Item("newc: an archive behind another", written(_MICROCODE, _ROOT, end=_NONE), ours=_BOTH, why=_KERNEL),
    Item("newc: zeros between archives", written(_MICROCODE, _BLOCK, _ROOT, _BLOCK, end=_NONE), ours=_BOTH, why=_KERNEL),
    *(
        Item(f"initrd: microcode and {name}", written(_MICROCODE, _BLOCK, pack(_ROOT), end=_NONE), ours=_BOTH, why=_KERNEL)
        for name, pack in (("gzip", gzip.compress), ("xz", lzma.compress), ("zstd", lambda data: run("zstd", "-qc", data=data)))
    ),
    Item("crc: a wrong sum", written(newc(b"a", b"x", magic=b"070702", check=5), newc(b"TRAILER!!!", magic=b"070702"), end=_NONE), ours="refused", why="The content is not what was packed. GNU cpio warns but keeps it."),
    Item("binary, the other order", written(_binary(b"one", b"DATA\n"), _binary(b"TRAILER!!!"), end=_NONE), "GNU cpio"),
    Item("binary, data with each name", written(*(_binary(name, b"DATA\n", order="<", inode=9, links=2) for name in (b"a", b"b")), _binary(b"TRAILER!!!", order="<"), end=_NONE), "GNU cpio"),
    Item("cpio without end", written(newc(b"a", b"x"), end=_NONE), ours="refused", why="The archive is truncated. GNU cpio says so, too, but keeps what it has."),
]  # fmt: skip
"""cpio."""


def _skippable(number: int, size: int) -> bytes:
    return bytes([0x50 + number]) + b"\x2a\x4d\x18" + struct.pack("<I", size) + b"z" * size


def _tool(*argv: str, before: bytes = b"", after: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda data: before + run(*argv, data=data) + after


def _halves(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return what packs a text in two parts, one behind the other."""
    return lambda data: pack(data[:700]) + pack(data[700:])


def _compressed(pack: Callable[[bytes], bytes]) -> Callable[[Path], str]:
    def make(place: Path) -> str:
        root = plain(place / "packed")
        path = place / "archive"
        path.write_bytes(pack(run("tar", "-c", "-C", str(root), ".")))
        return str(path)

    return make


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip, several members": _halves(gzip.compress),
    "gzip, zeros behind it": lambda data: gzip.compress(data) + bytes(5000),
    "compress": _tool("bsdtar", "-cZf", "-", "@-"),
    "bzip2": bz2.compress,
    "bzip2, several streams": _halves(bz2.compress),
    "xz": lzma.compress,
    "xz, several streams": _halves(lzma.compress),
    "xz, zeros behind it": lambda data: lzma.compress(data) + bytes(8),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lzip": _tool("bsdtar", "--lzip", "-cf", "-", "@-"),
    "zstd": _tool("zstd", "-qc"),
    "zstd, several frames": _halves(_tool("zstd", "-qc")),
    "zstd, a skippable frame first": _tool("zstd", "-qc", before=_skippable(0, 4)),
    "zstd, large skippable frames": _tool("zstd", "-qc", before=_skippable(15, 70_000) + _skippable(3, 0), after=_skippable(1, 9)),
    "zstd, a large window": _tool("zstd", "-qc", "--ultra", "--long=31"),
    "lz4": _tool("lz4", "-qc"),
    "lz4, as kernels have it": _tool("lz4", "-qlc"),
    "lz4, a skippable frame first": lambda data: run("lz4", "-qc", data=data) + _skippable(2, 8),
}  # fmt: skip
COMPRESSED = [Item(name, _compressed(pack), "as packed") for name, pack in _PACKERS.items()]
"""Compressions, of a plain tar."""
NO_END = [
    Item(f"{name}, a tar without end", lambda place, pack=pack: written(pack(member(b"one", b"DATA\n")[:-507]), end=_NONE)(place), ours={"one": b"DATA\n"},  # type: ignore[misc]
         why="The compression shows that it is complete. GNU tar complains about the missing padding.")
    for name, pack in (("gzip", gzip.compress), ("zstd", _tool("zstd", "-qc")))
]  # fmt: skip

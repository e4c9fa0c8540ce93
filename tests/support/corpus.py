"""A corpus of small archives: each made on the spot, and the program that says what it holds.

Nothing is stored: the reference program unpacks the same bytes at the time of the test.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Shown = dict[str, object]
"""What a file is: type, mode, ids, content, time, attributes, and the names of the same inode."""

_NOBODY, _IDS = 65534, 65536
_A_DAY = 86_400

_UMOCI = 'umoci unpack --image "$0/layout:latest" "$0/bundle"; rmdir "$1"; mv "$0/bundle/rootfs" "$1"'
GNU = ("tar", "--numeric-owner", "--same-permissions", "--same-owner", "--xattrs", "--xattrs-include=user.*")
REFERENCES: dict[str, Callable[[str, str], list[str]]] = {
    "GNU tar": lambda source, out: [*GNU, "-C", out, "-xf", source],
    "GNU tar -G": lambda source, out: [*GNU, "-C", out, "--listed-incremental=/dev/null", "-xf", source],
    "bsdtar": lambda source, out: ["bsdtar", "--numeric-owner", "-C", out, "-xpf", source],
    "umoci": lambda _, out: ["sh", "-ec", _UMOCI, os.path.dirname(out), out],
    "GNU cpio": lambda source, out: [
        "sh", "-c", f"cd '{out}' && cpio --quiet -idmn --no-absolute-filenames <{source}",
    ],
}  # fmt: skip


class Item(NamedTuple):
    """One archive. make: writes it below a directory and returns its path, or ``KIND:path``.

    reference: who says what is in it, a key of REFERENCES, or "as packed": the tree at ``packed``.
    ours: where we differ on purpose, what we make of it: "refused", or names → contents (None: absent).
    why: the reason, for the table.
    """

    name: str
    make: Callable[[Path], str]
    reference: str = "GNU tar"
    ours: str | dict[str, bytes | None] = ""
    why: str = ""


def run(*argv: str, cwd: Path | str | None = None, data: bytes | None = None) -> bytes:
    """Run a tool quietly and return what it prints; a warning of tar (status 1) is no failure."""
    done = subprocess.run(argv, cwd=cwd, input=data, capture_output=True, check=False)
    assert done.returncode in (0, 1), (argv, done.stderr)
    return done.stdout


def shown(root: str, base: int = 0) -> dict[str, Shown]:
    """Return path → what is there, ids relative to ``base``; devices, FIFOs and the root itself left out.

    What has no time of its own has that of the unpacking.
    """
    now = time.time()
    found: dict[str, Shown] = {}
    inodes: dict[tuple[int, int], list[str]] = {}
    for where, directories, files in os.walk(root):
        for name in directories + files:
            path = f"{where}/{name}"
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                continue
            shown = os.path.relpath(path, root)
            entry: Shown = {
                "type": {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}[kind],
                "owner": [_owner(status.st_uid - base), _owner(status.st_gid - base)],
                "mtime": "now" if abs(status.st_mtime - now) < _A_DAY else status.st_mtime_ns,
            }
            if kind == stat.S_IFLNK:
                entry["target"] = os.readlink(path)
            else:
                entry["mode"] = oct(stat.S_IMODE(status.st_mode) & ~0o6000)
                entry["attributes"] = _attributes(path)
            if kind == stat.S_IFREG:
                entry["size"] = status.st_size
                entry["sha256"] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            if kind != stat.S_IFDIR and status.st_nlink > 1:
                inodes.setdefault((status.st_dev, status.st_ino), []).append(shown)
            found[shown] = entry
    for names in inodes.values():
        for name in names:
            found[name]["names"] = sorted(names)
    return found


def _owner(number: int) -> int:
    return number if 0 <= number < _IDS else _NOBODY


def _attributes(path: str) -> dict[str, bytes]:
    return {
        key: os.getxattr(path, key)
        for key in os.listxattr(path)
        if key.startswith("user.") and not key.startswith("user.overlay.")
    }


# -- trees ---------------------------------------------------------------------------------------

A_TIME = 1_500_000_000


def plain(path: Path) -> Path:
    """Make a small root: directories, files, links of both kinds, modes and owners."""
    for name in ("bin", "etc/conf.d", "usr/lib", "empty"):
        (path / name).mkdir(parents=True)
    (path / "bin/one").write_bytes(b"DATA\n")
    os.link(path / "bin/one", path / "bin/two")
    os.link(path / "bin/one", path / "usr/lib/three")
    (path / "etc/motd").write_bytes(b"")
    (path / "etc/shadow").write_bytes(b"root:*:\n")
    (path / "etc/conf.d/big").write_bytes(bytes(range(256)) * 40)
    os.symlink("usr/lib", path / "lib")
    os.symlink("/nowhere/at/all", path / "etc/dangling")
    os.chmod(path / "bin/one", 0o755)
    os.chmod(path / "etc/shadow", 0o640)
    os.chown(path / "etc/shadow", 0, 42)
    os.chmod(path / "empty", 0o1777)
    os.chown(path / "etc/conf.d", 1000, 100)
    return aged(path)


def odd(path: Path) -> Path:
    """Make what only some formats can hold: long and strange names, holes, links of links, attributes."""
    plain(path)
    (path / ("d" * 90) / ("e" * 90)).mkdir(parents=True)
    (path / ("d" * 90) / ("e" * 90) / ("f" * 90)).write_bytes(b"deep\n")
    os.symlink("t" * 180, path / "long-target")
    for name in ("new\nline", "-rf", "caf\udce9", "ünï", " ", "quote'\"\\"):
        (path / name).write_bytes(os.fsencode(name))
    with (path / "hole").open("wb") as file:
        for at in (1 << 16, 1 << 18, 1 << 20):
            file.seek(at)
            file.write(b"x" * 5000)
        file.truncate(3 << 20)
    os.link(path / "lib", path / "also-lib", follow_symlinks=False)
    (path / "owned").write_bytes(b"x")
    os.chown(path / "owned", 60_000, 61_000)
    os.setxattr(path / "owned", "user.comment", b"kept \xff\n")
    os.setxattr(path / "etc", "user.of-a-directory", b"kept too")
    return aged(path)


def special(path: Path) -> Path:
    """Make what an image cannot have, beside what it can."""
    plain(path)
    os.chmod(path / "bin/one", 0o4755)
    os.chmod(path / "empty", 0o3777)
    os.mkfifo(path / "etc/pipe")
    os.link(path / "etc/pipe", path / "etc/same-pipe")
    return aged(path)


def aged(path: Path) -> Path:
    """Give everything a time of its own, the innermost first."""
    for number, (where, _, files) in enumerate(os.walk(path, topdown=False)):
        for name in files:
            os.utime(f"{where}/{name}", (A_TIME + number,) * 2, follow_symlinks=False)
        os.utime(where, (A_TIME - number,) * 2)
    return path


def timed(path: Path) -> Path:
    """Make files of all times, to the nanosecond."""
    path.mkdir(parents=True)
    for name, nanoseconds in {
        "before-1970": -86_400_000_000_000,
        "just-before": -1,
        "fraction": 1_700_000_000_123_456_789,
        "after-2038": 3_000_000_000_000_000_000,
        "after-2106": 4_400_000_000_000_000_000,
        "zero": 0,
    }.items():
        (path / name).write_bytes(b"x")
        os.utime(path / name, ns=(nanoseconds, nanoseconds))
    return path


# -- archives, byte by byte ----------------------------------------------------------------------


def header(
    name: bytes,
    kind: bytes = b"0",
    size: int = 0,
    *,
    magic: bytes = b"ustar\x0000",
    link: bytes = b"",
    fields: dict[int, bytes] | None = None,
    signed: bool = False,
    checksum: bytes = b"%06o\0 ",
) -> bytes:
    """Return one tar header. fields: offset → bytes that are put there as they are."""
    block = bytearray(512)
    for at, value in {
        0: name, 100: b"0000644\0", 108: b"0000012\0", 116: b"0000013\0", 124: b"%011o\0" % size,
        136: b"%011o\0" % A_TIME, 156: kind, 157: link, 257: magic, **(fields or {}),
    }.items():  # fmt: skip
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    total = sum(block) - (256 * sum(byte > 127 for byte in block) if signed else 0)
    block[148:156] = (checksum % total).ljust(8, b" ")[:8]
    return bytes(block)


def padded(data: bytes) -> bytes:
    """Return ``data`` filled up to a whole block."""
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", **options: object) -> bytes:
    """Return a header and its data."""
    return header(name, kind, len(data), **options) + padded(data)  # type: ignore[arg-type]


def extended(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    """Return a pax header."""
    text = b""
    for key, value in records.items():
        rest = b" " + key + b"=" + value + b"\n"
        size = len(rest) + 1
        while len(b"%d" % size) + len(rest) != size:
            size += 1
        text += b"%d" % size + rest
    return member(b"pax", text, kind)


END = bytes(1024)


def written(*parts: bytes, end: bytes = END) -> Callable[[Path], str]:
    """Return the maker of an archive of these very bytes."""

    def make(place: Path) -> str:
        path = place / "archive"
        path.write_bytes(b"".join(parts) + end)
        return str(path)

    return make


def newc(
    name: bytes,
    data: bytes = b"",
    *,
    inode: int = 0,
    links: int = 1,
    mode: int = 0o100644,
    magic: bytes = b"070701",
    check: int = 0,
) -> bytes:
    """Return one member of a newc (or crc) archive."""
    numbers = (inode, mode, 10, 11, links, A_TIME, len(data), 0, 8, 0, 0, len(name) + 1, check)
    head = magic + b"".join(b"%08X" % number for number in numbers) + name + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


NEWC_END = newc(b"TRAILER!!!")


def packed(tree: Callable[[Path], Path], *argv: str, data: bytes | None = None) -> Callable[[Path], str]:
    """Return the maker of what a tool writes of ``tree``: OUT and TREE in ``argv`` are the places.

    A tool that writes to standard output has ``>OUT`` as its last word.
    """

    def make(place: Path) -> str:
        root, out = tree(place / "packed"), place / "archive"
        words = [word.replace("OUT", str(out)).replace("TREE", str(root)) for word in argv]
        if words[-1].startswith(">"):
            with out.open("wb") as file:
                file.write(run(*words[:-1], cwd=root, data=data))
        else:
            run(*words, cwd=root, data=data)
        return str(out)

    return make


def shell(tree: Callable[[Path], Path], script: str) -> Callable[[Path], str]:
    """Return the maker of what a shell script, started in ``tree``, writes to ``$OUT``."""

    def make(place: Path) -> str:
        root, out = tree(place / "packed"), place / "archive"
        run("env", f"OUT={out}", f"PLACE={place}", "sh", "-ec", script, cwd=root)
        return str(out)

    return make

"""One bare filesystem in a file, as a tar stream: ext, btrfs, xfs, squashfs, ISO 9660."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import NamedTuple

from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.sources import tools
from ssh2container.admin.images.sources.readers.start import reader, with_bindings
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.unpack.streams import Progress, Stream
from ssh2container.errors import SessionError
from ssh2container.policy.cold import PYTHON

Opener = Callable[[], Stream]

_LIVE = (
    "live/filesystem.squashfs",
    "casper/filesystem.squashfs",
    "LiveOS/squashfs.img",
    "images/install.img",
    "install/filesystem.squashfs",
    "arch/x86_64/airootfs.sfs",
)
_SQUASHFS = re.compile(r"\.(squashfs|sfs)$")
_ROOT_SUBVOLUMES = ("root", "@", "@rootfs", "@root")
_TOP_TREE = "5"
_ROOT_REF = re.compile(r"key \(FS_TREE ROOT_REF (\d+)\).*?\n\s+root ref key .*? name (\S+)", re.DOTALL)


class _Work(NamedTuple):
    """Reading one filesystem: the box, where a tool may write and how much, whom to tell, its name."""

    box: sandbox.Sandbox
    out: str
    limits: Limits
    progress: Progress
    what: str


def _ext(work: _Work) -> Opener:
    debugfs = sandbox.need("debugfs", "reading an ext filesystem")
    argv = [debugfs, "-R", "rdump / /scratch", "/input"]
    tools.run(work.box, argv, work.out, work.limits, work.progress, what=f"reading the {work.what}")
    lost = json.loads(work.box.run(reader("lost", "ext", "/input", "/scratch")))
    return lambda: _restored(work.box, work.what, lost)


def _btrfs(work: _Work) -> Opener:
    tree = _restore(work.box, work.out, work.limits, work.progress)
    lost = json.loads(work.box.run(reader("lost", "btrfs", "/input", "/scratch", tree)))
    return lambda: _restored(work.box, work.what, lost)


def _xfs(work: _Work) -> Opener:
    need_module("pyfsxfs", "xfs", "python3-libfsxfs")
    return lambda: Stream(work.what, work.box.start(with_bindings("xfs", "/input")))


def _squashfs(work: _Work) -> Opener:
    sqfs2tar = sandbox.need("sqfs2tar", "reading a squashfs")
    return lambda: Stream(work.what, work.box.start([sqfs2tar, "/input"]))


def _iso(work: _Work) -> Opener:
    bsdtar = sandbox.need("bsdtar", "reading an ISO image")
    argv = [bsdtar, "-cf", "-", "--format=pax", "@/input"]
    return lambda: Stream(work.what, work.box.start(argv))


_READERS: dict[str, Callable[[_Work], Opener]] = {
    "ext2": _ext,
    "ext3": _ext,
    "ext4": _ext,
    "xfs": _xfs,
    "btrfs": _btrfs,
    "squashfs": _squashfs,
    "iso9660": _iso,
}
"""blkid's name of a filesystem -> what reads it: the only place that lists them."""
KNOWN = (*(kind for kind in _READERS if kind != "iso9660"), "LVM2_member")
"""What a partition may hold whose files we can read."""


def opener(kind: str, path: str, staging: Staging, limits: Limits, progress: Progress) -> Opener:
    """Prepare the filesystem of ``kind`` (blkid's name) in the file ``path``; raises SessionError."""
    if kind not in _READERS:
        raise SessionError(
            f"a {kind} filesystem cannot be imported", f"known are {', '.join(KNOWN)}", step="image"
        )
    out = staging.scratch("files")
    box = sandbox.scratch(staging.range, out, {"/input": path})
    return _READERS[kind](_Work(box, out, limits, progress, f"{kind} filesystem"))


def _restored(box: sandbox.Sandbox, what: str, lost: dict[str, list[str]]) -> Stream:
    """Return what a tool has written, and say what it has not."""
    stream = tools.tar_of(box, "/scratch", what, without="./lost+found")
    stream.neutralised = lost
    return stream


def live_member(names: list[str]) -> str:
    """Return the member of an ISO that is the root of its live system, "" where there is none.

    Raises SessionError where there are several that we cannot tell apart.
    """
    clean = [name.removeprefix("./") for name in names]
    for wanted in _LIVE:
        if wanted in clean:
            return names[clean.index(wanted)]
    found = [name for name in names if _SQUASHFS.search(name)]
    if len(found) > 1:
        raise SessionError(
            "the ISO has several squashfs images",
            ", ".join(found[:10]),
            "choose with --inside PATH",
            step="image",
        )
    return found[0] if found else ""


def squashfs_names(box: sandbox.Sandbox) -> list[str]:
    """Return the paths of the regular files in the squashfs /input of ``box``; at most a few."""
    rdsquashfs = sandbox.need("rdsquashfs", "reading a squashfs")
    process = box.start([rdsquashfs, "--describe", "/input"])
    names: list[str] = []
    few = 4
    try:
        for line in process.stdout or ():
            words = line.decode("utf-8", "surrogateescape").split()
            if words[:1] == ["file"]:
                names.append(words[1])
            if len(names) > few:
                break
        return names
    finally:
        sandbox.end(process)


def _restore(box: sandbox.Sandbox, out: str, limits: Limits, progress: Progress) -> str:
    """Read btrfs with ``btrfs restore``, from the subvolume that distributions put the root into.

    Returns the number of its tree.
    """
    btrfs = sandbox.need("btrfs", "reading a btrfs filesystem")
    listing = box.run([btrfs, "inspect-internal", "dump-tree", "-t", "root", "/input"])
    subvolumes = {name: number for number, name in _ROOT_REF.findall(listing.decode("utf-8", "replace"))}
    chosen = [subvolumes[name] for name in _ROOT_SUBVOLUMES if name in subvolumes]
    argv = [btrfs, "restore", "--metadata", "--symlinks", "--xattr"]
    argv += ["--root", chosen[0]] if chosen else []
    tools.run(box, [*argv, "/input", "/scratch"], out, limits, progress, what="reading the btrfs filesystem")
    return chosen[0] if chosen else _TOP_TREE


def need_module(module: str, purpose: str, package: str) -> None:
    """Raise SessionError that names ``package`` unless Python has ``module``."""
    argv = [PYTHON, "-IB", "-c", f"import {module}"]
    if subprocess.run(argv, check=False, capture_output=True).returncode:
        raise SessionError(
            f"reading {purpose} needs the Python module {module}",
            "it is not installed",
            f"install the package {package}",
            step="image",
        )

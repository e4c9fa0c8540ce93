"""One bare filesystem in a file, as a tar stream: ext, btrfs, xfs, squashfs, ISO 9660."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from ssh2container.admin.images import sandbox
from ssh2container.admin.images.safety import Limits
from ssh2container.admin.images.sources import disk, tools
from ssh2container.admin.images.staging import Staging
from ssh2container.admin.images.streams import Progress, Stream
from ssh2container.errors import SessionError

Opener = Callable[[], Stream]
KNOWN = ("ext2", "ext3", "ext4", "xfs", "btrfs", "squashfs", "LVM2_member")

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
_ROOT_REF = re.compile(r"key \(FS_TREE ROOT_REF (\d+)\).*?\n\s+root ref key .*? name (\S+)", re.DOTALL)


def opener(kind: str, path: str, staging: Staging, limits: Limits, progress: Progress) -> Opener:
    """Prepare the filesystem of ``kind`` (blkid's name) in the file ``path``; raises SessionError."""
    out = staging.scratch("files")
    box = sandbox.scratch(staging.range, out, {"/input": path})
    what = f"{kind} filesystem"
    if kind in ("ext2", "ext3", "ext4"):
        debugfs = sandbox.need("debugfs", "reading an ext filesystem")
        argv = [debugfs, "-R", "rdump / /scratch", "/input"]
        tools.run(box, argv, out, limits, progress, what=f"reading the {what}")
        return lambda: tools.tar_of(box, "/scratch", what, without="./lost+found")
    if kind == "btrfs":
        _restore(box, out, limits, progress)
        return lambda: tools.tar_of(box, "/scratch", what)
    if kind == "xfs":
        need_module("pyfsxfs", "xfs", "python3-libfsxfs")
        return lambda: Stream(what, box.start(disk.reader("xfs", "/input")))
    if kind == "squashfs":
        sqfs2tar = sandbox.need("sqfs2tar", "reading a squashfs")
        return lambda: Stream(what, box.start([sqfs2tar, "/input"]))
    if kind == "iso9660":
        bsdtar = sandbox.need("bsdtar", "reading an ISO image")
        return lambda: Stream(what, box.start([bsdtar, "-cf", "-", "--format=pax", "@/input"]))
    raise SessionError(
        f"a {kind} filesystem cannot be imported", f"known are {', '.join(KNOWN)}", step="image"
    )


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


def _restore(box: sandbox.Sandbox, out: str, limits: Limits, progress: Progress) -> None:
    """Read btrfs with ``btrfs restore``, from the subvolume that distributions put the root into."""
    btrfs = sandbox.need("btrfs", "reading a btrfs filesystem")
    listing = box.run([btrfs, "inspect-internal", "dump-tree", "-t", "root", "/input"])
    subvolumes = {name: number for number, name in _ROOT_REF.findall(listing.decode("utf-8", "replace"))}
    chosen = [subvolumes[name] for name in _ROOT_SUBVOLUMES if name in subvolumes]
    argv = [btrfs, "restore", "--metadata", "--symlinks", "--xattr"]
    argv += ["--root", chosen[0]] if chosen else []
    tools.run(box, [*argv, "/input", "/scratch"], out, limits, progress, what="reading the btrfs filesystem")


def need_module(module: str, purpose: str, package: str) -> None:
    """Raise SessionError that names ``package`` unless Python has ``module``."""
    argv = [sandbox.PYTHON, "-IB", "-c", f"import {module}"]
    if subprocess.run(argv, check=False, capture_output=True).returncode:
        raise SessionError(
            f"reading {purpose} needs the Python module {module}",
            "it is not installed",
            f"install the package {package}",
            step="image",
        )

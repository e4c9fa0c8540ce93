"""Disks of a test's own: a file system in a file, on a loop device, with or without quotas."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.host import run

_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q"),
    "btrfs": ("mkfs.btrfs", "-q"),
}
_BYTES = 400 * 1024**2


@contextmanager
def mounted(kind: str, options: str = "") -> Iterator[str]:
    """Mount a new file system of ``kind`` and give its place, which is root's; it is gone afterwards.

    Skips where there is no loop device, or where the kernel does not know the file system.
    """
    top = tempfile.mkdtemp(prefix="s2c-disk-", dir="/srv")
    os.chmod(top, 0o755)
    device = ""
    try:
        place = f"{top}/mounted"
        os.mkdir(place)
        with open(f"{top}/disk", "wb") as file:
            file.truncate(_BYTES)
        if shutil.which(_MAKE[kind][0]) is None:
            pytest.skip(f"{_MAKE[kind][0]} is not installed")
        run([*_MAKE[kind], f"{top}/disk"]).ok()
        found = run(["losetup", "--find", "--show", f"{top}/disk"])
        if found.status:
            pytest.skip(f"no loop device to be had here: {found.errors.strip()}")
        device = found.text.strip()
        done = run(["mount", *(["-o", options] if options else []), device, place])
        if done.status:
            pytest.skip(f"the kernel does not mount {kind}: {done.errors.strip().splitlines()[0]}")
        yield place
    finally:
        subprocess.run(["umount", "-q", f"{top}/mounted"], check=False)
        if device:
            run(["losetup", "--detach", device]).ok()
        shutil.rmtree(top)

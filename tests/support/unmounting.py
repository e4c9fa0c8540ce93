"""File systems of the host that tell whether anything still holds them after they were unmounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.host import run

KINDS = ("overlay", "loop")
_SIZE_BYTES = 4 << 20


class Mounted:
    """A file system that is mounted at ``place`` until :meth:`unmount`."""

    def __init__(self, place: str) -> None:
        self.place = place

    def unmount(self) -> None:
        """Unmount it, as the administrator does."""
        run(["umount", self.place]).ok()

    def is_free(self) -> bool:
        """Tell whether the kernel has let go of it: nobody holds a mount of it in any namespace."""
        raise NotImplementedError


class Overlay(Mounted):
    """An overlay: its upper layer is nobody else's while it lives (overlayfs.rst, "index")."""

    def __init__(self, top: str) -> None:
        for name in ("lower", "upper", "work", "mounted"):
            os.mkdir(f"{top}/{name}")
        super().__init__(f"{top}/mounted")
        self._command = [
            *("mount", "-t", "overlay", "-o"),
            f"index=on,lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work",
            *("overlay", self.place),
        ]
        run(self._command).ok()

    def is_free(self) -> bool:
        """Mount it again, which the kernel refuses while the first one lives."""
        done = run(self._command)
        if done.status == 0:
            self.unmount()
            return True
        # Where another overlay of the machine has the same source, mount(8) names that one's place.
        assert "already mounted" in done.errors, done.errors
        return False


class Loop(Mounted):
    """A disk of its own; its device opens exclusively for nobody while it is in use (open(2), O_EXCL)."""

    def __init__(self, top: str) -> None:
        image = f"{top}/disk"
        os.mkdir(f"{top}/mounted")
        super().__init__(f"{top}/mounted")
        with open(image, "wb") as file:
            file.truncate(_SIZE_BYTES)
        run(["mkfs.ext4", "-q", "-F", image]).ok()
        found = run(["losetup", "--find", "--show", image])
        if found.status:
            pytest.skip(f"no loop device to be had here, the overlay stands for it: {found.errors.strip()}")
        self.device = found.text.strip()
        run(["mount", self.device, self.place]).ok()

    def is_free(self) -> bool:
        """Open the device as mkfs does."""
        try:
            os.close(os.open(self.device, os.O_RDWR | os.O_EXCL))
        except OSError:
            return False
        return True


@contextmanager
def mounted(kind: str) -> Iterator[Mounted]:
    """Mount a file system of ``kind`` on the host; it is gone afterwards."""
    # Not in the tests' own directory: that may be on an overlay, which takes no other one as its upper layer.
    top = f"/run/unmounting-{os.getpid()}"
    os.mkdir(top)
    run(["mount", "-t", "tmpfs", "unmounting", top]).ok()
    made: Mounted | None = None
    try:
        made = Overlay(top) if kind == "overlay" else Loop(top)
        yield made
    finally:
        subprocess.run(["umount", "-q", f"{top}/mounted"], check=False)
        if isinstance(made, Loop):
            run(["losetup", "--detach", made.device]).ok()
        subprocess.run(["umount", "-l", top], check=True)
        os.rmdir(top)

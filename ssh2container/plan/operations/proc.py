"""Hiding the parts of /proc that speak of, or to, the host (proc(5))."""

from __future__ import annotations

import os

from ssh2container.kernel import mounts

from . import Operation, State


class MaskFile(Operation):
    """Hide a file of /proc behind /dev/null, and make sure that it is /dev/null.

    A mask that is not verified can be redirected (CVE-2025-31133, CVE-2025-52565).
    """

    __slots__ = ("path",)
    step = "mask"

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @property
    def calls(self) -> tuple[str, ...]:
        return ("mount",)

    def describe(self) -> str:
        return f"mask {self.path} with /dev/null"

    def apply(self, state: State) -> None:
        mounts.bind("/dev/null", self.path)
        if os.stat(self.path, follow_symlinks=False).st_rdev != os.makedev(1, 3):
            raise OSError(116, "the mask is not /dev/null", self.path)


class MaskDirectory(Operation):
    """Hide a directory of /proc behind an empty read-only file system."""

    __slots__ = ("path",)
    step = "mask"

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @property
    def calls(self) -> tuple[str, ...]:
        return ("mount",)

    def describe(self) -> str:
        return f"mask {self.path} with an empty directory"

    def apply(self, state: State) -> None:
        before = os.stat(self.path, follow_symlinks=False).st_dev
        flags = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
        mounts.mount("tmpfs", self.path, flags, "size=4k,nr_inodes=1,mode=555")
        if os.stat(self.path, follow_symlinks=False).st_dev == before or os.listdir(self.path):
            raise OSError(116, "the mask is not in place", self.path)


class ProtectProc(Operation):
    """Make a part of /proc read-only, for everybody and whatever rights they have."""

    __slots__ = ("path",)
    step = "proc-read-only"

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @property
    def calls(self) -> tuple[str, ...]:
        return ("open_tree", "mount_setattr", "move_mount")

    def describe(self) -> str:
        return f"make {self.path} read-only"

    def apply(self, state: State) -> None:
        tree = mounts.clone_tree(self.path, recursive=False)
        try:
            mounts.set_attributes(tree, mounts.ATTR_RDONLY, recursive=False)
            mounts.attach(tree, self.path)
        finally:
            os.close(tree)

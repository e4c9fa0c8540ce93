"""Hiding the parts of /proc that speak of, or to, the host (proc(5))."""

from __future__ import annotations

import posix as os

from ssh2container.kernel import mounts

from . import Operation, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script

_NULL_DEVICE = os.makedev(1, 3)


class MaskFile(Operation):
    """Hide a file of /proc behind /dev/null, and make sure that it is /dev/null.

    A mask that is not verified can be redirected (CVE-2025-31133, CVE-2025-52565).
    """

    __slots__ = ("path",)
    step = "mask"
    why = "it reveals the host, or acts on it"
    reasons = {steps.ESTALE: "the mask is not /dev/null"}

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @property
    def calls(self) -> tuple[str, ...]:
        return ("mount",)

    def describe(self) -> str:
        return f"mask {self.path} with /dev/null"

    def write(self, script: Script) -> None:
        steps.bind(script, "/dev/null", self.path)
        script.expect_device(self.path, _NULL_DEVICE)


class MaskDirectory(Operation):
    """Hide a directory of /proc behind an empty read-only file system."""

    __slots__ = ("path",)
    step = "mask"
    why = MaskFile.why
    reasons = {steps.ESTALE: "the mask is not in place"}

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @property
    def calls(self) -> tuple[str, ...]:
        return ("mount",)

    def describe(self) -> str:
        return f"mask {self.path} with an empty directory"

    def write(self, script: Script) -> None:
        before = script.device(self.path)
        flags = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
        steps.mount(script, "tmpfs", self.path, flags, "size=4k,nr_inodes=1,mode=555")
        script.expect_empty(self.path, before)


class ProtectProc(Operation):
    """Make a part of /proc read-only, for everybody and whatever rights they have."""

    __slots__ = ("path",)
    step = "proc-read-only"
    why = "writing there changes the host's kernel"

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @property
    def calls(self) -> tuple[str, ...]:
        return ("open_tree", "mount_setattr", "move_mount")

    def describe(self) -> str:
        return f"make {self.path} read-only"

    def write(self, script: Script) -> None:
        steps.bind_tree(script, self.path, self.path, mounts.ATTR_RDONLY, recursive=False)

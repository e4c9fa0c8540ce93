"""Devices of the host that a policy names: bound as they are, and left open by Landlock."""

from __future__ import annotations

from ssh2container.kernel import landlock, mounts

from .landlock import RestrictFiles, enter, rules_for
from .volumes import AttachVolume, OpenVolume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script

ATTRIBUTES = mounts.ATTR_RDONLY | mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC
"""Of the mount of a node: not nodev, which would make it useless. Read-only is its mode, not its device."""


def spelled(number: tuple[int, int]) -> str:
    """Return (major, minor) as ls(1) and Compose write it."""
    return f"{number[0]}:{number[1]}"


class OpenDevice(OpenVolume):
    """Take hold of a device's node by descriptor. number: (major, minor)."""

    __slots__ = ("number",)
    step = "open-device"
    why = "a descriptor leads to the node that was examined, whatever happens to its path"
    remedies = {2: "connect it, or correct the policy", 13: "the user cannot reach it"}
    reasons = {116: "another node took its place"}

    def __init__(
        self, source: str, target: str, identity: tuple[int, int], number: tuple[int, int], key: str
    ) -> None:
        super().__init__(target, source, ATTRIBUTES, identity, key)
        self.number = number

    def describe(self) -> str:
        return f"open the device {self.source} ({spelled(self.number)}), its mount not nodev"


class AttachDevice(AttachVolume):
    """Attach an opened node, and make sure that it is the device which the planner saw (st_rdev, stat(2))."""

    __slots__ = ("device",)
    step = "attach-device"
    reasons = {116: "another device is visible there"}

    def __init__(self, target: str, identity: tuple[int, int], device: int, key: str) -> None:
        super().__init__(target, target, identity, directory=False, key=key)
        self.device = device

    def describe(self) -> str:
        return f"attach the device at {self.target}, following no symbolic link, and compare its number"

    def write(self, script: Script) -> None:
        super().write(script)
        script.expect_device(self.target, self.device)


class RestrictFilesAndDevices(RestrictFiles):
    """As :class:`RestrictFiles`, with a rule for each device: reading, ioctl(2), writing unless it is "r".

    devices: (target, whether it is written to). own: the container's own nodes, which are written to.
    """

    __slots__ = ("devices", "own")

    def __init__(
        self, base: RestrictFiles, devices: tuple[tuple[str, bool], ...], own: tuple[str, ...]
    ) -> None:
        # What is closed anyway below /dev may be open elsewhere: a rule for a directory is one for all in it.
        only_read = (target.split("/")[1] for target, is_written in devices if not is_written)
        closed = base.closed.union(only_read)
        super().__init__(base.version, base.writable, closed, everything=base.everything)
        self.devices = devices
        self.own = own

    def describe(self) -> str:
        written = " ".join(target for target, is_written in self.devices if is_written)
        read = " ".join(target for target, is_written in self.devices if not is_written)
        text = super().describe()
        text += f", and use the devices {written}" if written else ""
        return text + (f", and only read {read}" if read else "")

    def write(self, script: Script) -> None:
        rights = landlock.known(self.version)
        files = landlock.OF_FILES
        change = rights & ~(landlock.MAKE_CHAR | landlock.MAKE_BLOCK | landlock.IOCTL_DEV)
        look = landlock.READ | landlock.IOCTL_DEV
        use = (look | landlock.WRITE_FILE | landlock.TRUNCATE) & rights
        rules = rules_for(script, landlock.request(self.version, rights, 0))
        script.allow(rules, "/", change if self.everything else landlock.READ, files)
        # A rule for /dev would let every device below it be written to.
        for path in ("/proc", *self.own):
            script.allow(rules, path, use, files)
        for path, is_written in self.devices:
            script.allow(rules, path, use if is_written else look & rights, files)
        if not self.everything:
            for path in self.writable:
                script.allow(rules, path, change, files)
            script.allow_root(rules, self.closed, change, files)
        enter(script, rules)

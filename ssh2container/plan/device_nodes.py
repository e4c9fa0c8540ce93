"""Nodes of devices on the host: where they lie, what they stand for, and whether a session is given them."""

from __future__ import annotations

import _stat as stat
import posix as os

from ssh2container.errors import Refusal
from ssh2container.kernel import mounts
from ssh2container.policy import devices, specifiers

from . import device_kinds, sources
from .operations.devices import spelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STEP = "device"
_MOST_NODES = 64
_DEEPEST = 4


class Node:
    """A device of the host that the session is given.

    path: of its node, without symbolic links. identity: (device, inode) of the node. number: (major, minor)
    of what it stands for; device: the same as st_rdev. target: where it is inside. written: whether it may be
    written to. key: the policy's item.
    """

    __slots__ = ("device", "identity", "key", "path", "target", "written")

    def __init__(
        self, path: str, status: os.stat_result, target: str, key: str, *, written: bool = True
    ) -> None:
        self.path = path
        self.identity = (status.st_dev, status.st_ino)
        self.device = status.st_rdev
        self.target = target
        self.key = key
        self.written = written

    @property
    def number(self) -> tuple[int, int]:
        """What kernel and ls(1) know it by."""
        return os.major(self.device), os.minor(self.device)


def named(device: devices.Device, values: Mapping[str, str]) -> Iterator[Node]:
    """Yield the nodes that an entry of the policy means: itself, or all in a directory, as Compose does."""
    source = specifiers.expand(device.source, values)
    target = specifiers.expand(device.target, values)
    written = device.permissions == devices.READ_WRITE
    path, status = find(source)
    if not stat.S_ISDIR(status.st_mode):
        require(source, path, status, named=True)
        yield Node(path, status, target, device.key, written=written)
        return
    found = [*_below(path, _DEEPEST)]
    if not found or len(found) > _MOST_NODES:
        raise Refusal(
            f"cannot use the devices in {source}",
            f"it has {len(found) or 'none'}" + (f", more than {_MOST_NODES}" if found else ""),
            "name each device",
            STEP,
        )
    for name, status in found:
        require(path + name, path + name, status, named=False)
        yield Node(path + name, status, target + name, device.key, written=written)


def find(source: str) -> tuple[str, os.stat_result]:
    """Return where ``source`` leads and what is there. Raises Refusal where nothing is, or by whose link."""
    what = "the device"
    try:
        return sources.resolve(what, source, "connect it, or correct the policy")
    except Refusal as error:
        said = error.what.replace(f"the source of {what}, ", f"{what} ")
        raise Refusal(said, error.why, error.remedy, STEP, error.number) from None


def require(source: str, path: str, status: os.stat_result, *, named: bool) -> None:
    """Raise Refusal for what is no device, or one that no session is given."""
    why, remedy = "", "leave it out of devices"
    if stat.S_ISBLK(status.st_mode):
        why = device_kinds.BLOCK
    elif not stat.S_ISCHR(status.st_mode):
        why, remedy = "it is no device", "use volumes for files and directories"
    elif os.statvfs(path).f_flag & mounts.MS_NODEV:
        why, remedy = (
            "its file system is mounted nodev, so nobody can open a device there",
            "name its node in /dev",
        )
    else:
        number = os.major(status.st_rdev), os.minor(status.st_rdev)
        why = device_kinds.refusal(number, named=named)
        if why:
            source += f" ({spelled(number)})"
    if why:
        raise Refusal(f"cannot use the device {source}", why, remedy, STEP)


def _below(directory: str, depth: int, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path below ``directory``, status) of the devices in it, passing over links and other files."""
    try:
        names = sorted(os.listdir(directory + prefix))
    except OSError as error:
        what = f"cannot read the directory {directory}{prefix}"
        raise Refusal(what, error.strerror or "", "name each device", STEP, error.errno or 0) from None
    for name in names:
        path = f"{prefix}/{name}"
        try:
            status = os.lstat(directory + path)
        except OSError:
            continue  # gone since it was listed
        if stat.S_ISDIR(status.st_mode) and depth:
            yield from _below(directory, depth - 1, path)
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            yield path, status

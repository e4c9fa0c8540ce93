"""Which devices of the host a session may be given, by what the kernel says they are, and why not others.

A node's name says nothing: the kernel goes by its numbers. Documentation/admin-guide/devices.txt has those
that are fixed; of the others sysfs(5) tells the subsystem (/sys/dev/char/MAJOR:MINOR/subsystem).
"""

from __future__ import annotations

import posix as os

from ssh2container import paths

from . import tree

_OWN = ("/etc", "/proc", "/sys", paths.RUNTIME)
_OWN_IN_DEV = (*tree.DEVICES, *tree.DEVICE_LINKS, "pts", "shm", "console", "mqueue", "log")

_BY_NUMBER = "/sys/dev/char"
_MISC = 10
_KVM = (_MISC, 232)
_HARMLESS_MEMORY = (3, 5, 7, 8, 9)
"""null, zero, full, random and urandom."""

_CONSOLE = "whoever opens it reads what is typed on the host's own console, or writes there"
_MEMORY = "it is the host's memory or its ports, and so the kernel's own"
_INPUT = "whoever opens it reads what is typed on the host, or types there"
_DISK = "commands to the disk behind it pass by all rights of its files"
_FIRMWARE = "what is written there changes the host's firmware, or its keys"
_MACHINE = "it stops the whole host, or changes its clock"
_USELESS = "the kernel lets nobody use it who has no capability on the host"
_SURFACE = "it leads into parts of the kernel that no session needs, or to root's hardware"

_NUMBERS = (
    (1, 0, 255, _MEMORY),
    (4, 0, 63, _CONSOLE),
    (5, 0, 3, "terminals are the session's own"),
    (7, 0, 255, _CONSOLE),
    (13, 0, 1023, _INPUT),
    (21, 0, 255, _DISK),
    (29, 0, 255, _CONSOLE),
    (90, 0, 255, _FIRMWARE),
    (108, 0, 255, _USELESS),
    (162, 0, 255, _DISK),
    (202, 0, 1 << 20, _MEMORY),
)  # fmt: skip
"""(major, first minor, last minor, why not)."""
_SUBSYSTEMS = {
    "bsg": _DISK,
    "dax": _MEMORY,
    "graphics": _CONSOLE,
    "hidraw": _INPUT,
    "input": _INPUT,
    "iommu": _SURFACE,
    "mei": _FIRMWARE,
    "msr": _MEMORY,
    "mtd": _FIRMWARE,
    "nvme": _DISK,
    "nvme-generic": _DISK,
    "nvme-subsystem": _DISK,
    "ppp": _USELESS,
    "ptp": _MACHINE,
    "raw": _DISK,
    "scsi_generic": _DISK,
    "tpm": _FIRMWARE,
    "tpmrm": _FIRMWARE,
    "ubi": _FIRMWARE,
    "vc": _CONSOLE,
    "vduse": _SURFACE,
    "vfio": _SURFACE,
    "vfio-dev": _SURFACE,
    "virtio-ports": "whoever opens it speaks to the host's hypervisor",
    "watchdog": _MACHINE,
}
"""Subsystem -> why not."""
_MISC_NAMES = {
    "fuse": "mount(2) needs a capability that no session has: EPERM",
    "cuse": _USELESS,
    "tun": "TUNSETIFF needs a capability that no session has: EPERM; use network_mode: private",
    "loop-control": _USELESS,
    "uinput": _INPUT,
    "uhid": _INPUT,
    "psaux": _INPUT,
    "watchdog": _MACHINE,
    "rfkill": "it switches the host's radios off",
    "nvram": _FIRMWARE,
    "userfaultfd": "attacks on the kernel use it to stop it at a moment of their choice (userfaultfd(2))",
}
"""Name of a miscellaneous device -> why not, where there is more to say than of all the others."""


BLOCK = "who reads and writes a block device passes by all rights of the files on it: use volumes"
"""Why no session is given a block device."""


def refusal(number: tuple[int, int], *, named: bool) -> str:
    """Return why no session is given the character device ``number`` (major, minor), "" for one that may be.

    named: whether the policy names the node itself, not a directory or a specification that has it.
    """
    major, minor = number
    if major == 1 and minor in _HARMLESS_MEMORY:
        return ""
    for of, first, last, why in _NUMBERS:
        if major == of and first <= minor <= last:
            return why
    if number == _KVM:
        return "" if named else "it makes virtual machines: name /dev/kvm itself where that is meant"
    if not paths.exists(_BY_NUMBER):
        return "sysfs tells what it is, which is not mounted at /sys"
    subsystem, name = _of_kernel(number)
    if major == _MISC or subsystem == "misc":
        return _MISC_NAMES.get(name.rpartition("/")[2], _SURFACE)
    return _SUBSYSTEMS.get(subsystem, "")


def is_own(target: str) -> bool:
    """Whether the container has something of its own at ``target``, an absolute path inside."""
    if target.startswith("/dev/"):
        return target.split("/")[2] in _OWN_IN_DEV
    return target in ("/", "/dev") or any(target == one or target.startswith(one + "/") for one in _OWN)


def _of_kernel(number: tuple[int, int]) -> tuple[str, str]:
    """Return the subsystem and the name that the kernel has for a character device, "" where it has none."""
    place = f"{_BY_NUMBER}/{number[0]}:{number[1]}"
    try:
        name = os.readlink(place).rpartition("/")[2]
        return os.readlink(place + "/subsystem").rpartition("/")[2], name
    except OSError:
        return "", ""

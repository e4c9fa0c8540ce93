"""Devices and terminals: none of the host's can be made, found or spoken to."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from errno import EACCES, EBUSY, EINVAL, EIO, ENODEV, ENOENT, ENOSPC, ENOSYS, ENOTTY, ENXIO, EPERM, EROFS
from typing import TYPE_CHECKING

from ssh2container.admin.verify.calls import AT_FDCWD, call
from ssh2container.admin.verify.probe import Group, refusal, require
from ssh2container.admin.verify.probes.privileges import of_system
from ssh2container.admin.verify.verdicts import Escaped, Weak

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("Devices and terminals")

_TIOCSTI, _TIOCLINUX, _TIOCCONS, _TIOCSETD, _TIOCSCTTY = 0x5412, 0x541C, 0x541D, 0x5423, 0x540E
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_HIGH = 1 << 32
_HARMLESS = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)}
"""null, zero, full, random, urandom, tty, ptmx (Documentation/admin-guide/devices.txt)."""
_UNIX98_SLAVES = range(136, 144)


def given(surroundings: Surroundings) -> dict[str, tuple[int, int]]:
    """Return the devices that the policy gives the session: their path inside -> (major, minor)."""
    return {
        operation.target: (os.major(operation.device), os.minor(operation.device))  # type: ignore[attr-defined]
        for operation in surroundings.plan.container.init
        if operation.step == "attach-device"
    }


def _is_given(name: str) -> Callable[[Surroundings], str]:
    """Return what excuses that /dev/``name`` is there: the policy names it, or something in it."""
    path = f"/dev/{name}"

    def excuse(surroundings: Surroundings) -> str:
        if name == "console" and of_system(surroundings) and _is_terminal(path):
            return "boot"
        return "devices" if any((one + "/").startswith(path + "/") for one in given(surroundings)) else ""

    return excuse


def _is_terminal(path: str) -> bool:
    """Tell whether ``path`` is the other side of a pseudoterminal, which no host has its console on."""
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in _UNIX98_SLAVES


def _node(name: str, kind: int, major: int, minor: int) -> None:
    GROUP.refused(
        f"mknod {name}",
        "mknod(2)",
        lambda surroundings: os.mknod(
            f"{surroundings.home}/verify-node", kind | 0o666, os.makedev(major, minor)
        ),
        EPERM,
        EROFS,
        EACCES,
        calls=("mknod", "mknodat"),
    )


_node("c 1:1 (memory)", stat.S_IFCHR, 1, 1)
_node("c 1:11 (the kernel's log)", stat.S_IFCHR, 1, 11)
_node("c 10:229 (fuse)", stat.S_IFCHR, 10, 229)
_node("b 8:0 (a disk)", stat.S_IFBLK, 8, 0)


@GROUP.check("mknod of the host's root disk", "mknod(2)", calls=("mknod", "mknodat"))
def _root_disk(surroundings: Surroundings) -> str:
    try:
        os.mknod("/tmp/verify-disk", stat.S_IFBLK | 0o600, os.makedev(*surroundings.device))
    except OSError as error:
        require(error.errno in (EPERM, EACCES, EROFS), str(error))
        return error.strerror or ""
    raise Escaped("made")


GROUP.refused(
    "mknodat with a raw call",
    "mknodat(2)",
    lambda _: call("mknodat", AT_FDCWD, b"/tmp/verify-raw", stat.S_IFCHR | 0o666, os.makedev(1, 1)),
    EPERM,
    EACCES,
    calls=("mknodat",),
)

for _name in (
    "mem", "kmsg", "port", "fuse", "kvm", "net/tun", "vhost-net", "vhost-vsock", "loop-control",
    "userfaultfd", "console", "tty0", "vda", "sda", "nvme0", "dri", "input", "uinput", "snd", "vfio",
    "mapper", "hwrng",
):  # fmt: skip
    GROUP.refused(
        f"open /dev/{_name}",
        "Documentation/admin-guide/devices.txt",
        lambda _, name=_name: os.open(f"/dev/{name}", os.O_RDWR | os.O_NONBLOCK),  # type: ignore[misc]
        ENOENT,
        excuse=_is_given(_name),
    )


@GROUP.check("/dev holds harmless devices only", "OCI runtime specification, default devices")
def _sweep(surroundings: Surroundings) -> str:
    seen = []
    wanted = given(surroundings)
    for directory, _names, files in os.walk("/dev"):
        for name in files:
            path = f"{directory}/{name}"
            status = os.lstat(path)
            if stat.S_ISBLK(status.st_mode):
                raise Escaped(f"{path} is a block device")
            if stat.S_ISCHR(status.st_mode):
                number = os.major(status.st_rdev), os.minor(status.st_rdev)
                known = number in _HARMLESS or number[0] in _UNIX98_SLAVES or wanted.get(path) == number
                require(known, f"{path} is device {number[0]}:{number[1]}")
                seen.append(name)
    return ", ".join(sorted(seen))


@GROUP.check("no entry can be added to /dev", "tmpfs(5)")
def _closed(_: Surroundings) -> str:
    refusal(lambda: os.symlink("/x", "/dev/verify"), (EROFS, EACCES))
    return refusal(lambda: os.mkdir("/dev/verify"), (EROFS, EACCES))


@GROUP.check("the terminal multiplexer is the session's own", "pts(4), devpts in Documentation/filesystems")
def _own_terminals(_: Surroundings) -> str:
    status = os.stat("/dev/ptmx")
    require(status.st_dev == os.stat("/dev/pts").st_dev, "/dev/ptmx is not the own instance's")
    master, slave = _terminal()
    listed = sorted(name for name in os.listdir("/dev/pts") if name.isdigit())
    name = os.ttyname(slave)
    require(os.path.basename(name) in listed, f"{name} is not listed")
    for number in listed:
        require(os.stat(f"/dev/pts/{number}").st_uid == os.getuid(), f"/dev/pts/{number} is somebody else's")
    os.close(master)
    return f"{name}, listed: {', '.join(listed)}"


@GROUP.check("terminals are limited in number", "devpts, option max")
def _terminals(_: Surroundings) -> str:
    most = 4096
    opened: list[int] = []
    try:
        while len(opened) < most:
            opened.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        require(error.errno in (ENOSPC, errno.EMFILE), str(error))
        return f"{error.strerror} after {len(opened)}"
    raise Escaped(f"{most} terminals opened")


def _terminal() -> tuple[int, int]:
    """Open a terminal pair of the session's own devpts without the C library."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
    return master, fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)


def _on_terminal(request: int, argument: bytes) -> object:
    _, slave = _terminal()
    fcntl.ioctl(slave, _TIOCSCTTY, 0)  # each probe leads a session of its own
    return call("ioctl", slave, request, argument)


for _title, _source, _request, _argument in (
    ("TIOCSTI", "CVE-2017-5226; tty_ioctl(4)", _TIOCSTI, b"x"),
    ("TIOCSTI with high bits set", "CVE-2019-10063", _TIOCSTI | _HIGH, b"x"),
    ("TIOCSTI with all high bits set", "CVE-2019-10063", _TIOCSTI - _HIGH, b"x"),
    ("TIOCLINUX, paste the selection", "CVE-2023-28100; console_ioctl(4)", _TIOCLINUX, b"\x03"),
    ("TIOCLINUX with high bits set", "CVE-2023-28100, CVE-2019-10063", _TIOCLINUX | _HIGH, b"\x03"),
):
    GROUP.refused(
        _title,
        _source,
        lambda _, request=_request, argument=_argument: _on_terminal(request, argument),  # type: ignore[misc]
        EPERM,
        EIO,
        weak=(ENOTTY,),
        calls=("ioctl",),
    )
GROUP.refused(
    "TIOCCONS, take over the console",
    "tty_ioctl(4)",
    lambda _: _on_terminal(_TIOCCONS, b""),
    EPERM,
    EIO,
    EBUSY,
    weak=(ENOTTY,),
    calls=("ioctl",),
)


@GROUP.check("no line discipline with a history of holes", "CVE-2023-6546 (n_gsm), CVE-2017-2636 (n_hdlc)")
def _disciplines(_: Surroundings) -> str:
    answers = set()
    for name, number in (("slip", 1), ("ppp", 3), ("hdlc", 13), ("gsm", 21)):
        slave = _terminal()[1]
        try:
            call("ioctl", slave, _TIOCSETD, number.to_bytes(4, "little"))
        except OSError as error:
            answers.add(errno.errorcode.get(error.errno or 0, ""))
            require(error.errno in (EPERM, EINVAL, ENOSYS, ENODEV, ENOENT, EIO, EACCES), f"{name}: {error}")
        else:
            raise Escaped(f"the line discipline {name} can be attached")
    if answers <= {"EINVAL", "ENODEV"}:
        raise Weak("the kernel has none of them: " + ", ".join(sorted(answers)))
    return ", ".join(sorted(answers))


GROUP.refused(
    "/dev/tty without a terminal",
    "tty(4)",
    lambda _: os.open("/dev/tty", os.O_RDWR),
    ENXIO,
    weak=(ENOENT,),
)

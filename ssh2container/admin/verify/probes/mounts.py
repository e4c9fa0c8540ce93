"""Mounts and namespaces: nothing can be mounted, unmounted or moved, no namespace made or joined."""

from __future__ import annotations

import os
from errno import EACCES, EINVAL, ENOENT, ENOSYS, EPERM, EROFS
from typing import TYPE_CHECKING

from ssh2container.admin.verify.calls import AT_FDCWD, call, words
from ssh2container.admin.verify.probe import Group, require
from ssh2container.admin.verify.probes.devices import given
from ssh2container.admin.verify.probes.mountinfo import mountinfo, volume_targets, writable_targets
from ssh2container.admin.verify.probes.privileges import as_root, of_system
from ssh2container.admin.verify.verdicts import Escaped, Skipped, Weak
from ssh2container.paths import CGROUPS

if TYPE_CHECKING:
    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("Mounts and namespaces")

_RDONLY, _REMOUNT, _BIND, _MOVE, _REC, _SHARED = 0x1, 0x20, 0x1000, 0x2000, 0x4000, 0x100000
_DETACH = 2
_MOUNT, _NO_CALL = (EPERM, EACCES), (EPERM, ENOSYS)
_NEW_API = ("fsopen", "fspick", "fsconfig", "fsmount", "open_tree", "move_mount", "mount_setattr")


def _refused_mount(
    name: str, source: str, *arguments: bytes | int | None, weak: tuple[int, ...] = ()
) -> None:
    GROUP.refused(name, source, lambda _: call("mount", *arguments), *_MOUNT, weak=weak, calls=("mount",))


_refused_mount("mount tmpfs on /tmp", "mount(2)", b"x", b"/tmp", b"tmpfs", 0, None)
_refused_mount("mount a second proc", "mount(2); CVE-2025-31133", b"x", b"/proc", b"proc", 0, None)
_refused_mount("mount sysfs", "mount(2)", b"x", b"/tmp", b"sysfs", 0, None)
_refused_mount("mount cgroup2", "cgroups(7); CVE-2022-0492", b"x", b"/tmp", b"cgroup2", 0, None)
_refused_mount("mount cgroup v1 with a release agent", "CVE-2022-0492", b"x", b"/tmp", b"cgroup", 0, b"rdma")
_refused_mount("mount mqueue", "mq_overview(7)", b"x", b"/tmp", b"mqueue", 0, None)
_refused_mount("mount a second devpts", "mount(2)", b"x", b"/tmp", b"devpts", 0, b"newinstance")
_refused_mount(
    "mount an overlay over /etc",
    "CVE-2023-0386",
    b"x",
    b"/etc",
    b"overlay",
    0,
    b"lowerdir=/etc:/usr,userxattr",
)
_refused_mount("bind / on /tmp", "mount(2)", b"/", b"/tmp", None, _BIND | _REC, None)
_refused_mount("move /proc to /tmp", "mount(2)", b"/proc", b"/tmp", None, _MOVE, None)
_refused_mount("make / shared again", "mount_namespaces(7)", None, b"/", None, _SHARED | _REC, None)


@GROUP.check("remount every read-only mount writable", "mount(2); CVE-2023-1314", calls=("mount",))
def _remount(_: Surroundings) -> str:
    tried = 0
    for mount in mountinfo():
        if "ro" not in mount.options:
            continue
        tried += 1
        try:
            call("mount", None, os.fsencode(mount.point), None, _REMOUNT | _BIND, None)
        except OSError as error:
            require(error.errno in _MOUNT, f"{mount.point}: {error}")
        else:
            raise Escaped(f"{mount.point} could be remounted writable")
    return f"{tried} mounts"


def _unmount(name: str, source: str, path: bytes, flags: int = _DETACH) -> None:
    GROUP.refused(
        name, source, lambda _: call("umount2", path, flags), *_MOUNT, weak=(EINVAL,), calls=("umount2",)
    )


_unmount("unmount /", "umount2(2)", b"/")
_unmount("unmount /proc/sys", "umount2(2)", b"/proc/sys")
_unmount("unmount /dev", "umount2(2)", b"/dev")
_unmount("unmount /etc", "umount2(2)", b"/etc")


@GROUP.check("unmount every mask of /proc", "CVE-2025-31133; umount2(2)", calls=("umount2",))
def _unmask(_: Surroundings) -> str:
    masks = [mount.point for mount in mountinfo() if mount.point.startswith("/proc/")]
    require(masks, "there is no mount below /proc at all")
    for path in masks:
        try:
            call("umount2", os.fsencode(path), _DETACH)
        except OSError as error:
            require(error.errno in _MOUNT, f"{path}: {error}")
        else:
            raise Escaped(f"{path} could be unmounted")
    return ", ".join(masks)


GROUP.refused(
    "pivot_root", "pivot_root(2)", lambda _: call("pivot_root", b".", b"."), EPERM, calls=("pivot_root",)
)
GROUP.refused(
    "chroot to /tmp", "chroot(2)", lambda _: call("chroot", b"/tmp"), EPERM, excuse=as_root, calls=("chroot",)
)
GROUP.refused("fsopen", "fsopen(2)", lambda _: call("fsopen", b"tmpfs", 0), *_NO_CALL, calls=_NEW_API)
GROUP.refused("fspick /", "fspick(2)", lambda _: call("fspick", AT_FDCWD, b"/", 0), *_NO_CALL, calls=_NEW_API)
GROUP.refused("fsmount", "fsmount(2)", lambda _: call("fsmount", -1, 0, 0), *_NO_CALL, calls=_NEW_API)
GROUP.refused(
    "open_tree of a copy of /",
    "open_tree(2)",
    lambda _: call("open_tree", AT_FDCWD, b"/", 1),
    *_NO_CALL,
    calls=_NEW_API,
)
GROUP.refused(
    "open_tree without a copy",
    "open_tree(2)",
    lambda _: call("open_tree", AT_FDCWD, b"/", 0),
    *_NO_CALL,
    calls=_NEW_API,
)
GROUP.refused(
    "move_mount",
    "move_mount(2)",
    lambda _: call("move_mount", AT_FDCWD, b"/proc", AT_FDCWD, b"/tmp", 0),
    *_NO_CALL,
    calls=_NEW_API,
)
GROUP.refused(
    "mount_setattr of / to writable",
    "mount_setattr(2)",
    lambda _: call("mount_setattr", AT_FDCWD, b"/usr", 0, words(0, _RDONLY, 0, 0), 32),
    *_NO_CALL,
    calls=_NEW_API,
)


@GROUP.check(".. from / stays in /", "chroot(2), NOTES")
def _dotdot(_: Surroundings) -> str:
    here = os.stat("/")
    for path in ("/..", "/../../..", "/proc/self/root/.."):
        above = os.stat(path)
        require((above.st_dev, above.st_ino) == (here.st_dev, here.st_ino), f"{path} is not /")
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.fchdir(descriptor)
    os.chdir("../..")
    require(os.getcwd() == "/", f"{os.getcwd()} above /")
    return "by path, descriptor and magic link"


@GROUP.check("mountinfo names nothing of the old root", "proc_pid_mountinfo(5)")
def _old_root(_: Surroundings) -> str:
    points = [mount.point for mount in mountinfo()]
    require("/" in points, "no mount at /")
    for point in points:
        require("deleted" not in point, point)
        for secret in ("/etc/ssh2container", "/var/lib/ssh2container", "/var/log/ssh2container"):
            require(not point.startswith(secret), point)
    require(points.count("/") == 1, "more than one mount at /")
    return f"{len(points)} mounts"


@GROUP.check("every mount is nosuid", "mount(8); CVE-2023-0386")
def _nosuid(_: Surroundings) -> str:
    lacking = [mount.point for mount in mountinfo() if "nosuid" not in mount.options]
    require(not lacking, "without nosuid: " + ", ".join(lacking))
    return "all of them"


@GROUP.check("every mount but the devices' own is nodev", "mount(8)")
def _nodev(surroundings: Surroundings) -> str:
    own = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts")
    devices = {*own, *given(surroundings)}
    lacking = []
    for mount in mountinfo():
        masked = mount.point.startswith("/proc/") and mount.inside == "/null"
        # A terminal of the session's own, as in /dev/pts.
        console = of_system(surroundings) and mount.point == "/dev/console" and mount.kind == "devpts"
        if "nodev" not in mount.options and mount.point not in devices and not (masked or console):
            lacking.append(mount.point)
    require(not lacking, "without nodev: " + ", ".join(lacking))
    return "all of them"


@GROUP.check("no mount receives or gives propagation", "mount_namespaces(7), shared subtrees")
def _private(_: Surroundings) -> str:
    joined = [mount.point for mount in mountinfo() if mount.shared]
    require(not joined, "a mount on the host would appear below " + ", ".join(joined))
    return "all private"


@GROUP.check(
    "host file systems are writable where the policy says so only", "mount_setattr(2); CVE-2020-27534"
)
def _writable(surroundings: Surroundings) -> str:
    allowed = writable_targets(surroundings)
    for mount in mountinfo():
        own = mount.kind in ("tmpfs", "overlay", "proc", "devpts", "mqueue")
        if of_system(surroundings) and (mount.kind, mount.point) == ("cgroup2", CGROUPS):
            own = True  # what lies above its root another probe looks for
        if own or "ro" in mount.options or mount.point.startswith("/dev/"):
            continue
        beneath = any(mount.point == target or mount.point.startswith(target + "/") for target in allowed)
        require(beneath, f"{mount.point} ({mount.kind}) is writable")
    return "writable by policy: " + (", ".join(allowed) or "none")


@GROUP.check("write in every read-only mount", "mount_setattr(2), AT_RECURSIVE")
def _write_read_only(_: Surroundings) -> str:
    tried = 0
    for mount in mountinfo():
        if "ro" not in mount.options or not os.path.isdir(mount.point):
            continue
        tried += 1
        name = mount.point.rstrip("/") + "/ssh2container-verify"
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            nothing_can_be_made = (ENOENT,) if mount.kind == "proc" else ()
            require(error.errno in (EROFS, EACCES, EPERM, *nothing_can_be_made), f"{name}: {error}")
        else:
            raise Escaped(f"{name} could be made")
    require(tried, "no read-only mount to try")
    return f"{tried} mounts"


@GROUP.check("nothing below a read-only volume is writable", "mount_setattr(2); CVE-2020-27534")
def _submounts(surroundings: Surroundings) -> str:
    targets = [target for target, read_only in volume_targets(surroundings) if read_only]
    if not targets:
        raise Skipped("the policy has no read-only volume")
    for mount in mountinfo():
        for target in targets:
            if mount.point.startswith(target + "/") and mount.point not in writable_targets(surroundings):
                require("ro" in mount.options, f"{mount.point} below {target} is writable")
    return ", ".join(targets)


@GROUP.check(
    "the host's mounts are not listed", "listmount(2), statmount(2)", calls=("listmount", "statmount")
)
def _list_mounts(_: Surroundings) -> str:
    found = bytearray(8 * 4096)
    # struct mnt_id_req: size, spare, LSMT_ROOT, last
    request = (24).to_bytes(4, "little") + bytes(4) + words(0xFFFFFFFFFFFFFFFF, 0)
    try:
        count = call("listmount", request, found, 4096, 0)
    except OSError as error:
        if error.errno == ENOSYS:
            raise Weak("ENOSYS") from None
        return error.strerror or ""
    own = len(list(mountinfo()))
    require(count <= own + 1, f"{count} mounts listed, {own} are the session's")
    return f"{count} listed, {own} are the session's"

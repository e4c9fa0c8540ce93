"""Mounts and namespaces: nothing can be mounted, unmounted or moved, no namespace made or joined."""

from __future__ import annotations

import _thread
import os
from errno import EACCES, EINVAL, ENOENT, ENOSPC, ENOSYS, EPERM, EROFS
from typing import TYPE_CHECKING

from ssh2container.admin.verify import calls
from ssh2container.admin.verify.calls import AT_FDCWD, call, clone, clone3, words
from ssh2container.admin.verify.probe import Escaped, Group, Skipped, Weak, require

if TYPE_CHECKING:
    from collections.abc import Iterator

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
GROUP.refused("chroot to /tmp", "chroot(2)", lambda _: call("chroot", b"/tmp"), EPERM, calls=("chroot",))
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

for _kind, _flag in (
    ("mount", calls.CLONE_NEWNS),
    ("network", calls.CLONE_NEWNET),
    ("pid", calls.CLONE_NEWPID),
    ("ipc", calls.CLONE_NEWIPC),
    ("uts", calls.CLONE_NEWUTS),
    ("cgroup", calls.CLONE_NEWCGROUP),
    ("time", calls.CLONE_NEWTIME),
):
    GROUP.refused(
        f"unshare a {_kind} namespace",
        "unshare(2)",
        lambda _, flag=_flag: call("unshare", flag),  # type: ignore[misc]
        EPERM,
        weak=(EINVAL,),
        calls=("unshare",),
    )
GROUP.refused(
    "unshare a user namespace",
    "user_namespaces(7); CVE-2022-0185",
    lambda _: call("unshare", calls.CLONE_NEWUSER),
    EPERM,
    ENOSPC,
    calls=("unshare",),
)
GROUP.refused(
    "clone into a user namespace",
    "clone(2); CVE-2022-0185",
    lambda _: clone(calls.CLONE_NEWUSER),
    EPERM,
    ENOSPC,
    calls=("clone",),
)
GROUP.refused(
    "clone into user and mount namespaces",
    "clone(2)",
    lambda _: clone(calls.CLONE_NEWUSER | calls.CLONE_NEWNS),
    EPERM,
    ENOSPC,
    calls=("clone",),
)
GROUP.refused(
    "clone3 into a user namespace",
    "clone3(2)",
    lambda _: clone3(calls.CLONE_NEWUSER),
    EPERM,
    ENOSPC,
    ENOSYS,
    calls=("clone3",),
)


GROUP.refused(
    "clone into a user namespace with high bits set",
    "clone(2); CVE-2019-10063's way",
    lambda _: clone(calls.CLONE_NEWUSER | 1 << 32),
    EPERM,
    ENOSPC,
    calls=("clone",),
)
GROUP.refused(
    "unshare a user namespace with high bits set",
    "unshare(2); CVE-2019-10063's way",
    lambda _: call("unshare", calls.CLONE_NEWUSER | 1 << 32),
    EPERM,
    ENOSPC,
    EINVAL,
    calls=("unshare",),
)


@GROUP.check("the second lock on user namespaces", "namespaces(7), max_user_namespaces")
def _second_lock(_: Surroundings) -> str:
    path = "/proc/sys/user/max_user_namespaces"
    with open(path, encoding="ascii") as file:
        value = file.read().strip()
    require(value == "0", f"{path} is {value}")
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except OSError as error:
        require(error.errno in (EACCES, EROFS, EPERM), f"{path}: {error}")
        return "0, and cannot be raised"
    try:
        os.write(descriptor, b"100")
    except OSError as error:
        return f"0, and cannot be raised ({error.strerror})"
    raise Escaped(f"{path} can be raised")


@GROUP.check("threads and processes still work", "clone3(2), NOTES; pthread_create(3)", works=True)
def _threads(_: Surroundings) -> str:
    lock = _thread.allocate_lock()
    lock.acquire()
    _thread.start_new_thread(lock.release, ())
    require(lock.acquire(timeout=20), "a thread did not run")
    child = os.fork()
    if child == 0:
        os._exit(7)
    require(os.waitpid(child, 0)[1] == 7 << 8, "a child did not run")
    return "a thread, a fork"


for _kind in ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup"):
    GROUP.refused(
        f"open the {_kind} namespace of pid 1",
        "setns(2); ptrace(2), access mode checking",
        lambda _, kind=_kind: os.open(f"/proc/1/ns/{kind}", os.O_RDONLY),  # type: ignore[misc]
        EACCES,
        EPERM,
    )


def _join_own(kind: str, flag: int) -> None:
    def attempt(_: Surroundings) -> int:
        return call("setns", os.open(f"/proc/self/ns/{kind}", os.O_RDONLY), flag)

    GROUP.refused(f"setns to the own {kind} namespace", "setns(2)", attempt, EPERM, EINVAL, calls=("setns",))


_join_own("mnt", calls.CLONE_NEWNS)
_join_own("user", calls.CLONE_NEWUSER)


@GROUP.check("setns by a pidfd of pid 1", "setns(2), pidfd_open(2)", calls=("setns", "pidfd_open"))
def _join_by_pidfd(_: Surroundings) -> str:
    try:
        descriptor = call("pidfd_open", 1, 0)
        call("setns", descriptor, calls.CLONE_NEWNS)
    except OSError as error:
        require(error.errno in (EPERM, ENOSYS), str(error))
        return error.strerror or ""
    raise Escaped("joined the mount namespace of pid 1")


@GROUP.check("every namespace is the session's own", "namespaces(7)")
def _own_namespaces(surroundings: Surroundings) -> str:
    shared = [
        kind
        for kind, outside in surroundings.namespaces.items()
        if os.readlink(f"/proc/self/ns/{kind}") == outside
        and not (kind == "net" and surroundings.shares_network)
    ]
    require(not shared, "shared with the host: " + ", ".join(shared))
    return ", ".join(surroundings.namespaces)


def _excuse_network(surroundings: Surroundings) -> str:
    return "network_mode" if surroundings.shares_network else ""


@GROUP.check("the network namespace is the session's own", "network_namespaces(7)", excuse=_excuse_network)
def _own_network(surroundings: Surroundings) -> str:
    own = os.readlink("/proc/self/ns/net")
    require(own != surroundings.namespaces["net"], "shared with the host")
    return own


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
def _nodev(_: Surroundings) -> str:
    devices = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts")
    lacking = []
    for mount in mountinfo():
        masked = mount.point.startswith("/proc/") and mount.inside == "/null"
        if "nodev" not in mount.options and mount.point not in devices and not masked:
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


class Mount:
    """A line of /proc/self/mountinfo: what is mounted, where, how."""

    __slots__ = ("inside", "kind", "options", "point", "shared")

    def __init__(self, line: str) -> None:
        fields = line.split()
        dash = fields.index("-")
        self.inside, self.point = fields[3], fields[4]
        self.options = fields[5].split(",")
        self.shared = dash > 6  # noqa: PLR2004 - optional fields stand from the seventh on
        self.kind = fields[dash + 1]


def mountinfo() -> Iterator[Mount]:
    """Yield the mounts of this mount namespace (proc_pid_mountinfo(5))."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            yield Mount(line)


def volume_targets(surroundings: Surroundings) -> list[tuple[str, bool]]:
    """Return where the policy's binds are inside, and whether read-only."""
    found = []
    for operation in surroundings.plan.init:
        if operation.step == "open-volume":
            name = surroundings.home if operation.name == "home" else operation.name  # type: ignore[attr-defined]
            found.append((name, bool(operation.attributes & _RDONLY)))  # type: ignore[attr-defined]
    return found


def writable_targets(surroundings: Surroundings) -> list[str]:
    """Return where the policy lets the session write to the host."""
    return [target for target, read_only in volume_targets(surroundings) if not read_only]

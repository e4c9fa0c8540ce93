"""Nothing of the image or the host can be changed (part of the group of files)."""

from __future__ import annotations

import mmap
import os
from errno import EACCES, EBUSY, EINVAL, ENOENT, ENOSYS, EPERM, EROFS, ETXTBSY, EXDEV
from typing import TYPE_CHECKING

from ssh2container.admin.verify.calls import AT_FDCWD, call
from ssh2container.admin.verify.probe import refusal, require
from ssh2container.admin.verify.probes.files import GROUP
from ssh2container.admin.verify.probes.privileges import as_root, ranges
from ssh2container.admin.verify.verdicts import Escaped, Skipped, Weak
from ssh2container.kernel import landlock

if TYPE_CHECKING:
    from ssh2container.admin.verify.surroundings import Surroundings

_WALL = (EROFS, EACCES, EPERM)


def _refused_write(path: str, flags: int = os.O_WRONLY) -> None:
    GROUP.refused(
        f"write to {path}",
        "open(2)",
        lambda _: os.open(path, flags, 0o644),
        *_WALL,
        ETXTBSY,
        weak=(ENOENT,),
        excuse=ranges,
    )


for _path in ("/etc/passwd", "/etc/hosts", "/etc/ld.so.cache", "/bin/sh", "/usr/bin/env"):
    _refused_write(_path)
_refused_write("/etc/ld.so.preload", os.O_WRONLY | os.O_CREAT)
_refused_write("/verify-file", os.O_WRONLY | os.O_CREAT)

GROUP.refused(
    "remove /usr", "rename(2)", lambda _: os.rename("/usr", "/tmp/usr"), *_WALL, EBUSY, EXDEV, weak=(ENOENT,)
)
GROUP.refused("remove a mount point of /etc", "rmdir(2)", lambda _: os.rmdir("/etc"), *_WALL, EBUSY, 39)
GROUP.refused(
    "replace the home's mount point",
    "rename(2)",
    lambda s: os.rename(s.home, "/tmp/home"),
    *_WALL,
    EBUSY,
    EXDEV,
)
GROUP.refused(
    "put a link over /proc",
    "CVE-2025-52881; rename(2)",
    lambda _: os.rename("/proc", "/tmp/proc"),
    *_WALL,
    EBUSY,
    EXDEV,
)


@GROUP.check(
    "files of the image stay when all is removed",
    "Documentation/filesystems/overlayfs.rst",
    excuse=ranges,
)
def _remove_all(_: Surroundings) -> str:
    tried, removed = 0, []
    for directory in ("/usr/bin", "/bin", "/etc", "/usr/lib"):
        if not os.path.isdir(directory) or os.path.islink(directory):
            continue
        for name in sorted(os.listdir(directory))[:200]:
            tried += 1
            path = f"{directory}/{name}"
            try:
                os.unlink(path)
            except OSError:
                continue
            removed.append(path)
    require(not removed, "removed: " + ", ".join(removed[:5]))
    if not tried:
        raise Skipped("the image has none of the usual directories")
    return f"{tried} files"


GROUP.refused(
    "open a file by a handle of the root",
    "open_by_handle_at(2); the 2014 shocker exploit",
    lambda _: call(
        "open_by_handle_at",
        os.open("/usr", os.O_RDONLY),
        (8).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(8),
        0,
    ),
    EPERM,
    ENOSYS,
    weak=(ENOENT,),
    calls=("open_by_handle_at",),
)


@GROUP.check("Landlock stands where modes would yield", "landlock(7)", excuse=ranges)
def _landlock(surroundings: Surroundings) -> str:
    if surroundings.landlock < landlock.OLDEST:
        raise Weak(f"the kernel's Landlock has ABI {surroundings.landlock}")
    # The session owns the memory above its root: its modes are its own to change.
    os.chmod("/", 0o700)
    try:
        return refusal(lambda: os.mkdir("/verify-landlock"), (EACCES,))
    finally:
        os.chmod("/", 0o555)  # noqa: S103 - as the plan made it


@GROUP.check("files can be renamed across directories", "landlock(7), ABI 1; rename(2)", works=True)
def _rename(_: Surroundings) -> str:
    base = "/tmp/verify-rename"
    os.makedirs(base + "/a")
    os.makedirs(base + "/b")
    try:
        os.close(os.open(base + "/a/file", os.O_WRONLY | os.O_CREAT, 0o600))
        os.rename(base + "/a/file", base + "/b/file")
        os.unlink(base + "/b/file")
    except OSError as error:
        raise Escaped(f"the wall breaks renames: {error}") from None
    finally:
        os.rmdir(base + "/a")
        os.rmdir(base + "/b")
        os.rmdir(base)
    return "works"


GROUP.refused(
    "a device through a symbolic link of /proc",
    "proc_pid_fd(5)",
    lambda _: os.open("/proc/self/root/proc/1/root/etc/shadow", os.O_RDONLY),
    EACCES,
    EPERM,
    ENOENT,
)
GROUP.refused(
    "write through /proc/self/map_files",
    "proc_pid_map_files(5)",
    lambda _: _map_files(),
    EPERM,
    EACCES,
    EROFS,
    ETXTBSY,
    weak=(ENOENT, EINVAL),
)


def _map_files() -> int:
    for name in sorted(os.listdir("/proc/self/map_files")):
        path = f"/proc/self/map_files/{name}"
        if os.readlink(path).startswith(("/usr/", "/lib", "/bin")):
            return os.open(path, os.O_RDWR)
    raise OSError(ENOENT, "no file of the image is mapped")


@GROUP.check("an overlay redirect leads nowhere", "overlayfs.rst, redirect_dir and userxattr; CVE-2023-2640")
def _redirect(_: Surroundings) -> str:
    path = "/run/verify-redirect"
    try:
        os.mkdir(path)
    except OSError as error:
        raise Skipped(f"{path}: {error.strerror}") from None
    try:
        for name in ("user.overlay.redirect", "user.overlay.opaque", "user.overlay.metacopy"):
            try:
                os.setxattr(path, name, b"/etc")
            except OSError:
                continue
        try:
            os.rename(path, path + "-moved")
        except OSError as error:
            if error.errno != EXDEV:
                raise
            return "no directory of it is renamed"  # a tmpfs without user attributes, before Linux 6.6
        path += "-moved"
        require(not os.listdir(path), f"it shows {os.listdir(path)[:3]}")
    finally:
        os.rmdir(path)
    return "an empty directory"


@GROUP.check("spliced pages of the image are not written", "CVE-2022-0847 (dirty pipe)")
def _dirty_pipe(_: Surroundings) -> str:
    path = next((p for p in ("/usr/bin/env", "/bin/sh", "/bin/busybox") if os.access(p, os.R_OK)), "")
    if not path:
        raise Skipped("the image has no file to try it on")
    victim = os.open(path, os.O_RDONLY)
    before = os.pread(victim, 16, 0)
    reader, writer = os.pipe()
    os.write(writer, bytes(16 * 4096))
    os.read(reader, 16 * 4096)
    os.splice(victim, writer, 1, offset_src=0)
    os.write(writer, b"HACKED")
    require(os.pread(victim, 16, 0) == before, f"{path} was changed through a pipe")
    return path


@GROUP.check("a private mapping of the image is written for oneself only", "CVE-2016-5195 (dirty COW)")
def _dirty_cow(_: Surroundings) -> str:
    path = next((p for p in ("/usr/bin/env", "/bin/sh", "/bin/busybox") if os.access(p, os.R_OK)), "")
    if not path:
        raise Skipped("the image has no file to try it on")
    victim = os.open(path, os.O_RDONLY)
    before = os.pread(victim, 16, 0)
    with mmap.mmap(victim, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ):
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if line.rstrip().endswith(os.path.realpath(path))]
        memory = os.open("/proc/self/mem", os.O_RDWR)
        for line in lines:
            os.pwrite(memory, b"HACKED", int(line.split("-")[0], 16))
        require(os.pread(victim, 16, 0) == before, f"{path} was changed through its mapping")
    return f"{len(lines)} mappings of {path}"


GROUP.refused(
    "exchange /proc for /tmp",
    "renameat2(2)",
    lambda _: call("renameat2", AT_FDCWD, b"/proc", AT_FDCWD, b"/tmp", 2),
    *_WALL,
    EBUSY,
    EXDEV,
)
GROUP.refused(
    "link a file by a path descriptor",
    "linkat(2), AT_EMPTY_PATH",
    lambda _: call("linkat", os.open("/etc/passwd", os.O_PATH), b"", AT_FDCWD, b"/tmp/verify-link", 0x1000),
    EPERM,
    EXDEV,
    ENOENT,
    EACCES,
)
for _name in (0x40086602, 0xC0045877):
    GROUP.refused(
        {0x40086602: "set inode flags in the image", 0xC0045877: "freeze a host file system"}[_name],
        "ioctl_iflags(2), ioctl_fsfreeze(2)",
        lambda _, request=_name: call("ioctl", os.open("/usr", os.O_RDONLY), request, bytearray(8)),  # type: ignore[misc]
        *_WALL,
        25,  # ENOTTY
        weak=(ENOENT, 95),
        excuse=as_root,
    )

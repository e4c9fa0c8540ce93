"""Files: no descriptor, link or path leads out, nothing of the host can be changed or learnt."""

from __future__ import annotations

import os
import stat
from errno import EACCES, ENOENT, ENOTDIR, EPERM, EROFS
from typing import TYPE_CHECKING

from ssh2container.admin.verify.probe import Group, refusal, require
from ssh2container.admin.verify.probes.mountinfo import mountinfo
from ssh2container.admin.verify.probes.programs import run_helper
from ssh2container.admin.verify.verdicts import Weak

if TYPE_CHECKING:
    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("Files")

_WALL = (EROFS, EACCES, EPERM)


@GROUP.check("no descriptor above 2 is open", "close_range(2); CVE-2024-21626, CVE-2016-9962")
def _descriptors(surroundings: Surroundings) -> str:
    require(not surroundings.descriptors, f"open: {surroundings.descriptors}")
    return "3-1023 are closed"


@GROUP.check("no descriptor above 2 is open in a program", "execve(2), close-on-exec")
def _descriptors_of_program(surroundings: Surroundings) -> str:
    output = run_helper(surroundings, "descriptors").split()
    # The probe's own two ends of pipes are not close-on-exec for the helper's sake.
    require(len(output) == 0, f"open: {output}")
    return "none"


@GROUP.check("descriptors 0-2 are no directories", "openat(2)")
def _standard(_: Surroundings) -> str:
    for number in (0, 1, 2):
        mode = os.fstat(number).st_mode
        require(not stat.S_ISDIR(mode) and not stat.S_ISBLK(mode), f"descriptor {number} has mode {mode:o}")
        refusal(lambda n=number: os.open("../etc/shadow", os.O_RDONLY, dir_fd=n), (ENOTDIR, ENOENT))  # type: ignore[misc]
    return "openat from each is refused"


@GROUP.check("chdir through /proc/self/fd", "CVE-2024-21626")
def _chdir(_: Surroundings) -> str:
    for number in range(64):
        try:
            os.chdir(f"/proc/self/fd/{number}")
        except OSError as error:
            require(error.errno in (ENOENT, ENOTDIR, EACCES), f"{number}: {error}")
            continue
        require(
            not os.readlink("/proc/self/cwd").startswith("(unreachable)"), f"descriptor {number} leads out"
        )
        require(os.stat("..").st_dev == os.stat("/").st_dev, f"descriptor {number} leads out")
    return "0-63"


@GROUP.check("the working directory is inside", "getcwd(2); CVE-2024-21626")
def _cwd(_: Surroundings) -> str:
    place = os.getcwd()
    require(place.startswith("/"), f"it is {place}")
    here, named = os.stat("."), os.stat(place)
    require((here.st_dev, here.st_ino) == (named.st_dev, named.st_ino), f"it is not {place}")
    return place


@GROUP.check("/proc/self/root is the session's root", "proc_pid_root(5)")
def _root(_: Surroundings) -> str:
    require(os.readlink("/proc/self/root") == "/", os.readlink("/proc/self/root"))
    inside, outside = os.stat("/proc/self/root/"), os.stat("/")
    require((inside.st_dev, inside.st_ino) == (outside.st_dev, outside.st_ino), "it is another one")
    return "/"


@GROUP.check(
    "the overlay's upper layer is visible at the root only", "Documentation/filesystems/overlayfs.rst"
)
def _upper(_: Surroundings) -> str:
    for directory in ("/tmp", "/dev/shm", "/run", "/var/tmp"):
        if os.path.isdir(directory):
            for name in ("upper", "work", "root"):
                require(not os.path.lexists(f"{directory}/{name}"), f"{directory}/{name} is there")
    whole = [
        mount.point
        for mount in mountinfo()
        if mount.kind == "tmpfs" and mount.inside == "/" and "rw" in mount.options
    ]
    require(not [point for point in whole if os.path.isdir(point + "/upper")], ", ".join(whole))
    return "hidden"


for _path in (
    "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh2container",
    "/var/lib/ssh2container", "/var/log", "/boot", "/lost+found", "/.dockerenv", "/etc/crontab", "/etc/fstab",
    "/etc/machine-id", "/etc/krb5.keytab", "/var/spool/cron",
):  # fmt: skip

    @GROUP.check(f"nothing of the host at {_path}", "hier(7)")
    def _hidden(surroundings: Surroundings, path: str = _path) -> str:
        try:
            status = os.stat(path)
        except OSError as error:
            require(error.errno in (ENOENT, EACCES), str(error))
            return error.strerror or ""
        if surroundings.plan.container.image.kind == "tree":
            raise Weak("the image has its own")
        try:
            empty = not os.listdir(path) if stat.S_ISDIR(status.st_mode) else not os.access(path, os.R_OK)
        except PermissionError:
            empty = True
        require(empty, "it is there and readable")
        return "empty or unreadable"


@GROUP.check("homes of others are absent", "hier(7)")
def _homes(surroundings: Surroundings) -> str:
    above = os.path.dirname(surroundings.home)
    operations = surroundings.plan.container.init
    own = {target for operation in operations if (target := getattr(operation, "target", ""))}
    for directory in {above, "/home"} - {"/"}:
        if not os.path.isdir(directory):
            continue
        for name in os.listdir(directory):
            path = f"{directory}/{name}"
            known = path == surroundings.home or any(t == path or t.startswith(path + "/") for t in own)
            require(known or surroundings.plan.container.image.kind == "tree", f"{path} is there")
    return above


@GROUP.check("accounts of the host are not listed", "passwd(5)")
def _accounts(surroundings: Surroundings) -> str:
    with open("/etc/passwd", encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    if surroundings.plan.container.image.kind == "tree":
        return f"{len(lines)} accounts, the image's and the user's"
    names = [line.split(":")[0] for line in lines]
    require(len(names) <= 3, ", ".join(names))  # noqa: PLR2004 - root, nobody, the user
    return ", ".join(names)

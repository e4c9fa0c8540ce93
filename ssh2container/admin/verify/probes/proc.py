"""/proc and /sys: what speaks of the host is hidden, what speaks to it is read-only."""

from __future__ import annotations

import os
import stat
from errno import EACCES, EINVAL, EIO, ENOENT, EPERM, EROFS, ESRCH
from typing import TYPE_CHECKING

from ssh2container.admin.verify.probe import Group, refusal, require
from ssh2container.admin.verify.probes.mountinfo import mountinfo
from ssh2container.admin.verify.probes.privileges import of_system
from ssh2container.admin.verify.surroundings import start_time
from ssh2container.admin.verify.verdicts import Escaped, Weak

if TYPE_CHECKING:
    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("/proc and /sys")

_DENIED = (EACCES, EPERM, EROFS)
_NULL_DEVICE = os.makedev(1, 3)


def _write(path: str, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


for _path, _text, _source in (
    ("/proc/sysrq-trigger", b"h", "proc_sysrq-trigger(5)"),
    ("/proc/sys/kernel/core_pattern", b"|/tmp/x", "core(5); CVE-2022-0492's second half"),
    ("/proc/sys/kernel/modprobe", b"/tmp/x", "proc_sys_kernel(5), modprobe"),
    ("/proc/sys/kernel/hostname", b"x", "proc_sys_kernel(5), hostname"),
    ("/proc/sys/kernel/ns_last_pid", b"1", "proc_sys_kernel(5), ns_last_pid"),
    ("/proc/sys/vm/panic_on_oom", b"0", "proc_sys_vm(5)"),
    ("/proc/sys/fs/suid_dumpable", b"2", "proc_sys_fs(5), suid_dumpable"),
    ("/proc/sys/net/ipv4/ip_forward", b"1", "Documentation/networking/ip-sysctl.rst"),
    ("/proc/sys/fs/binfmt_misc/register", b":x:M::x::/x:", "Documentation/admin-guide/binfmt-misc.rst"),
    ("/proc/self/timens_offsets", b"monotonic 1 0\n", "time_namespaces(7)"),
):
    GROUP.refused(
        f"write {_path}",
        _source,
        lambda _, path=_path, text=_text: _write(path, text),  # type: ignore[misc]
        *_DENIED,
        weak=(ENOENT, EINVAL, EIO),
    )


@GROUP.check("write to any of /proc/sys", "proc_sys(5)")
def _sweep(_: Surroundings) -> str:
    tried = 0
    for directory, _names, files in os.walk("/proc/sys"):
        for name in files:
            path = f"{directory}/{name}"
            tried += 1
            try:
                descriptor = os.open(path, os.O_WRONLY)
            except OSError as error:
                require(error.errno in (*_DENIED, ENOENT), f"{path}: {error}")
                continue
            os.close(descriptor)
            raise Escaped(f"{path} opens for writing")
    require(tried > 20, f"only {tried} files below /proc/sys")  # noqa: PLR2004 - every kernel has hundreds
    return f"{tried} files"


for _part in ("bus", "fs", "irq", "sys"):

    @GROUP.check(f"/proc/{_part} is read-only", "proc(5)")
    def _protected(_: Surroundings, path: str = f"/proc/{_part}") -> str:
        if not os.path.exists(path):
            raise Weak("absent")
        require(os.statvfs(path).f_flag & os.ST_RDONLY, f"{path} is writable")
        return "read-only mount"


for _name in ("root", "cwd", "exe"):
    GROUP.refused(
        f"readlink /proc/1/{_name}",
        "ptrace(2), access mode checking",
        lambda _, name=_name: os.readlink(f"/proc/1/{name}"),  # type: ignore[misc]
        EACCES,
        EPERM,
    )
for _name in ("root/etc", "environ", "mem", "maps", "pagemap", "auxv", "io", "stack", "map_files"):
    GROUP.refused(
        f"open /proc/1/{_name}",
        "proc_pid(5); ptrace(2), access mode checking",
        lambda _, name=_name: os.read(os.open(f"/proc/1/{name}", os.O_RDONLY), 16),  # type: ignore[misc]
        EACCES,
        EPERM,
        weak=(ENOENT,),
    )


@GROUP.check("list and open /proc/1/fd", "proc_pid_fd(5); CVE-2024-21626")
def _descriptors_of_init(_: Surroundings) -> str:
    refusal(lambda: os.listdir("/proc/1/fd"), (EACCES, EPERM))
    for number in range(16):
        refusal(lambda n=number: os.open(f"/proc/1/fd/{n}", os.O_RDONLY), (EACCES, EPERM, ENOENT))  # type: ignore[misc]
    return "refused"


for _name in ("kcore", "keys", "timer_list", "sched_debug", "latency_stats", "timer_stats", "interrupts"):

    @GROUP.check(f"/proc/{_name} is masked", "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881")
    def _masked_file(_: Surroundings, path: str = f"/proc/{_name}") -> str:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            raise Weak("absent") from None
        require(stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE, f"{path} is not /dev/null")
        return "/dev/null (1:3), no link"


for _name in ("acpi", "asound", "scsi"):

    @GROUP.check(f"/proc/{_name} is masked", "CVE-2025-31133; proc(5)")
    def _masked_directory(_: Surroundings, path: str = f"/proc/{_name}") -> str:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            raise Weak("absent") from None
        require(stat.S_ISDIR(status.st_mode), f"{path} is no directory")
        require(not os.listdir(path), f"{path} is not empty")
        require(status.st_dev != os.stat("/proc").st_dev, f"nothing is mounted on {path}")
        require(os.statvfs(path).f_flag & os.ST_RDONLY, f"{path} is writable")
        return "an empty read-only file system"


@GROUP.check("the memory of the kernel cannot be read", "proc_kcore(5)")
def _kcore(_: Surroundings) -> str:
    try:
        descriptor = os.open("/proc/kcore", os.O_RDONLY)
    except OSError as error:
        require(error.errno in (EACCES, EPERM, ENOENT), str(error))
        return error.strerror or ""
    require(os.read(descriptor, 64) == b"", "/proc/kcore has content")
    return "empty"


for _name in ("kmsg", "vmallocinfo", "slabinfo", "kpagecount", "kpageflags", "kpagecgroup"):
    GROUP.refused(
        f"read /proc/{_name}",
        "proc(5)",
        lambda _, name=_name: os.read(os.open(f"/proc/{name}", os.O_RDONLY), 16),  # type: ignore[misc]
        EACCES,
        EPERM,
        weak=(ENOENT,),
    )


@GROUP.check("kernel addresses are hidden", "proc_kallsyms(5); kptr_restrict")
def _addresses(_: Surroundings) -> str:
    seen = []
    for path in ("/proc/kallsyms", "/proc/modules"):
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                lines = [file.readline() for number in range(200)]
        except OSError as error:
            seen.append(f"{path}: {error.strerror}")
            continue
        for line in filter(None, lines):
            word = line.split()[0 if path.endswith("kallsyms") else -1]
            if word.removeprefix("0x").strip("0123456789abcdef") == "" and len(word) >= 16:  # noqa: PLR2004
                require(int(word, 16) == 0, f"{path} shows {word}")
        seen.append(f"{path}: zeroes")
    return ", ".join(seen)


@GROUP.check("physical addresses are hidden", "proc_iomem(5), proc_ioports(5)")
def _iomem(_: Surroundings) -> str:
    for path in ("/proc/iomem", "/proc/ioports"):
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                for line in file:
                    first, last = line.split()[0].split("-")
                    require(int(first, 16) == int(last, 16) == 0, f"{path}: {line.strip()}")
        except (PermissionError, FileNotFoundError):
            continue
    return "zeroed or unreadable"


@GROUP.check("only the session's processes are listed", "pid_namespaces(7)")
def _listed(_: Surroundings) -> str:
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    require(1 in numbers and os.getpid() in numbers, "this is not the session's own proc")
    for number in numbers:
        try:
            with open(f"/proc/{number}/status", encoding="utf-8", errors="replace") as file:
                status = file.read()
        except OSError:
            continue
        require("\nSeccomp:" in status, f"{number} has no status")
        chain = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
        require(len(chain) == 1, f"process {number} shows its numbers {chain} of outer namespaces")
    require(len(numbers) < 20, f"{len(numbers)} processes")  # noqa: PLR2004 - ours are three
    return f"{len(numbers)} processes, each with one number"


for _name, _text in (
    ("uid_map", b"0 0 4294967295\n"),
    ("gid_map", b"0 0 4294967295\n"),
    ("setgroups", b"allow"),
):
    GROUP.refused(
        f"rewrite /proc/self/{_name}",
        "user_namespaces(7); CVE-2018-18955",
        lambda _, name=_name, text=_text: _write(f"/proc/self/{name}", text),  # type: ignore[misc]
        EPERM,
        EACCES,
        EINVAL,
    )


@GROUP.check("lower the own oom_score_adj", "proc_pid_oom_score_adj(5)")
def _oom(_: Surroundings) -> str:
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        now = int(file.read())
    return refusal(lambda: _write("/proc/self/oom_score_adj", b"%d" % max(now - 1, -1000)), (EACCES, EPERM))


@GROUP.check("sysfs is absent or read-only", "sysfs(5)")
def _sysfs(_: Surroundings) -> str:
    found = [mount for mount in mountinfo() if mount.kind == "sysfs"]
    if not found:
        require(not os.path.exists("/sys/kernel"), "/sys is there, but no mount")
        return "absent"
    for mount in found:
        require("ro" in mount.options, f"{mount.point} is writable")
    return "read-only"


@GROUP.check("/sys/firmware is masked or absent", "CVE-2025-31133")
def _firmware(_: Surroundings) -> str:
    try:
        require(not os.listdir("/sys/firmware"), "/sys/firmware has content")
    except FileNotFoundError:
        return "absent"
    return "empty"


@GROUP.check("cgroups cannot be made or changed", "cgroups(7); CVE-2022-0492", excuse=of_system)
def _cgroups(_: Surroundings) -> str:
    found = [mount for mount in mountinfo() if mount.kind in ("cgroup", "cgroup2")]
    for mount in found:
        refusal(lambda m=mount: os.mkdir(m.point + "/verify"), _DENIED)  # type: ignore[misc]
        refusal(lambda m=mount: _write(m.point + "/cgroup.procs", b"0"), (*_DENIED, ENOENT))  # type: ignore[misc]
        refusal(lambda m=mount: _write(m.point + "/release_agent", b"/x"), (*_DENIED, ENOENT))  # type: ignore[misc]
    return f"{len(found)} mounted, refused" if found else "not mounted"


@GROUP.check("the cgroup shows no path of the host", "cgroup_namespaces(7)")
def _cgroup_path(_: Surroundings) -> str:
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    for line in lines:
        path = line.split(":", 2)[2]
        require(path == "/" or path.startswith("/.."), f"the host's path {path}")
        require(not path.strip("/.").strip("/"), f"a part of the host's path {path}")
    return "/"


GROUP.refused(
    "write to /proc/self/exe",
    "CVE-2019-5736",
    lambda _: os.open("/proc/self/exe", os.O_WRONLY),
    EACCES,
    EROFS,
    EPERM,
    26,  # ETXTBSY
)


def _look_at_monitor(surroundings: Surroundings) -> str:
    if start_time(surroundings.pid) == surroundings.started:
        return "it is listed"
    raise OSError(ENOENT, "another process, of this session")


GROUP.refused(
    "look at the monitor by its number on the host", "pid_namespaces(7)", _look_at_monitor, ENOENT, ESRCH
)

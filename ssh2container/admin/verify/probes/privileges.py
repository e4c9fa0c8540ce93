# Longer than 300 lines: one group of the report, its attempts in the order in which they are shown.
"""Privileges: the session has none, and nothing in it gains any."""

from __future__ import annotations

import os
import resource
import stat
from errno import EACCES, EINVAL, EPERM, EROFS
from typing import TYPE_CHECKING

from ssh2container.admin.verify.calls import call
from ssh2container.admin.verify.probe import Group, refusal, require
from ssh2container.admin.verify.probes.programs import run_helper, spawn
from ssh2container.admin.verify.verdicts import Escaped, Skipped, Weak
from ssh2container.kernel.capabilities import KEEP_CAPS_LOCKED

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("Privileges")

_PR_GET_SECUREBITS, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 27, 28, 38, 47
_PR_CAPBSET_READ, _PR_SET_SECCOMP, _PR_SET_MM = 23, 22, 35
_AMBIENT_RAISE = 2
_CAP_SYS_ADMIN = 21
_NO_SETUID_FIXUP = 1 << 2
_LOCKED = 0b11101111
"""NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE each with its lock, KEEP_CAPS locked off."""


def status() -> dict[str, str]:
    """Return the fields of /proc/self/status."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}


def kept(surroundings: Surroundings) -> int:
    """Return the bits of the capabilities that the plan keeps: none, unless the policy is root's."""
    bits = 0
    for operation in surroundings.plan.container.init:
        if operation.step == "capabilities":
            bits = sum(1 << number for number in operation.keep)  # type: ignore[attr-defined]
    return bits


def ranges(surroundings: Surroundings) -> str:
    """Return the key that gives the session more ids than the user's own, "" for none."""
    return "userns_mode" if surroundings.policy.ranged else ""


def as_root(surroundings: Surroundings) -> str:
    """Return the key that lets root inside keep capabilities, "" for none."""
    if not kept(surroundings):
        return ""
    return "cap_add" if surroundings.policy.cap_add else "user"


def added(name: str) -> Callable[[Surroundings], str]:
    """Return what excuses an attempt that succeeds by the capability ``name``, which the policy added."""
    return lambda surroundings: "cap_add" if name in surroundings.policy.cap_add else ""


def of_system(surroundings: Surroundings) -> str:
    """Return the key that makes the session a whole system, "" for none."""
    return "boot" if surroundings.policy.values["boot"] else ""


def of_its_network(surroundings: Surroundings) -> str:
    """Return the key that makes the session a whole system with a network of its own, "" for none."""
    system = surroundings.policy.values["boot"]
    return "boot" if system and surroundings.policy.network_mode != "host" else ""


_NEVER = (1 << 21) | (1 << 24) | (1 << 8) | (1 << 19) | (1 << 27)
"""SYS_ADMIN, SYS_RESOURCE, SETPCAP, SYS_PTRACE, MKNOD: no policy gives them (docs/security.md), but
SETPCAP to a whole system, whose services are to lose capabilities."""
_SETPCAP = 1 << 8

for _set in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):

    @GROUP.check(f"{_set} is empty", "capabilities(7)", excuse=as_root)
    def _empty(surroundings: Surroundings, name: str = _set) -> str:
        value = int(status()[name], 16)
        allowed = kept(surroundings) if name in ("CapPrm", "CapEff", "CapBnd") else 0
        # What the documented set does not hold is a hole whatever the policy says.
        never = _NEVER & ~_SETPCAP if of_system(surroundings) else _NEVER
        if value & never or value & ~allowed:
            raise Escaped(f"{name} is {value:#x}, planned is {allowed:#x}", excusable=False)
        require(value == 0, f"{name} is {value:#x}")
        return "0"


@GROUP.check("no capability can be raised", "capset(2)", calls=("capset",))
def _raise(surroundings: Surroundings) -> str:
    header = bytearray((0x20080522).to_bytes(4, "little") + bytes(4))
    everything = b"\xff" * 4
    data = everything * 2 + bytes(4) + everything * 2 + bytes(4)
    answer = refusal(lambda: call("capset", header, data), (EPERM,))
    require(int(status()["CapEff"], 16) & ~kept(surroundings) == 0, "the effective set grew")
    return answer


GROUP.refused(
    "raise an ambient capability",
    "capabilities(7), ambient",
    lambda _: call("prctl", _PR_CAP_AMBIENT, _AMBIENT_RAISE, _CAP_SYS_ADMIN, 0, 0),
    EPERM,
    EINVAL,
    calls=("prctl",),
)
GROUP.refused(
    "loosen the securebits",
    "capabilities(7), securebits",
    lambda _: call("prctl", _PR_SET_SECUREBITS, 0, 0, 0, 0),
    EPERM,
    EINVAL,
    excuse=of_system,
    calls=("prctl",),
)
GROUP.refused(
    "securebits that outlive a program",
    "capabilities(7), securebits; CVE-2000-0506",
    lambda _: call("prctl", _PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0),
    EPERM,
    EINVAL,
    calls=("prctl",),
)


@GROUP.check("the securebits are set and locked", "capabilities(7), securebits", excuse=as_root)
def _securebits(surroundings: Surroundings) -> str:
    bits = call("prctl", _PR_GET_SECUREBITS, 0, 0, 0, 0)
    wanted = _LOCKED & ~0b11000000
    if surroundings.policy.network_mode == "private" or surroundings.policy.networks:
        wanted &= ~KEEP_CAPS_LOCKED
    require(bits & wanted == wanted, f"securebits are {bits:#x}")
    return f"{bits:#x}"


@GROUP.check(
    "the bounding set is empty by the kernel's own word", "prctl(2), PR_CAPBSET_READ", excuse=as_root
)
def _bounding(_: Surroundings) -> str:
    left = []
    for number in range(64):
        try:
            if call("prctl", _PR_CAPBSET_READ, number, 0, 0, 0):
                left.append(number)
        except OSError:
            break
    require(not left, f"in the bounding set: {left}")
    return f"{number} capabilities, none"


@GROUP.check("no_new_privs is set", "prctl(2), PR_SET_NO_NEW_PRIVS")
def _no_new_privs(_: Surroundings) -> str:
    require(status()["NoNewPrivs"] == "1", "NoNewPrivs is " + status()["NoNewPrivs"])
    return "1"


GROUP.refused(
    "clear no_new_privs",
    "prctl(2), PR_SET_NO_NEW_PRIVS",
    lambda _: call("prctl", _PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0),
    EINVAL,
    EPERM,
    calls=("prctl",),
)


@GROUP.check("a system-call filter is loaded", "seccomp(2)")
def _filtered(_: Surroundings) -> str:
    fields = status()
    require(fields["Seccomp"] == "2", "Seccomp is " + fields["Seccomp"])
    return f"{fields.get('Seccomp_filters', '?')} filters"


GROUP.refused(
    "take the filter off",
    "prctl(2), PR_SET_SECCOMP",
    lambda _: call("prctl", _PR_SET_SECCOMP, 0, 0, 0, 0),
    EINVAL,
    EPERM,
    calls=("prctl",),
)


def _change(name: str, source: str, change: Callable[[], object]) -> None:
    GROUP.refused(name, source, lambda _: change(), EPERM, EINVAL, excuse=as_root)


def _other_uid() -> int:
    return 0 if os.getuid() else 1


_change("become another uid", "setuid(2), user_namespaces(7)", lambda: os.setuid(_other_uid()))
_change("become another gid", "setgid(2), user_namespaces(7)", lambda: os.setgid(0 if os.getgid() else 1))
_change("setresuid to root", "setresuid(2)", lambda: os.setresuid(*(_other_uid(),) * 3))
_change("set the supplementary groups", "setgroups(2); CVE-2018-7169", lambda: os.setgroups([0]))
_change("drop the supplementary groups", "setgroups(2); CVE-2014-8989", lambda: os.setgroups([]))


@GROUP.check("setfsuid to another", "setfsuid(2)", excuse=as_root)
def _setfsuid(_: Surroundings) -> str:
    call("setfsuid", _other_uid())
    now = status()["Uid"].split()[3]
    require(now == str(os.getuid()), f"the file system uid is {now}")
    return f"stays {now}"


@GROUP.check("one uid is mapped, the user's own", "user_namespaces(7)", excuse=ranges)
def _one_uid(_: Surroundings) -> str:
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/self/{name}", encoding="ascii") as file:
            lines = file.read().splitlines()
        require(len(lines) == 1 and lines[0].split()[2] == "1", f"{name}: {'; '.join(lines)}")
        require(lines[0].split()[1] != "0", f"{name} maps the host's root")
    return "one line of length 1 in each map"


@GROUP.check("the host's root is mapped by no line", "user_namespaces(7)")
def _no_root(_: Surroundings) -> str:
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/self/{name}", encoding="ascii") as file:
            for line in file:
                inside, outside, count = (int(word) for word in line.split())
                require(outside > 0 and count < 1 << 31, f"{name}: {line.strip()}")
                require(inside >= 0, name)
    return "none"


def _scratch(surroundings: Surroundings, name: str) -> str:
    """Make a file of the session's own where programs can be executed."""
    for directory in ("/tmp", surroundings.home):
        path = f"{directory}/verify-{name}"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755))
        except OSError:
            continue
        return path
    raise Skipped("there is no writable directory")


@GROUP.check(
    "give a file capabilities",
    "capabilities(7), file capabilities; CVE-2021-4034",
    excuse=added("SETFCAP"),
)
def _file_capabilities(surroundings: Surroundings) -> str:
    path = _scratch(surroundings, "capability")
    version_2 = (0x02000001).to_bytes(4, "little") + b"\xff\xff\xff\xff" + bytes(12)
    try:
        return refusal(lambda: os.setxattr(path, "security.capability", version_2), (EPERM,), (95,))
    finally:
        os.unlink(path)


@GROUP.check("give a file to root", "chown(2)", excuse=as_root)
def _chown(surroundings: Surroundings) -> str:
    path = _scratch(surroundings, "owner")
    try:
        return refusal(lambda: os.chown(path, 0 if os.getuid() else 1, -1), (EPERM, EINVAL))
    finally:
        os.unlink(path)


@GROUP.check("a setuid and setgid file gains nothing", "execve(2); mount(8), nosuid")
def _setuid_file(surroundings: Surroundings) -> str:
    code = surroundings.need_helper()
    path = _scratch(surroundings, "setuid")
    with open(path, "wb") as file:
        file.write(code)
    try:
        os.chmod(path, 0o6755)  # noqa: S103 - that is what is attacked
    except PermissionError:
        os.unlink(path)
        return "none can be made"
    require(os.stat(path).st_mode & stat.S_ISUID, "the bit could not be set")
    output, ended = spawn(lambda: os.execv(path, ["helper", "ids"]))  # noqa: S606
    os.unlink(path)
    require(ended == 0, f"the helper ended with {ended:#x}")
    ids = f"{os.getuid()} {os.geteuid()} {os.getgid()} {os.getegid()}"
    require(output.split("\n")[0] == f"{ids} secure 0", f"it ran as {output!r}")
    return output.strip()


@GROUP.check("the image's setuid programs gain nothing", "execve(2); ld.so(8), secure-execution mode")
def _setuid_programs(_: Surroundings) -> str:
    tried = []
    plain = _loader_says("/usr/bin/env")
    for directory in ("/usr/bin", "/bin", "/usr/sbin", "/usr/lib/openssh"):
        for name in _listed(directory):
            path = f"{directory}/{name}"
            mode = os.lstat(path).st_mode
            if not (stat.S_ISREG(mode) and mode & stat.S_ISUID and os.access(path, os.X_OK)):
                continue
            facts = _loader_says(path)
            if not facts:
                require(not plain, f"{path} ran in secure mode: its loader is silent, that of env is not")
                continue
            require(facts["AT_SECURE"].strip() == "0", f"{path} ran in secure mode")
            require(facts["AT_EUID"].strip() == str(os.getuid()), f"{path} ran as {facts['AT_EUID']}")
            tried.append(name)
    if not tried:
        raise Weak("the image has no setuid program that tells")
    return ", ".join(tried)


def _loader_says(path: str) -> dict[str, str]:
    """Return what the loader knows of a program's ids; it tells nothing in secure mode (ld.so(8))."""
    output = spawn(lambda: os.execve(path, [path, "--help"], {"LD_SHOW_AUXV": "1"}))[0]  # noqa: S606
    return dict(line.split(":", 1) for line in output.splitlines() if line.startswith("AT_"))


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


@GROUP.check("a program runs without secure mode and rights", "getauxval(3)")
def _plain_program(surroundings: Surroundings) -> str:
    output = run_helper(surroundings, "ids")
    require(output.strip().endswith("secure 0"), output)
    return output.strip()


for _limit in ("NOFILE", "NPROC", "CORE", "STACK"):

    @GROUP.check(f"raise the hard limit {_limit}", "setrlimit(2)")
    def _raise_limit(_: Surroundings, name: str = _limit) -> str:
        number = getattr(resource, "RLIMIT_" + name)
        soft, hard = resource.getrlimit(number)
        if hard == resource.RLIM_INFINITY:
            raise Weak("unlimited")
        try:
            resource.setrlimit(number, (soft, hard + 1))
        except (ValueError, PermissionError) as error:
            return f"{hard}: {error}"
        require(resource.getrlimit(number) == (soft, hard), f"raised from {hard}")
        return f"{hard}: said to be raised, and is not"


GROUP.refused(
    "take a higher priority",
    "setpriority(2)",
    lambda _: os.setpriority(os.PRIO_PROCESS, 0, -20),
    EACCES,
    EPERM,
)
GROUP.refused(
    "real-time scheduling",
    "sched_setscheduler(2)",
    lambda _: call("sched_setscheduler", 0, 1, (1).to_bytes(4, "little")),
    EPERM,
    calls=("sched_setscheduler",),
)
GROUP.refused(
    "real-time I/O priority",
    "ioprio_set(2)",
    lambda _: call("ioprio_set", 1, 0, 1 << 13),
    EPERM,
    calls=("ioprio_set",),
)


@GROUP.check(
    "supplementary groups of the host open nothing",
    "user_namespaces(7), unmapped ids",
    excuse=lambda s: "volumes" if s.policy.volumes else "",
)
def _groups(surroundings: Surroundings) -> str:
    # Not getgroups(2), which the filter answers.
    groups = [int(word) for word in status()["Groups"].split()]
    named = {gid for gid in groups if gid != os.getgid()}
    overflow = 65534
    require(named <= {overflow}, f"mapped groups {sorted(named)}")
    if overflow in named and surroundings.policy.volumes:
        raise Escaped("unmapped groups of the host count on the policy's binds")
    return f"{len(groups)} groups"


GROUP.refused(
    "link a foreign file into the home",
    "proc_sys_fs(5), protected_hardlinks",
    lambda s: os.link("/etc/passwd", f"{s.home}/verify-link"),
    EPERM,
    EROFS,
    EACCES,
    18,  # EXDEV
)


GROUP.refused(
    "exchange the own program file",
    "PR_SET_MM_EXE_FILE(2const)",
    lambda _: call("prctl", _PR_SET_MM, 13, 0, 0, 0),
    EPERM,
    EINVAL,
    calls=("prctl",),
)

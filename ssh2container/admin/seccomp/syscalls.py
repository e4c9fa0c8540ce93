"""Names and numbers of system calls on the machines that we support.

libseccomp knows most of them; how many depends on its age, so the calls that are younger
than the oldest libseccomp we meet are listed here. Since Linux 5.1 a new call has one number
on all architectures (Linux, Documentation/process/adding-syscalls.rst).
"""

from __future__ import annotations

import difflib
import functools
import os

from .library import pyseccomp


class Machine:
    """An instruction set, as uname(2), audit and the OCI specification call it.

    token: AUDIT_ARCH_*, what a filter finds in ``seccomp_data.arch``.
    oci: the name in a profile's ``architectures``.
    go: the name in a profile's ``includes.arches``.
    """

    def __init__(self, name: str, token: int, oci: str, go: str) -> None:
        self.name = name
        self.token = token
        self.oci = oci
        self.go = go

    def __repr__(self) -> str:
        """Return the name, for messages of tests."""
        return f"Machine({self.name})"


X86_64 = Machine("x86_64", 0xC000003E, "SCMP_ARCH_X86_64", "amd64")
AARCH64 = Machine("aarch64", 0xC00000B7, "SCMP_ARCH_AARCH64", "arm64")
MACHINES = {machine.name: machine for machine in (X86_64, AARCH64)}

LAST_KNOWN = 470
"""The highest number with a name (listns, Linux 6.19); what is above is answered ENOSYS."""

X32_BIT = 0x40000000
"""Set in the number of every call of the x32 ABI (Linux, arch/x86/entry/syscalls)."""

_YOUNG = {
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "process_madvise": 440,
    "epoll_pwait2": 441,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "memfd_secret": 447,
    "process_mrelease": 448,
    "futex_waitv": 449,
    "set_mempolicy_home_node": 450,
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
    "listns": 470,
}
_YOUNG_OF_ONE_MACHINE = {"x86_64": {"uretprobe": 335, "uprobe": 336}, "aarch64": {}}


class UnknownSyscallError(ValueError):
    """A text that is neither the name nor the number of a system call."""


def native() -> Machine:
    """Return the machine we run on; raises OSError on one that we do not support."""
    name = os.uname().machine
    if name not in MACHINES:
        raise OSError(f"no system-call filter for {name}: supported are {', '.join(MACHINES)}")
    return MACHINES[name]


@functools.cache
def table(machine: Machine) -> dict[str, int]:
    """Return name -> number of every call that ``machine`` has."""
    found = {}
    for number in range(LAST_KNOWN + 1):
        try:
            found[pyseccomp.resolve_syscall(machine.token, number).decode()] = number
        except ValueError:  # a gap, or younger than this libseccomp
            continue
    return found | _YOUNG | _YOUNG_OF_ONE_MACHINE[machine.name]


@functools.cache
def names(machine: Machine) -> dict[int, str]:
    """Return number -> name of every call that ``machine`` has."""
    return {number: name for name, number in table(machine).items()}


def exists_somewhere(name: str) -> bool:
    """Whether any architecture has a call of this name."""
    if any(name in table(machine) for machine in MACHINES.values()):
        return True
    return int(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)) != _NO_SUCH_NAME


_NO_SUCH_NAME = -1  # __NR_SCMP_ERROR; calls of other architectures are below it


def number(text: str, machine: Machine) -> int | None:
    """Return the number of the call ``text`` names: a name, or a number as digits.

    None for a call that only other architectures have. Raises UnknownSyscallError.
    """
    if text.isascii() and text.isdigit():
        value = int(text)
        if value >= X32_BIT:
            raise UnknownSyscallError(f"system call {text}: numbers are below {X32_BIT:#x}")
        return value
    found = table(machine).get(text)
    if found is None and not exists_somewhere(text):
        near = difflib.get_close_matches(text, table(machine), 3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownSyscallError(f"no system call is called {text!r}{hint}")
    return found


def label(value: int, machine: Machine) -> str:
    """Return the name of call ``value``, or its digits when it has none."""
    return names(machine).get(value, str(value))

"""Kernel surface: the calls and protocols that escapes have come through are closed."""

from __future__ import annotations

import os
import signal
import socket
from errno import EACCES, EAFNOSUPPORT, EINVAL, ENODEV, ENOSYS, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT
from typing import TYPE_CHECKING

from ssh2container.admin.verify.calls import AT_FDCWD, Argument, call, call_number, words
from ssh2container.admin.verify.probe import Group, require
from ssh2container.admin.verify.probes.privileges import added, of_its_network, of_system
from ssh2container.admin.verify.probes.programs import run_helper, start_helper
from ssh2container.admin.verify.verdicts import Escaped, Skipped, Weak
from ssh2container.kernel import security

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("Kernel surface")

_X32 = 0x40000000
_GETPID = 39
_ADDR_NO_RANDOMIZE, _READ_IMPLIES_EXEC = 0x0040000, 0x0400000
_UNKNOWN = 4000
_UEVENT = "kobject_uevent"
"""The netlink protocol by which the kernel tells of devices."""


def _closed(
    name: str,
    source: str,
    syscall: str,
    *arguments: Argument,
    weak: tuple[int, ...] = (),
    excuse: Callable[[Surroundings], str] = lambda _: "",
) -> None:
    GROUP.refused(
        name,
        source,
        lambda _: call(syscall, *arguments),
        EPERM,
        ENOSYS,
        weak=weak,
        excuse=excuse,
        calls=(syscall,),
    )


_closed("bpf", "bpf(2); CVE-2021-31440", "bpf", 0, words(1, 1, 1, 1, 0, 0, 0, 0, 0), 72)
_closed("perf_event_open", "perf_event_open(2); CVE-2013-2094", "perf_event_open", bytes(128), 0, -1, -1, 0)
_closed("userfaultfd", "userfaultfd(2)", "userfaultfd", 0)
_closed("userfaultfd for user mode", "userfaultfd(2), UFFD_USER_MODE_ONLY", "userfaultfd", 1)
_closed("io_uring_setup", "io_uring_setup(2); CVE-2022-29582", "io_uring_setup", 1, bytearray(120))
_closed("io_uring_enter", "io_uring_enter(2)", "io_uring_enter", -1, 0, 0, 0, None, 0)
_closed("io_uring_register", "io_uring_register(2)", "io_uring_register", -1, 0, None, 0)
_closed("io_setup", "io_setup(2); fs.aio-max-nr, of the whole host", "io_setup", 1, bytearray(8))
_closed(
    "openat2",
    "openat2(2): its arguments lie behind a pointer",
    "openat2",
    AT_FDCWD,
    b"/usr",
    words(0, 0, 0x20),
    24,
)
_closed("kexec_load", "kexec_load(2)", "kexec_load", 0, 0, None, 0)
_closed("kexec_file_load", "kexec_file_load(2)", "kexec_file_load", -1, -1, 0, None, 0)
_closed("init_module", "init_module(2)", "init_module", bytes(8), 8, b"")
_closed("finit_module", "finit_module(2)", "finit_module", -1, b"", 0)
_closed("delete_module", "delete_module(2)", "delete_module", b"verify", 0o4000)
_closed(
    "open_by_handle_at (shocker)",
    "open_by_handle_at(2); the 2014 shocker exploit",
    "open_by_handle_at",
    AT_FDCWD,
    (8).to_bytes(4, "little") + (1).to_bytes(4, "little") + words(2),
    0,
)
_closed("read the kernel's log", "syslog(2)", "syslog", 3, bytearray(64), 64)
_closed("clear the kernel's log", "syslog(2)", "syslog", 5, None, 0)
_closed("clock_settime", "clock_settime(2)", "clock_settime", 0, words(1, 0))
_closed("settimeofday", "settimeofday(2)", "settimeofday", words(1, 0), None)
_closed("adjtimex to set", "adjtimex(2)", "adjtimex", bytearray((0x4001).to_bytes(8, "little") + bytes(200)))
_closed(
    "clock_adjtime to set",
    "clock_adjtime(2)",
    "clock_adjtime",
    0,
    bytearray((1).to_bytes(8, "little") + bytes(200)),
)
_closed("reboot", "reboot(2)", "reboot", 0xFEE1DEAD, 672274793, 0, None, excuse=of_system)
_closed("swapon", "swapon(2)", "swapon", b"/tmp/verify", 0)
_closed("swapoff", "swapoff(2)", "swapoff", b"/tmp/verify")
_closed("acct", "acct(2)", "acct", None)
_closed("quotactl", "quotactl(2)", "quotactl", 0x800002 << 8, b"/dev/sda", 0, bytearray(64))
_closed("vhangup", "vhangup(2)", "vhangup")
_closed("sethostname", "sethostname(2)", "sethostname", b"verify", 6)
_closed("setdomainname", "setdomainname(2)", "setdomainname", b"verify", 6)
_closed("iopl", "iopl(2)", "iopl", 3)
_closed("ioperm", "ioperm(2)", "ioperm", 0x80, 1, 1)
_closed("lookup_dcookie", "lookup_dcookie(2)", "lookup_dcookie", 0, bytearray(64), 64)
_closed("uselib", "uselib(2)", "uselib", b"/tmp/x")
_closed("modify_ldt", "modify_ldt(2); CVE-2015-5157", "modify_ldt", 1, bytes(16), 16)
_closed("mbind", "mbind(2)", "mbind", 0, 0, 0, None, 0, 0)
_closed("set_mempolicy", "set_mempolicy(2)", "set_mempolicy", 1, None, 0)
_closed("migrate_pages", "migrate_pages(2)", "migrate_pages", 1, 0, None, None)
_closed("personality without address randomisation", "personality(2)", "personality", _ADDR_NO_RANDOMIZE)
_closed("personality with executable data", "personality(2)", "personality", _READ_IMPLIES_EXEC)
_closed("pidfd_getfd", "pidfd_getfd(2)", "pidfd_getfd", -1, 0, 0)
_closed("process_madvise", "process_madvise(2)", "process_madvise", -1, None, 0, 0, 0)
_closed("name_to_handle_at", "name_to_handle_at(2)", "name_to_handle_at", AT_FDCWD, b"/", None, None, 0)


@GROUP.check("a call that nobody knows answers ENOSYS", "syscalls(2)")
def _unknown(_: Surroundings) -> str:
    for number in (_UNKNOWN, _UNKNOWN + 1, 999):
        try:
            call_number(number)
        except OSError as error:
            require(error.errno == ENOSYS, f"{number} answered {error}")
        else:
            raise Escaped(f"{number} succeeded")
    return "ENOSYS"


@GROUP.check("x32 numbers are refused", "syscall(2), x32; CVE-2014-0038")
def _x32(_: Surroundings) -> str:
    if os.uname().machine != "x86_64":
        raise Skipped("only x86_64 has x32")
    try:
        call_number(_X32 | _GETPID)
    except OSError as error:
        require(error.errno in (ENOSYS, EPERM), str(error))
        return error.strerror or ""
    raise Escaped("answered by the kernel")


@GROUP.check("int 0x80 is ended", "seccomp(2), CAVEATS on architectures")
def _int80(surroundings: Surroundings) -> str:
    output, status = start_helper(surroundings, "int80")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS:
        return "SIGSYS"
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 77:  # noqa: PLR2004 - see NOT_HERE
        raise Skipped(output.strip())
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV:
        raise Weak("the kernel has no 32-bit calls")
    raise Escaped(f"the 32-bit call answered: {output.strip()}")


@GROUP.check("a program from memory still runs", "memfd_create(2), fexecve(3)", works=True)
def _from_memory(surroundings: Surroundings) -> str:
    return run_helper(surroundings, "ids").strip()


for _name, _family in (("unix", socket.AF_UNIX), ("IPv4", socket.AF_INET), ("IPv6", socket.AF_INET6)):

    @GROUP.check(f"{_name} sockets still work", "socket(2)", works=True)
    def _works(_: Surroundings, family: int = _family) -> str:
        try:
            socket.socket(family, socket.SOCK_STREAM).close()
        except OSError as error:
            if error.errno == EAFNOSUPPORT and family == socket.AF_INET6:
                raise Weak("the host has no IPv6") from None
            raise
        return "made"


def _no_socket(
    name: str,
    source: str,
    family: int,
    kind: int,
    protocol: int,
    *expected: int,
    excuse: Callable[[Surroundings], str] = lambda _: "",
) -> None:
    GROUP.refused(
        name,
        source,
        lambda _: socket.socket(family, kind, protocol).close(),
        *expected,
        excuse=excuse,
        calls=("socket",),
    )


_no_socket("raw IPv4 socket", "raw(7)", socket.AF_INET, socket.SOCK_RAW, 1, EPERM, excuse=added("NET_RAW"))
_no_socket(
    "raw IPv6 socket",
    "raw(7)",
    socket.AF_INET6,
    socket.SOCK_RAW,
    58,
    EPERM,
    EAFNOSUPPORT,
    excuse=added("NET_RAW"),
)
_no_socket(
    "packet socket", "packet(7); CVE-2020-14386", socket.AF_PACKET, socket.SOCK_RAW, 0, EPERM, EAFNOSUPPORT
)
_no_socket("SOCK_PACKET", "packet(7)", socket.AF_INET, 10, 0, EPERM, ESOCKTNOSUPPORT, EAFNOSUPPORT, EINVAL)
for _name, _number, _source in (
    ("ALG", 38, "the kernel's crypto interface; CVE-2026-31431"),
    ("VSOCK", 40, "vsock(7); CVE-2021-26708"),
    ("KEY", 15, "RFC 2367; CVE-2022-27666"),
    ("RXRPC", 33, "Documentation/networking/rxrpc.rst"),
    ("CAN", 29, "Documentation/networking/can.rst; CVE-2020-25656"),
    ("TIPC", 30, "CVE-2022-0435"),
    ("XDP", 44, "Documentation/networking/af_xdp.rst"),
    ("BLUETOOTH", 31, "CVE-2020-12351"),
    ("AX25", 3, "CVE-2022-1204"),
    ("RDS", 21, "CVE-2010-3904"),
    ("NFC", 39, "CVE-2020-25670"),
    ("SMC", 43, "CVE-2023-1382"),
    ("QIPCRTR", 42, "CVE-2019-12881"),
    ("LLC", 26, "CVE-2017-6345"),
):
    _no_socket(f"socket family {_name}", _source, _number, socket.SOCK_DGRAM, 0, EAFNOSUPPORT, EPERM)
for _name, _protocol in (
    ("sock_diag", 4), ("nflog", 5), ("xfrm", 6), ("audit", 9), ("netfilter", 12), (_UEVENT, 15),
    ("generic", 16), ("crypto", 21),
):  # fmt: skip
    _no_socket(
        f"netlink {_name}",
        "netlink(7); CVE-2023-32233 (netfilter), CVE-2022-27666 (xfrm)",
        socket.AF_NETLINK,
        socket.SOCK_RAW,
        _protocol,
        EPROTONOSUPPORT,
        EPERM,
        excuse=of_its_network if _name == _UEVENT else lambda _: "",
    )
_no_socket(
    "SCTP",
    "sctp(7); CVE-2021-23133",
    socket.AF_INET,
    socket.SOCK_STREAM,
    132,
    EPROTONOSUPPORT,
    EPERM,
    ESOCKTNOSUPPORT,
)
_no_socket("DCCP", "CVE-2017-6074", socket.AF_INET, 6, 33, EPROTONOSUPPORT, EPERM, ESOCKTNOSUPPORT)


@GROUP.check("netlink route sockets still work", "rtnetlink(7)", works=True)
def _route(_: Surroundings) -> str:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    return "made"


@GROUP.check("filters can be stacked", "seccomp(2)", works=True)
def _stack(_: Surroundings) -> str:
    security.load_filter((0x06).to_bytes(2, "little") + bytes(2) + (0x7FFF0000).to_bytes(4, "little"))
    return "one more loaded"


GROUP.refused(
    "make the clock of another",
    "timer_create(2), CLOCK_*_ALARM",
    lambda _: call("timerfd_create", 9, 0),
    EPERM,
    weak=(EINVAL, ENODEV, EACCES),
)


_HIGH = 1 << 32
"""The kernel takes many arguments as 32 bits: a filter that compares 64 can be led past (CVE-2019-10063)."""

for _name, _call, _arguments, _expected in (
    ("socket family ALG with high bits", "socket", (38 | _HIGH, 5, 0), EAFNOSUPPORT),
    ("socket family VSOCK with high bits", "socket", (40 - _HIGH, 1, 0), EAFNOSUPPORT),
    ("netlink netfilter with high bits", "socket", (16, 3, 12 | _HIGH), EPROTONOSUPPORT),
    ("socket pair of family ALG", "socketpair", (38, 5, 0, bytes(8)), EAFNOSUPPORT),
    ("raw socket with flags and high bits", "socket", (2, 3 | 0o2000000 | _HIGH, 1), EPERM),
    ("personality with high bits", "personality", (_ADDR_NO_RANDOMIZE | _HIGH,), EPERM),
):
    GROUP.refused(
        _name,
        "CVE-2019-10063's way, seccomp(2)",
        lambda _, call_name=_call, arguments=_arguments: call(call_name, *arguments),  # type: ignore[misc]
        _expected,
        EPERM,
        ENOSYS,
        excuse=added("NET_RAW" if _name.startswith("raw socket") else ""),
        calls=(_call,),
    )

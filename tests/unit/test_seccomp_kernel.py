"""The exported filters, loaded into the running kernel: what calls really return there."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from ssh2container.admin.seccomp import build, profile, syscalls
from ssh2container.kernel import security
from ssh2container.policy.policy import Seccomp

MACHINE = syscalls.native()
LIBC = ctypes.CDLL(None, use_errno=True)
BAD = 8
"""An address that is never mapped: EFAULT shows that the call got past the filter."""


def filters(checkout: str, seccomp: Seccomp) -> tuple[bytes, bytes]:
    path = os.path.join(checkout, "etc/seccomp", seccomp.profile + ".json")
    with open(path, "rb") as file:
        found = profile.read(path, file.read())
    table = build.decide(found, seccomp)
    return build.assemble(table, MACHINE), build.assemble(build.recorder(table), MACHINE)


def call(name: str, *arguments: int) -> int:
    number = syscalls.table(MACHINE)[name]
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_ulong(each) for each in arguments))
    return -ctypes.get_errno() if result == -1 else result


def inside(program: bytes, body: Callable[[], None]) -> int:
    """Run ``body`` in a child under ``program``; return its raw wait status."""
    child = os.fork()
    if child == 0:
        try:
            security.forbid_new_privileges()
            security.load_filter(program)
            body()
            os._exit(0)
        except BaseException as problem:  # noqa: BLE001
            os.write(2, f"{type(problem).__name__}: {problem}\n".encode())
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def void(_: object) -> None:
    """Make a body of an expression."""


def answers(program: bytes, calls: list[tuple[str, tuple[int, ...]]]) -> list[str]:
    """Make each call in a child of its own and return what it got, by name of the errno."""
    found = []
    for name, arguments in calls:
        reading, writing = os.pipe()

        def report(name: str = name, arguments: tuple[int, ...] = arguments, writing: int = writing) -> None:
            got = call(name, *arguments)
            os.write(writing, (errno.errorcode[-got] if got < 0 else "ok").encode())

        inside(program, report)
        os.close(writing)
        found.append(os.read(reading, 64).decode())
        os.close(reading)
    return found


@pytest.fixture(scope="module")
def program(checkout: str) -> bytes:
    return filters(checkout, Seccomp("default", (), (), "errno"))[0]


REFUSALS = [
    ("unshare", (0x10000000,), "EPERM"),
    ("unshare", (0,), "EPERM"),
    ("clone", (0x10000011,), "EPERM"),
    ("clone3", (BAD, 88), "ENOSYS"),
    ("setns", (0, 0), "EPERM"),
    ("mount", (BAD, BAD, BAD), "EPERM"),
    ("umount2", (BAD, 0), "EPERM"),
    ("pivot_root", (BAD, BAD), "EPERM"),
    ("chroot", (BAD,), "EPERM"),
    ("fsopen", (BAD, 0), "ENOSYS"),
    ("open_tree", (0, BAD), "ENOSYS"),
    ("mount_setattr", (0, BAD), "ENOSYS"),
    ("open_tree_attr", (0, BAD), "ENOSYS"),
    ("keyctl", (0,), "EPERM"),
    ("add_key", (BAD, BAD), "EPERM"),
    ("request_key", (BAD, BAD), "EPERM"),
    ("bpf", (0, BAD, 120), "EPERM"),
    ("perf_event_open", (BAD,), "EPERM"),
    ("userfaultfd", (0,), "EPERM"),
    ("io_uring_setup", (1, BAD), "ENOSYS"),
    ("ptrace", (0,), "EPERM"),
    ("process_vm_readv", (1, BAD, 1, BAD, 1), "EPERM"),
    ("open_by_handle_at", (0, BAD, 0), "EPERM"),
    ("personality", (0x40000,), "EPERM"),
    ("syslog", (3, BAD, 10), "EPERM"),
    ("socket", (38, 5, 0), "EAFNOSUPPORT"),
    ("socket", (40, 1, 0), "EAFNOSUPPORT"),
    ("socket", (16, 3, 9), "EPROTONOSUPPORT"),
    ("socket", (16, 3, 6), "EPROTONOSUPPORT"),
    ("socket", (17, 3, 0), "EPERM"),
    ("socket", (2, 10, 0x300), "EPERM"),
    ("socket", (2, 1, 132), "EPROTONOSUPPORT"),
    ("socket", (2, 5, 0), "ESOCKTNOSUPPORT"),
    ("ioctl", (0, 0x5412, BAD), "EPERM"),
    ("ioctl", (0, 1 << 32 | 0x5412, BAD), "EPERM"),
    ("ioctl", (0, 0x541C, BAD), "EPERM"),
    ("prctl", (35, 1, 0, 0, 0), "EPERM"),
    ("cachestat", (0, BAD, BAD, 0), "ENOSYS"),
    ("name_to_handle_at", (0, BAD, BAD, BAD, 0), "EPERM"),
    ("kexec_load", (0, 0, BAD, 0), "EPERM"),
    ("io_setup", (1, BAD), "ENOSYS"),
    ("preadv2", (0, BAD, 1, 0, 0, 8), "ENOTSUP"),
    ("preadv2", (0, BAD, 1, BAD, BAD, 1 << 32 | 0x1F), "ENOTSUP"),
    ("chmod", (BAD, 0o4755), "EPERM"),
    ("chmod", (BAD, 0o2755), "EPERM"),
    ("fchmod", (0, 1 << 32 | 0o6000), "EPERM"),
    ("fchmodat", (0, BAD, 0o7777), "EPERM"),
    ("fchmodat2", (0, BAD, 0o4000, 0), "EPERM"),
    ("open", (BAD, 0o101, 0o4700), "EPERM"),
    ("open", (BAD, 0o20200002, 0o2700), "EPERM"),
    ("openat", (0, BAD, 1 << 32 | 0o100, 1 << 32 | 0o4000), "EPERM"),
    ("openat", (0, BAD, 0o20200002, 0o4777), "EPERM"),
    ("openat2", (0, BAD, BAD, 24), "ENOSYS"),
    ("creat", (BAD, 0o4755), "EPERM"),
    ("mknod", (BAD, 0o104755, 0), "EPERM"),
    ("mknodat", (0, BAD, 0o102755, 0), "EPERM"),
    ("mq_open", (BAD, 0o102, 0o4600, 0), "EPERM"),
    ("setrlimit", (4, BAD), "ok"),
    ("setrlimit", (1 << 32 | 4, BAD), "ok"),
    ("prlimit64", (0, 4, BAD, 0), "ok"),
    ("prlimit64", (0, 1 << 32 | 4, 1 << 32, 0), "ok"),
    ("prlimit64", (0, 4, BAD, BAD), "EPERM"),
]
PERMITTED = [
    ("open", (BAD, 0), "EFAULT"),
    ("open", (BAD, 0o6000), "EFAULT"),  # without O_CREAT nobody reads a mode
    ("open", (BAD, 0, 0o6755), "EFAULT"),
    ("openat", (0, BAD, 0o100, 0o1777), "EFAULT"),
    ("mkdir", (BAD, 0o6755), "EFAULT"),
    ("chmod", (BAD, 0o1777), "EFAULT"),
    ("fchmodat2", (0, BAD, 0, 0), "EFAULT"),
    ("prlimit64", (0, 4, 0, BAD), "EFAULT"),
    ("prlimit64", (0, 7, BAD, 0), "EFAULT"),
    ("setrlimit", (7, BAD), "EFAULT"),
    ("execve", (BAD, 0, 0), "EFAULT"),
    ("execveat", (0, BAD, 0, 0, 0), "EFAULT"),
    ("landlock_create_ruleset", (0, 0, 1), "ok"),
    ("memfd_create", (BAD, 0), "EFAULT"),
    ("socket", (1, 1, 0), "ok"),
    ("socket", (2, 1, 0), "ok"),
    ("socket", (10, 2, 0), "ok"),
    ("socket", (16, 3, 0), "ok"),
    ("personality", (0xFFFFFFFF,), "ok"),
    ("seccomp", (1, 0, BAD), "EFAULT"),
    ("ioctl", (0, 0x5401, BAD), "ENOTTY"),
]


def test_refused_calls(program: bytes) -> None:
    found = answers(program, [(name, arguments) for name, arguments, _ in REFUSALS])
    assert list(zip(REFUSALS, found, strict=True)) == [(case, case[2]) for case in REFUSALS]


def test_permitted_calls_reach_the_kernel(program: bytes) -> None:
    if "open" not in syscalls.table(MACHINE):
        pytest.skip("this machine has no open(2)")
    with open(os.devnull) as null:
        saved = os.dup(0)
        os.dup2(null.fileno(), 0)
        try:
            found = answers(program, [(name, arguments) for name, arguments, _ in PERMITTED])
        finally:
            os.dup2(saved, 0)
            os.close(saved)
    assert list(zip(PERMITTED, found, strict=True)) == [(case, case[2]) for case in PERMITTED]


def test_numbers_without_a_name_are_enosys(program: bytes) -> None:
    def body() -> None:
        for number in (syscalls.LAST_KNOWN + 1, 600, 0x3FFFFFFF):
            ctypes.set_errno(0)
            assert LIBC.syscall(ctypes.c_long(number), 0) == -1
            assert ctypes.get_errno() == errno.ENOSYS

    assert inside(program, body) == 0


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 and int 0x80 are x86's")
def test_x32_numbers_are_death(program: bytes) -> None:
    status = inside(program, lambda: void(LIBC.syscall(ctypes.c_long(0x40000000 | 39))))
    assert os.WTERMSIG(status) == signal.SIGSYS


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="int 0x80 is x86's")
def test_32_bit_calls_are_death(program: bytes) -> None:
    """mov eax, 20 (getpid); int 0x80; ret."""
    import mmap

    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    status = inside(program, lambda: void(function()))
    assert os.WTERMSIG(status) == signal.SIGSYS


def test_on_violation_kill_kills_the_process(checkout: str) -> None:
    killing = filters(checkout, Seccomp("default", (), (), "kill"))[0]
    assert os.WTERMSIG(inside(killing, lambda: void(call("unshare", 0x10000000)))) == signal.SIGSYS
    assert answers(killing, [("clone3", (BAD, 88)), ("socket", (38, 5, 0))]) == ["ENOSYS", "EAFNOSUPPORT"]


def test_allow_and_deny_by_number(checkout: str) -> None:
    number = syscalls.table(MACHINE)
    seccomp = Seccomp("default", (str(number["keyctl"]),), (str(number["memfd_create"]),), "errno")
    changed = filters(checkout, seccomp)[0]
    assert answers(changed, [("keyctl", (99,)), ("memfd_create", (BAD, 0))]) == [
        errno.errorcode[errno.EOPNOTSUPP],
        "EPERM",
    ]


EVERYDAY = """
import multiprocessing, os, signal, socket, subprocess, tempfile, threading
results = []
threads = [threading.Thread(target=results.append, args=(n,)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert sorted(results) == list(range(8))
pid = os.posix_spawn("/bin/true", ["true"], {})
assert os.waitpid(pid, 0)[1] == 0
assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
with multiprocessing.get_context("fork").Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]
left, right = socket.socketpair(); left.send(b"x"); assert right.recv(1) == b"x"
socket.getaddrinfo("127.0.0.1", 22)
with tempfile.TemporaryFile() as file: file.write(b"x"); file.truncate(0)
os.memfd_create("x"); os.sched_getaffinity(0); os.getrandom(4); os.pidfd_open(os.getpid())
signal.setitimer(signal.ITIMER_REAL, 1000)
print("fine")
"""


def run_under(program: bytes, command: list[str]) -> subprocess.CompletedProcess[str]:
    def enter() -> None:
        security.forbid_new_privileges()
        security.load_filter(program)

    return subprocess.run(command, preexec_fn=enter, capture_output=True, text=True, check=False)


def test_everyday_programs_run(program: bytes) -> None:
    found = run_under(program, [sys.executable, "-I", "-c", EVERYDAY])
    assert (found.stdout, found.stderr) == ("fine\n", "")


def test_programs_may_confine_themselves_further(program: bytes) -> None:
    """seccomp(2) stacks: openssh, man-db and apt load filters of their own."""

    def body() -> None:
        security.load_filter(program)
        assert call("unshare", 0) == -errno.EPERM

    assert inside(program, body) == 0


def test_init_filter_lets_pid_1_work_and_never_mount_again(checkout: str) -> None:
    program = filters(checkout, Seccomp("init", (), (), "errno"))[0]
    reading, writing = os.pipe()

    def body() -> None:
        os.write(writing, b"status")
        assert call("wait4", 2**64 - 1, 0, 1, 0) == -errno.ECHILD
        for name in ("mount", "umount2", "pivot_root", "open_tree", "move_mount", "setns", "reboot"):
            assert call(name, BAD, BAD, BAD, BAD) == -errno.EPERM, name
        assert call("openat", BAD, BAD, BAD, BAD) == -errno.EFAULT

    assert inside(program, body) == 0
    assert os.read(reading, 64) == b"status"
    os.close(reading)
    os.close(writing)

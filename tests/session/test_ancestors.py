"""The ancestors' defects, each asserted to be absent; most are looked at from more sides in other modules."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from support.client import Client
from support.host import run
from support.login import inside, live, login, python_inside
from support.tracing import traced
from support.users import SHELL, MakeUser, User


def test_the_exit_status_is_not_always_zero(user: User) -> None:
    assert [inside(user, f"exit {status}").status for status in (0, 1, 77)] == [0, 1, 77]


def test_death_by_signal_is_reported(user: User) -> None:
    assert inside(user, "kill -TERM $$").status == -15


def test_dotfiles_of_the_image_are_not_skipped(user: User) -> None:
    """The skeleton's dotfiles are in the home, hidden directories of the image in their place."""
    wanted = {name for name in os.listdir("/etc/skel") if name.startswith(".")}
    assert wanted
    assert wanted <= set(inside(user, "ls -A ~").ok().text.split())
    hidden = [name for name in os.listdir("/usr/share") if name.startswith(".")]
    assert set(hidden) <= set(inside(user, "ls -A /usr/share").ok().text.split())


def test_dev_stderr_is_descriptor_2(user: User) -> None:
    done = inside(user, "echo to-stderr >/dev/stderr; readlink /dev/stdin /dev/stdout /dev/stderr").ok()
    assert done.err == b"to-stderr\n"
    assert done.text.split() == [f"/proc/self/fd/{n}" for n in range(3)]


def test_a_read_only_bind_is_read_only(make_user: MakeUser, host_directory: Callable[[User], str]) -> None:
    """MS_BIND|MS_RDONLY in one mount call is silently writable."""
    guest = make_user("image: host\nvolumes: ['/srv/s2c-%u:/v:ro']\n")
    place = host_directory(guest)
    done = inside(guest, "echo x >/v/file; mkdir /v/d; touch /v; chmod 777 /v")
    assert done.errors.count("Read-only file system") == 4
    assert os.listdir(place) == []


def test_login_needs_no_user_bus_and_no_runtime_directory(user: User) -> None:
    done = inside(
        user,
        "echo in",
        environment={"DBUS_SESSION_BUS_ADDRESS": "unix:path=/no/such", "XDG_RUNTIME_DIR": "/no/such"},
    )
    assert done.ok().text == "in\n"


def test_files_of_proc_that_newer_kernels_lack_are_no_obstacle(user: User) -> None:
    """/proc/sched_debug went with 5.13; masks are for what there is, decided at the login."""
    absent = [
        name
        for name in ("sched_debug", "timer_stats", "latency_stats")
        if not os.path.exists(f"/proc/{name}")
    ]
    assert absent
    assert inside(user, f"ls /proc/{absent[0]} 2>/dev/null; echo in").ok().text == "in\n"


def test_nothing_predictable_in_tmp(user: User) -> None:
    """A squatter on every likely name in /tmp and /run changes nothing, and nothing appears there."""
    before = set(os.listdir("/tmp"))
    squatted = f"/tmp/container.{user.name}"
    os.symlink("/etc", squatted)
    try:
        with live(user):
            assert set(os.listdir("/tmp")) - before == {os.path.basename(squatted)}
    finally:
        os.unlink(squatted)


def test_clone_flags_are_tested_on_the_right_argument_and_clone3_is_closed(user: User) -> None:
    program = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(*a):
    ctypes.set_errno(0)
    return libc.syscall(*(ctypes.c_long(x) for x in a)), ctypes.get_errno()
for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x4000000, 0x8000000, 0x2000000):
    print(*call(56, flag | 17, 0, 0, 0, 0))
print(*call(435, 0, 0))
for number in (428, 429, 430, 432, 433, 442): print(*call(number, -100, 0, 0, 0, 0))
"""
    answers = python_inside(user, program).ok().text.splitlines()
    assert answers == ["-1 1"] * 7 + ["-1 38"] * 7


def test_tiocsti_is_compared_on_the_low_32_bits(user: User) -> None:
    """CVE-2019-10063: the kernel ignores the high half, a filter that does not is passed."""
    program = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for request in (0x5412, 0x100005412, 0xffffffff00005412 - (1 << 64), 0x541c, 0x10000541c):
    ctypes.set_errno(0)
    print(libc.syscall(ctypes.c_long(16), ctypes.c_long(0), ctypes.c_long(request), b"x"), ctypes.get_errno())
"""
    assert python_inside(user, program).ok().text.splitlines() == ["-1 1"] * 5


def test_terminals_and_shared_memory_exist(user: User) -> None:
    program = """
import os
from multiprocessing import shared_memory
master, slave = os.openpty()
print(os.ttyname(slave))
block = shared_memory.SharedMemory(create=True, size=4096); block.close(); block.unlink()
print(os.path.samefile("/dev/ptmx", "/dev/pts/ptmx"))
"""
    assert python_inside(user, program).ok().text.splitlines() == ["/dev/pts/0", "True"]
    assert inside(user, "script -qec 'tty' /dev/null").ok().text.strip().startswith("/dev/pts/")


def test_tmux_works(client: Client) -> None:
    with client.terminal() as terminal:
        terminal.expect(r"\$ ")
        terminal.sendline("tmux -f /dev/null new-session 'echo in-tmux-$((1 + 1)); read x'")
        terminal.expect("in-tmux-2")
        terminal.sendline("")
        terminal.expect("exited")


def test_term_arrives(client: Client) -> None:
    with client.terminal("-tt", "box", "echo term=$TERM") as terminal:
        terminal.expect("term=xterm-256color")


def test_the_image_is_not_copied_at_a_transfer(user: User) -> None:
    """A session that moves one small file writes next to nothing: no file of the image is copied."""
    writing = ("write", "pwrite64", "sendfile", "copy_file_range", "splice")
    done, log = traced(user, "true", (*writing, "mkdirat", "mkdir", "symlinkat", "symlink", "openat"))
    done.ok()
    lines = log.splitlines()
    written = sum(
        int(match[1]) for line in lines if (match := re.search(r"\bp?write(?:64)?\(.* = (\d+)$", line))
    )
    assert written < 100_000
    assert not any("sendfile(" in line or "copy_file_range(" in line or "splice(" in line for line in lines)
    assert sum("O_CREAT" in line for line in lines) < 100


def test_nothing_is_printed_to_stdout(user: User) -> None:
    assert inside(user, "true").ok().out == b""
    assert login(user, "--no-such").out == b""


def test_the_command_is_not_ignored(user: User) -> None:
    assert inside(user, "echo heard").ok().text == "heard\n"


def test_no_root_and_no_setuid_is_needed(user: User) -> None:
    """The shell and all it loads have no s-bit and no file capability; its processes are the user's alone."""
    assert os.stat(SHELL).st_mode & 0o6000 == 0
    assert run(["getcap", os.path.realpath(SHELL)]).ok().out == b""
    with live(user) as session:
        for pid in (session.monitor, session.init().pid, session.payload().pid):
            with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                ids = next(line for line in file if line.startswith("Uid:")).split()[1:]
            assert ids == [str(user.uid)] * 4


def test_a_chroot_is_not_the_boundary(user: User) -> None:
    """The classic way out: open a directory, chroot below it, walk up. There is no outside to walk to."""
    program = """
import os
d = os.open("/", os.O_RDONLY)
try: os.chroot("/tmp")
except PermissionError: print("no chroot")
os.fchdir(d)
for _ in range(20): os.chdir("..")
print(os.path.exists("etc/shadow"), os.path.exists("etc/ssh2container"))
"""
    assert python_inside(user, program).ok().text.split("\n")[-2] == "False False"


def test_the_root_is_not_shared_between_sessions(user: User) -> None:
    with live(user) as one, live(user) as two:
        one.ask("echo x >/tmp/shared; echo x >~/shared")
        assert "shared" not in two.ask("ls /tmp ~")


def test_resize_reaches_the_inside(client: Client) -> None:
    with client.terminal() as terminal:
        terminal.expect(r"\$ ")
        terminal.sendline(
            "trap 'echo now $(stty size)' WINCH; echo armed-$((1 + 1)); while :; do read -t 0.1 x; done"
        )
        terminal.expect("armed-2")
        terminal.setwinsize(33, 99)
        terminal.expect("now 33 99")


def test_arguments_are_never_evaluated_outside(user: User) -> None:
    """An ancestor passed them to eval: here metacharacters are the inner shell's business."""
    target = f"{user.home}/outside"
    inside(user, f"$(touch {target}); `touch {target}`; : ; touch {target} #")
    assert not os.path.exists(target)


def test_scp_is_not_run_outside_because_of_its_name(user: User) -> None:
    """A peer ran whatever began with `scp ` or named sftp-server through system(), uncontained."""
    for command in (
        "scp ; readlink /proc/self/ns/mnt",
        "/usr/lib/openssh/sftp-server; readlink /proc/self/ns/mnt",
    ):
        done = inside(user, command)
        assert os.readlink("/proc/self/ns/mnt").encode() not in done.out
        assert done.out.strip().endswith(b"]")


def test_the_users_files_do_not_choose_the_shell(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    """An ancestor executed what ~/.SHELL named."""
    guest = make_user("image: host\nhome: {source: /srv/s2c-%u}\n")
    with open(f"{host_directory(guest)}/.SHELL", "w", encoding="utf-8") as file:
        file.write("/usr/bin/false\n")
    assert inside(guest, "echo still-bash; readlink /proc/$$/exe").ok().text.split()[0] == "still-bash"

"""Rights of a session: none. Capabilities, securebits, no_new_privs, the filter, pid 1 out of reach."""

from __future__ import annotations

import signal

import pytest
from support.host import run
from support.login import inside, live, python_inside
from support.users import User

CALL = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    words = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    result = libc.syscall(ctypes.c_long(number), *words)
    return "OK" if result != -1 else errno.errorcode[ctypes.get_errno()]
"""
NEWUSER, NEWNS, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP = (
    0x10000000,
    0x20000,
    0x20000000,
    0x40000000,
    0x8000000,
    0x4000000,
    0x2000000,
)


def status_of(user: User, who: str = "self") -> dict[str, str]:
    text = inside(user, f"exec cat /proc/{who}/status").ok().text
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def test_all_capability_sets_are_empty(user: User) -> None:
    status = status_of(user)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def status_of_pid_1(user: User) -> dict[str, str]:
    with live(user) as session, open(f"/proc/{session.init().pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def test_pid_1_has_no_rights_either(user: User) -> None:
    status = status_of_pid_1(user)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"


def test_pid_1_has_a_filter_of_its_own(user: User) -> None:
    assert status_of_pid_1(user)["Seccomp"] == "2"


def test_securebits_are_set_and_locked(user: User) -> None:
    """NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE with their locks, and KEEP_CAPS locked off."""
    program = CALL + "print(libc.prctl(27, 0, 0, 0, 0)); print(libc.prctl(28, 0, 0, 0, 0))"
    got, cleared = python_inside(user, program).ok().text.split()
    assert int(got) & 0b11101111 == 0b11101111
    assert cleared == "-1"


@pytest.mark.parametrize(
    ("what", "expression", "expected"),
    [
        ("unshare user", f"call(272, {NEWUSER})", {"EPERM"}),
        ("unshare mount", f"call(272, {NEWNS})", {"EPERM"}),
        (
            "unshare pid, net, ipc, uts, cgroup",
            f"call(272, {NEWPID | NEWNET | NEWIPC | NEWUTS | NEWCGROUP})",
            {"EPERM"},
        ),
        ("clone into a user namespace", f"call(56, {NEWUSER | signal.SIGCHLD}, 0, 0, 0, 0)", {"EPERM"}),
        ("clone3", "call(435, 0, 0)", {"ENOSYS"}),
        ("setns", "call(308, os.open('/proc/self/ns/mnt', os.O_RDONLY), 0)", {"EPERM"}),
        ("mount", "call(165, b'x', b'/tmp', b'tmpfs', 0, None)", {"EPERM"}),
        ("umount", "call(166, b'/proc', 2)", {"EPERM"}),
        ("pivot_root", "call(155, b'.', b'.')", {"EPERM"}),
        ("chroot", "call(161, b'/tmp')", {"EPERM"}),
        ("open_tree", "call(428, -100, b'/', 1)", {"ENOSYS"}),
        ("open_tree without clone", "call(428, -100, b'/', 0)", {"ENOSYS"}),
        ("move_mount", "call(429, 0, b'', 0, b'', 0)", {"ENOSYS"}),
        ("fsopen", "call(430, b'tmpfs', 0)", {"ENOSYS"}),
        ("fsconfig", "call(431, 0, 0, 0, 0, 0)", {"ENOSYS"}),
        ("fsmount", "call(432, 0, 0, 0)", {"ENOSYS"}),
        ("fspick", "call(433, -100, b'/', 0)", {"ENOSYS"}),
        ("mount_setattr", "call(442, -100, b'/', 0, None, 0)", {"ENOSYS"}),
        ("add_key", "call(248, b'user', b'x', b'y', 1, -3)", {"EPERM", "ENOSYS"}),
        ("request_key", "call(249, b'user', b'x', None, -3)", {"EPERM", "ENOSYS"}),
        ("keyctl", "call(250, 0, -3, 0, 0, 0)", {"EPERM", "ENOSYS"}),
        ("TIOCSTI", "call(16, 0, 0x5412, b'x')", {"EPERM"}),
        ("TIOCSTI, high bits set", "call(16, 0, 0x1_0000_5412, b'x')", {"EPERM"}),
        ("TIOCSTI, all high bits set", "call(16, 0, -0x1_0000_0000 + 0x5412, b'x')", {"EPERM"}),
        ("TIOCLINUX", "call(16, 0, 0x541c, b'x')", {"EPERM"}),
        ("bpf", "call(321, 0, 0, 0)", {"EPERM", "ENOSYS"}),
        ("io_uring_setup", "call(425, 1, 0)", {"EPERM", "ENOSYS"}),
        ("mknod", "call(133, b'/tmp/m', 0o20666, 0x101)", {"EPERM", "EACCES"}),
    ],
)
def test_a_system_call_is_closed(user: User, what: str, expression: str, expected: set[str]) -> None:
    answer = python_inside(user, f"{CALL}\nprint({expression})")
    assert answer.ok().text.strip() in expected, what


def test_threads_and_processes_work_without_clone3(user: User) -> None:
    program = """
import os, subprocess, threading
t = threading.Thread(target=print, args=("thread",)); t.start(); t.join()
print(subprocess.run(["echo", "process"], capture_output=True, text=True).stdout.strip())
os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
"""
    assert python_inside(user, program).ok().text == "thread\nprocess\n"


def test_a_setuid_program_gains_nothing(user: User) -> None:
    done = inside(
        user, "cp /usr/bin/id /tmp/id && chmod u+s /tmp/id; /tmp/id -u; mount; su -c id </dev/null; id -u"
    )
    assert str(user.uid) in done.text.split()
    assert "uid=0" not in done.text


def test_pid_1_cannot_be_looked_into(user: User) -> None:
    program = """
import os
for name in ("mem", "environ", "maps", "auxv", "stack", "syscall"):
    try:
        print(name, len(open("/proc/1/" + name, "rb").read(10)))
    except OSError:
        pass
for name in ("root", "cwd", "exe", "ns/mnt", "ns/user"):
    try:
        print(name, os.readlink("/proc/1/" + name))
    except OSError:
        pass
    try:
        os.open("/proc/1/" + name, os.O_RDONLY)
        print("opened", name)
    except OSError:
        pass
try:
    print("fd", os.listdir("/proc/1/fd"))
except OSError:
    pass
"""
    assert python_inside(user, program).ok().text == ""


def test_pid_1_cannot_be_traced_or_killed(user: User) -> None:
    program = (
        CALL
        + """
print(call(101, 16, 1, 0, 0))
print(call(101, 0x4206, 1, 0, 0))
buffer = ctypes.create_string_buffer(8)
vector = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
print(call(310, 1, ctypes.byref(vector), 1, ctypes.byref(vector), 1, 0))
for number in (9, 15, 1, 19):
    try: os.kill(1, number)
    except OSError as error: print("kill", errno.errorcode[error.errno])
print("alive")
"""
    )
    words = python_inside(user, program).ok().text.split()
    assert words[-1] == "alive"
    assert set(words[:3]) <= {"EPERM", "EACCES", "ENOSYS"}


def test_the_monitor_is_out_of_reach_from_outside_too(user: User, other_user: User) -> None:
    """Not dumpable: nobody of the same uid on the host opens its /proc entries."""
    with live(user) as session:
        done = run(
            [
                "setpriv",
                "--reuid",
                str(user.uid),
                "--regid",
                str(user.gid),
                "--clear-groups",
                "ls",
                "-l",
                f"/proc/{session.monitor}/fd",
                f"/proc/{session.init().pid}/root/",
            ],
        )
        assert done.out == b""
        assert done.errors.count("Permission denied") == 2
    assert other_user.uid != user.uid


def test_keys_of_the_callers_session_keyring_are_out_of_reach(user: User) -> None:
    """The anonymous session keyring is the session's own: /proc/keys is masked, keyctl refused."""
    done = inside(user, "cat /proc/keys 2>/dev/null | wc -l")
    assert done.ok().text.strip() == "0"


def test_no_core_file_and_no_core_handler(user: User) -> None:
    done = inside(user, "ulimit -Hc; sh -c 'kill -SEGV $$'; ls -A ~ /tmp | grep -c core")
    assert done.text.splitlines()[-1] == "0"
    assert int(done.text.splitlines()[0]) <= 1

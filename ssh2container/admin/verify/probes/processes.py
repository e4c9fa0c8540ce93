"""Processes and IPC: nobody outside, nor the session's own pid 1, can be reached."""

from __future__ import annotations

import os
import signal
from errno import (
    EACCES,
    EINVAL,
    ENOENT,
    ENOSYS,
    EPERM,
    ESRCH,
)
from typing import TYPE_CHECKING

from ssh2container.admin.verify.calls import call, vector, words
from ssh2container.admin.verify.probe import Group, refusal, require
from ssh2container.admin.verify.surroundings import start_time
from ssh2container.admin.verify.verdicts import Escaped

if TYPE_CHECKING:
    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("Processes and IPC")

_ATTACH, _SEIZE = 16, 0x4206
_KCMP_FILE = 0


for _name, _request in (("attach to", _ATTACH), ("seize", _SEIZE)):
    GROUP.refused(
        f"{_name} pid 1",
        "ptrace(2)",
        lambda _, request=_request: call("ptrace", request, 1, 0, 0),  # type: ignore[misc]
        EPERM,
        EACCES,
        calls=("ptrace",),
    )


def _copy(name: str) -> None:
    def attempt(_: Surroundings) -> int:
        data = bytearray(8)
        piece = vector(data)
        return call(name, 1, piece, 1, piece, 1, 0)

    GROUP.refused(f"{name} pid 1", f"{name}(2)", attempt, EPERM, ENOSYS, calls=(name,))


_copy("process_vm_readv")
_copy("process_vm_writev")


@GROUP.check("signals do not end or stop pid 1", "pid_namespaces(7), signals to init")
def _kill_init(_: Surroundings) -> str:
    before = start_time(1)
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGSEGV, signal.SIGHUP):
        try:
            os.kill(1, number)
        except PermissionError:
            continue
    with open("/proc/1/stat", "rb") as file:
        state = file.read().rpartition(b")")[2].split()[0]
    require(start_time(1) == before and state not in (b"T", b"t", b"Z"), f"pid 1 is in state {state!r}")
    return "it lives"


@GROUP.check("a pidfd of pid 1 gives none of its descriptors", "pidfd_getfd(2)", calls=("pidfd_getfd",))
def _steal(_: Surroundings) -> str:
    try:
        descriptor = call("pidfd_open", 1, 0)
    except OSError as error:
        return f"pidfd_open: {error.strerror}"
    for number in range(8):
        refusal(lambda n=number: call("pidfd_getfd", descriptor, n, 0), (EPERM, ENOSYS, EACCES))  # type: ignore[misc]
    return "refused"


GROUP.refused(
    "compare descriptors with pid 1",
    "kcmp(2)",
    lambda _: call("kcmp", os.getpid(), 1, _KCMP_FILE, 0, 0),
    EPERM,
    ENOSYS,
    calls=("kcmp",),
)
GROUP.refused(
    "raise the limits of pid 1",
    "prlimit(2)",
    lambda _: call("prlimit64", 1, 7, words(1 << 31, 1 << 31), None),
    EPERM,
    calls=("prlimit64",),
)
GROUP.refused(
    "move pid 1's memory",
    "move_pages(2)",
    lambda _: call("move_pages", 1, 0, None, None, None, 0),
    EPERM,
    ENOSYS,
    EACCES,
    weak=(EINVAL,),
    calls=("move_pages",),
)


@GROUP.check("the monitor cannot be signalled", "pid_namespaces(7)")
def _monitor(surroundings: Surroundings) -> str:
    try:
        if start_time(surroundings.pid) != surroundings.started:
            return "its number is a process of this session"
    except FileNotFoundError:
        pass
    return refusal(lambda: os.kill(surroundings.pid, 0), (ESRCH,))


@GROUP.check("no process outside answers to any number", "pid_namespaces(7)")
def _numbers(_: Surroundings) -> str:
    known = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    for number in range(1, 4096):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            continue
        except PermissionError:
            require(number in known, f"process {number} is not of this session")
            continue
        if number not in known and not os.path.exists(f"/proc/{number}"):
            raise Escaped(f"process {number} answers and is not of this session")
    return "1-4095"


@GROUP.check("session and process group are the session's own", "setsid(2), credentials(7)")
def _session(_: Surroundings) -> str:
    require(os.getsid(0) == os.getpid() and os.getpgrp() == os.getpid(), "the probe leads no session")
    require(os.getsid(os.getppid()) > 0, "the payload's session is led from outside")
    require(os.getpgid(os.getppid()) > 0, "the payload's process group is led from outside")
    return "both are numbered inside"


def _write_to_init(name: str) -> int:
    descriptor = os.open(f"/proc/1/{name}", os.O_WRONLY)
    try:
        return os.write(descriptor, b"1")
    finally:
        os.close(descriptor)


for _name in ("oom_score_adj", "comm", "coredump_filter", "clear_refs", "timerslack_ns", "autogroup"):
    GROUP.refused(
        f"write /proc/1/{_name}",
        "proc_pid(5)",
        lambda _, name=_name: _write_to_init(name),  # type: ignore[misc]
        EACCES,
        EPERM,
        weak=(ENOENT,),
    )

"""Attacks of a contained user on everybody else: what each takes, and who has to stop it.

The tests run them to see that each meets its bound and that nothing stays; the benchmark, to see what
another user's login takes beside each.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from support import login
from support.host import until
from support.users import User

_PROGRAMS = os.path.join(os.path.dirname(__file__), "attack_programs.py")
KILLED = "SIGKILL"
"""Instead of an error's name: what was killed before it could say anything."""
SESSION, USER, KERNEL, CGROUP, NOBODY = "session", "user", "kernel", "cgroup", "nobody"
"""Who bounds: a limit of the session's own, one over the user's sessions, the kernel's by user id or a lack
of the means, a cgroup only (mem_limit, cpus, blkio_config …), nobody."""


@dataclass(frozen=True)
class Attack:
    """One way to use something up.

    name: of its program. title: as in docs/limits.md. met: the errors that stop it, one of which it has to
    meet; empty where it is only slowed. by, bound: who bounds it (of the words above), and with what.
    most: what it takes where nothing stops it, in MiB or things: the machine is also somebody else's.
    counted: what it took has to be there again for the next session, as the kernel counts it by user.
    """

    name: str
    title: str
    met: tuple[str, ...]
    by: str
    bound: str
    most: int = 1_000_000
    counted: bool = False
    terminal: bool = False


ATTACKS = (
    Attack("fork_bomb", "fork bomb", ("EAGAIN",), SESSION, "ulimits.nproc, 512", 2_000),
    Attack("heap", "memory: heap", (), CGROUP, "mem_limit", 512),
    Attack("memfd", "memory: memfd", (), CGROUP, "mem_limit", 512),
    Attack("shared_memory", "memory: System V segments", (), CGROUP, "mem_limit", 512),
    Attack(
        "unix_sockets",
        "memory: unix sockets",
        ("EMFILE",),
        SESSION,
        "ulimits.nofile of each process",
    ),
    Attack("pipes", "memory: pipes", ("EMFILE",), KERNEL, "fs.pipe-user-pages-soft", counted=True),
    Attack("tmpfs", "memory: tmpfs", ("ENOSPC",), SESSION, "storage_opt.size", 2_000),
    Attack("inodes", "inodes", ("ENOSPC",), SESSION, "storage_opt.inodes"),
    Attack("descriptors", "open files", ("EMFILE",), SESSION, "ulimits.nofile"),
    Attack("ptys", "terminals", ("ENOSPC",), SESSION, "max= of its devpts", counted=True),
    Attack("inotify", "inotify instances", ("EMFILE",), KERNEL, "inotify.max_user_instances", counted=True),
    Attack("inotify_watches", "inotify watches", ("ENOSPC",), SESSION, "storage_opt.inodes", counted=True),
    Attack("keys", "keys", ("EPERM",), SESSION, "the seccomp filter"),
    Attack("aio", "aio slots", ("ENOSYS",), SESSION, "the seccomp filter"),
    Attack("epoll", "epoll watches", ("EMFILE", "ENOSPC"), KERNEL, "fs.epoll.max_user_watches", counted=True),
    Attack("in_flight", "descriptors in flight", ("ETOOMANYREFS",), KERNEL, "ulimits.nofile", counted=True),
    Attack("loopback", "loopback TCP", ("EMFILE",), SESSION, "small buffers of its network, ulimits.nofile"),
    Attack("log", "log flood", ("ENOENT",), SESSION, "no log socket inside"),
    Attack("dentries", "negative dentries", (), CGROUP, "mem_limit", 200_000),
    Attack("terminal", "terminal flood", (), CGROUP, "cpus", terminal=True),
    Attack("spinners", "spinners", (), CGROUP, "cpus, cpu_shares", 8),
    Attack("storm", "fsync storm", (), CGROUP, "blkio_config", 8),
)
BOMB = Attack("bomb", "fork bomb that computes", ("EAGAIN",), CGROUP, "pids_limit, cpus", 2_000)
"""Not in the table: without a cgroup it is as bad as so many spinners, on a machine that others use, too."""
LOGINS = Attack("logins", "logins, 200 a second", (), CGROUP, "sessions.max; user_limits.cpus")


@dataclass(frozen=True)
class Report:
    """How far an attack came. taken: MiB or things. met: the name of the error that stopped it, or ""."""

    taken: int
    met: str


def command(attack: Attack) -> str:
    """A shell command that attacks, with nothing needed but a python3."""
    with open(_PROGRAMS, encoding="utf-8") as file:
        program = file.read()
    return f"exec python3 -c {shlex.quote(program)} {attack.name} {attack.most}"


@contextlib.contextmanager
def under(user: User, attack: Attack) -> Iterator[Report]:
    """A session of ``user`` that attacks; inside the block it holds what it could get, and wants more.

    At the end of the block the client is gone, and so is the session, as with a connection that breaks.
    """
    ours, theirs = os.openpty() if attack.terminal else os.pipe()
    os.fchown(theirs, user.uid, user.gid)
    stdin = theirs if attack.terminal else subprocess.DEVNULL
    session = login.start(user, "-c", command(attack), stdin=stdin, stdout=theirs, stderr=theirs)
    os.close(theirs)
    over = threading.Event()
    reader = threading.Thread(target=_read_on, args=(ours, over), daemon=True)
    try:
        report = _first_line(ours)
        reader.start()
        yield report
    finally:
        over.set()
        if reader.is_alive():
            reader.join()
        os.close(ours)
        until(lambda: session.poll() is not None, "the session of an attack ends")


def _first_line(output: int) -> Report:
    line = b""
    while not line.endswith(b"\n"):
        try:
            piece = os.read(output, 1)
        except OSError:  # nobody has the other side of the terminal open
            piece = b""
        if not piece:
            return Report(0, KILLED)
        line += piece
    said = json.loads(line)
    return Report(said["taken"], said["met"])


def _read_on(output: int, over: threading.Event) -> None:
    """Read what is shown as fast as it comes, as a client does."""
    with contextlib.suppress(OSError):
        while not over.is_set():
            if select.select([output], [], [], 0.1)[0] and not os.read(output, 1 << 16):
                return


@contextlib.contextmanager
def storm_of_logins(user: User, per_second: float = 200, at_once: int = 100) -> Iterator[list[int]]:
    """Logins of one user, so many a second, of which ``at_once`` wait at most, as sshd's MaxStartups has it.

    The list grows by the exit status of each.
    """
    statuses: list[int] = []
    over = threading.Event()

    def storm() -> None:
        running: list[subprocess.Popen[bytes]] = []
        while not over.wait(1 / per_second):
            for session in [one for one in running if one.poll() is not None]:
                running.remove(session)
                statuses.append(session.returncode)
            if len(running) < at_once:
                null = subprocess.DEVNULL
                running.append(login.start(user, "-c", "true", stdin=null, stdout=null, stderr=null))
        statuses.extend(session.wait() for session in running)

    storming = threading.Thread(target=storm)
    storming.start()
    try:
        yield statuses
    finally:
        over.set()
        storming.join()

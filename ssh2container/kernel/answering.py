"""File servers that do not answer: found out by a child, in time, before anything of ours waits for them.

A process that looks at a file of a server that hangs (NFS, FUSE, a share) may wait for ever, and not even
SIGKILL need end that wait. Whatever lies on the host's own disks is not looked at here.

Imported only for a path that leads over a mount point.
"""

from __future__ import annotations

import errno
import posix as os
import select
import time

from ssh2container.errors import SessionError

from . import libc, mounts, process, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NoReturn

PATIENCE_S = 15.0
"""How long one place may take to answer: an automounter, or a disk that spins up, takes some seconds."""
silent: set[str] = set()
"""Places that have not answered this process, or whoever started it: nobody waits for them again."""
NAME = "ssh2c-asks"
"""By which lists of processes tell the child from who waits for what it says."""
_REAPING_S = 0.5
_LOCAL = frozenset(
    (
        *(
            "bcachefs",
            "binder",
            "bpf",
            "btrfs",
            "cgroup",
            "cgroup2",
            "configfs",
            "debugfs",
            "devpts",
            "devtmpfs",
        ),
        *("ecryptfs", "efivarfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fusectl", "hfsplus"),
        *("hugetlbfs", "iso9660", "jfs", "mqueue", "nilfs2", "ntfs3", "overlay", "proc", "pstore", "ramfs"),
        *(
            "reiserfs",
            "rootfs",
            "securityfs",
            "squashfs",
            "sysfs",
            "tmpfs",
            "tracefs",
            "udf",
            "vfat",
            "xfs",
            "zfs",
        ),
    )
)
"""File systems that need nobody else to answer. All others may be served by a process or a host."""
_ENDING = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)


def require(paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``paths`` that may be served by somebody else, all of whom answer.

    Raises SessionError for the first one that does not, or when a signal asks us to end meanwhile.
    """
    table = _mount_table()
    served = tuple(path for path in paths if _is_served(path, table))
    for path in served:
        if any(path == place or path.startswith(place + "/") for place in silent):
            raise not_answering((path,), PATIENCE_S)
    if served:
        _ask(served)
    return served


def not_answering(places: Sequence[str], seconds: float) -> SessionError:
    """Return the error that names what does not answer."""
    return SessionError(
        f"cannot reach {' or '.join(places)}",
        f"the file server behind it has not answered for {seconds:.0f} s",
        f"an administrator finds it with: findmnt -T {places[0]}",
        "answering",
        errno.ETIMEDOUT,
    )


def mount_point(path: str) -> str:
    """Return the mount point that ``path``, as it is spelt, lies below; asks nobody."""
    over = (place for place, _ in _mount_table() if path == place or path.startswith(place + "/"))
    return max(over, key=len, default="") or "/"


def mount_points() -> frozenset[str]:
    """Return every mount point; asks nobody."""
    return frozenset(place or "/" for place, _ in _mount_table())


def _mount_table() -> list[tuple[str, str]]:
    """Return (mount point, type) of every mount (proc_pid_mountinfo(5))."""
    table = []
    told = process.read_file("/proc/self/mountinfo").decode("utf-8", "surrogateescape")
    for line in told.splitlines():
        left, _, right = line.partition(" - ")
        table.append((unescaped(left.split(" ")[4]).rstrip("/"), right.partition(" ")[0]))
    return table


def unescaped(place: str) -> str:
    """Return the path that is written like ``place`` in a table of mounts (proc_pid_mountinfo(5))."""
    for escaped, meant in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        place = place.replace(escaped, meant)
    return place


def _is_served(path: str, table: list[tuple[str, str]]) -> bool:
    """Tell whether anything on the way to ``path`` may be served by somebody else; asks nobody."""
    over = [(place, kind) for place, kind in table if path == place or path.startswith(place + "/")]
    if any(kind not in _LOCAL for _, kind in over):
        return True
    last = max((place for place, _ in over), key=len, default="")
    try:
        directory = mounts.open_path(last or "/")
    except OSError:
        return False
    try:
        rest = path[len(last) :].lstrip("/") or "."
        os.close(mounts.open_path(rest, mounts.RESOLVE_NO_XDEV, directory=directory))
    except OSError as error:
        return error.errno == errno.EXDEV  # a link leads elsewhere
    finally:
        os.close(directory)
    return False


def _ask(served: Sequence[str]) -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _touch(served, writer)
    os.close(writer)
    pidfd = os.pidfd_open(child)
    asked_to_end = signals.descriptor(_ENDING)
    waiting = select.poll()
    waiting.register(reader, select.POLLIN)
    waiting.register(asked_to_end, select.POLLIN)
    try:
        _wait(waiting, reader, asked_to_end, served)
    finally:
        _end(child, pidfd)
        for descriptor in (reader, pidfd, asked_to_end):
            os.close(descriptor)


def _wait(waiting: select.poll, reader: int, asked_to_end: int, served: Sequence[str]) -> None:
    at = 0
    deadline = time.monotonic() + PATIENCE_S
    while True:
        told = [number for number, _ in waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)]
        if asked_to_end in told:
            raise SessionError(
                f"gave up waiting for {served[at]}",
                f"signal {signals.read(asked_to_end)[0]} asked this session to end",
                step="answering",
                number=errno.EINTR,
            )
        if reader in told:
            heard = os.read(reader, 64)
            if not heard:
                return
            at = heard[-1]
            deadline = time.monotonic() + PATIENCE_S
        elif not told:
            silent.add(served[at])
            raise not_answering((served[at],), PATIENCE_S)


def _touch(served: Sequence[str], writer: int) -> NoReturn:
    """In a child that holds nothing of the session: do with each place what a session does first."""
    try:
        libc.syscall("prctl", process.PR_SET_NAME, NAME.encode() + b"\0", 0, 0, 0)
        libc.syscall("prctl", process.PR_SET_PDEATHSIG, signals.SIGKILL, 0, 0, 0)
        os.setsid()
        process.replace_standard_descriptors()
        process.close_all_but((writer,))
        for number, path in enumerate(served):
            os.write(writer, bytes((min(number, 255),)))
            try:
                os.stat(path)
                os.statvfs(path)
            except OSError:
                pass  # an answer, too: who needs it says what it means
    finally:
        os._exit(0)


def _end(child: int, pidfd: int) -> None:
    """End the child, and collect it unless it waits where no signal reaches it."""
    try:
        signals.send(pidfd, signals.SIGKILL)
    except ProcessLookupError:
        pass
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    if ended.poll(_REAPING_S * 1000):
        os.waitpid(child, 0)

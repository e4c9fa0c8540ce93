# Longer than 300 lines: one group of the report, its attempts in the order in which they are shown.
"""Resources: all that a session can use up is bounded, and what it fills is its own."""

from __future__ import annotations

import os
import resource
import signal
import socket
from errno import EAGAIN, EDQUOT, EINVAL, EMFILE, ENFILE, ENOSPC, ENOTTY, EOPNOTSUPP, EPERM, EROFS
from typing import TYPE_CHECKING

from ssh2container.admin.verify.calls import call, words
from ssh2container.admin.verify.probe import Group, refusal, require
from ssh2container.admin.verify.probes.programs import start_helper
from ssh2container.admin.verify.verdicts import Escaped, Weak
from ssh2container.kernel import quotas
from ssh2container.plan.operations.limits import LimitUser
from ssh2container.plan.walls import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("Resources and life cycle")

_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock")
_FILL_LIMIT_BYTES = 600 << 20
"""What a probe takes of the host's memory at most."""
_INODES_LIMIT = 200_000
_PROCESSES_TRIED, _OF_ONE_ID = 5000, 100
_CORE = resource.RLIMIT_CORE
_SUBVOLUME = 0x5000940E
"""BTRFS_IOC_SUBVOL_CREATE (linux/btrfs.h); its argument is a descriptor, and from byte 8 on a name."""
_SUBVOLUME_BYTES = 4096
_MOST_OF_A_CONNECTION = {"none": 512 << 10, "private": 4 << 20}
"""Bytes that one direction may hold: both buffers, and what the kernel allows beyond them.

By ``network_mode``: the packets of a private network are large, and each buffer may have 2 MB for them.
"""


def writable(surroundings: Surroundings) -> Iterator[str]:
    """Yield the directories in memory that the session can write to."""
    places = [*_PLACES, *(() if surroundings.policy.home else (surroundings.home,))]
    for place in places:
        if os.path.isdir(place) and os.access(place, os.W_OK):
            yield place


@GROUP.check("every writable place in memory is limited in size", "tmpfs(5), size and nr_inodes")
def _limited(surroundings: Surroundings) -> str:
    storage = surroundings.policy.storage_opt
    seen = []
    for place in writable(surroundings):
        numbers = os.statvfs(place)
        size = numbers.f_blocks * numbers.f_frsize
        require(0 < size <= storage.size + (1 << 20), f"{place} holds {size} bytes")
        require(0 < numbers.f_files <= storage.inodes, f"{place} holds {numbers.f_files} files")
        seen.append(place)
    require(seen, "no writable place found")
    return ", ".join(seen)


def _memory_available() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0


@GROUP.check("filling the memory file system ends with ENOSPC", "tmpfs(5), size")
def _fill(surroundings: Surroundings) -> str:
    size = surroundings.policy.storage_opt.size
    if size > _FILL_LIMIT_BYTES or size > _memory_available() // 2:
        raise Weak(f"storage_opt.size is {size >> 20} MiB: read, not filled")
    path = "/tmp/verify-fill"
    piece = 4 << 20
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    filled = 0
    try:
        while filled <= size:
            os.posix_fallocate(descriptor, filled, piece)
            filled += piece
    except OSError as error:
        require(error.errno in (ENOSPC, EDQUOT), str(error))
    else:
        raise Escaped(f"{filled >> 20} MiB fit into {size >> 20} MiB")
    finally:
        os.ftruncate(descriptor, 0)
        os.close(descriptor)
    return f"after {filled >> 20} of {size >> 20} MiB"


@GROUP.check("filling the inodes ends with ENOSPC", "tmpfs(5), nr_inodes")
def _inodes(surroundings: Surroundings) -> str:
    most = surroundings.policy.storage_opt.inodes
    if most > _INODES_LIMIT:
        raise Weak(f"storage_opt.inodes is {most}: read, not filled")
    base = "/tmp/verify-inodes"
    os.mkdir(base)
    made = 0
    try:
        while made <= most:
            os.mknod(f"{base}/{made}", 0o100600)
            made += 1
    except OSError as error:
        require(error.errno in (ENOSPC, EDQUOT), str(error))
        for place in writable(surroundings):
            if place.startswith(("/dev/shm", "/var/tmp", "/run")):
                require(not _can_make(f"{place}/verify-more"), f"{place} is not of the same limit")
    else:
        raise Escaped(f"{made} files made where {most} are allowed")
    finally:
        for number in range(made):
            os.unlink(f"{base}/{number}")
        os.rmdir(base)
    return f"after {made} files"


def _can_make(path: str) -> bool:
    try:
        os.mknod(path, 0o100600)
    except OSError:
        return False
    os.unlink(path)
    return True


@GROUP.check("a big file of the image cannot be copied up past the limit", "overlayfs.rst, copy up")
def _copy_up(surroundings: Surroundings) -> str:
    if not surroundings.policy.ranged:
        raise Weak("the image's files cannot be written to at all")
    numbers = os.statvfs("/")
    require(
        numbers.f_blocks * numbers.f_frsize <= surroundings.policy.storage_opt.size + (1 << 20), "unlimited"
    )
    return "the upper layer has the limit"


def _process_limit(surroundings: Surroundings) -> str:
    policy = surroundings.policy
    return "ulimits.nproc" if policy.ulimits.get("nproc", (0, 0))[1] < 0 else ""


@GROUP.check(
    "a fork bomb ends with EAGAIN", "fork(2); getrlimit(2), NPROC; cgroups(7), pids", excuse=_process_limit
)
def _forks(surroundings: Surroundings) -> str:
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if most == resource.RLIM_INFINITY:
        raise Escaped("the number of processes is not limited")
    if most > _PROCESSES_TRIED:
        meant = surroundings.policy.ulimits.get("nproc", DEFAULT_LIMITS["nproc"])[1]
        if most > meant:
            raise Escaped(f"{most} processes are allowed, {meant} by the policy")
        raise Weak(f"{most} processes are allowed: not tried")
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    return f"after {_crowd(most, lambda _: _pausing())} more, limit {most}"


def _memory_limit(surroundings: Surroundings) -> int:
    """Return how many bytes a process may take that are no files, 0 for no limit."""
    limits = surroundings.policy.limits
    if limits is not None and limits.memory is not None:
        return limits.memory
    return surroundings.policy.ulimits.get("as", (0, 0))[1]


@GROUP.check(
    "many ids have no more processes than one user",
    "user_namespaces(7); kernel/ucount.c, RLIMIT_NPROC of the namespace's owner",
    excuse=_process_limit,
)
def _forks_of_many_ids(surroundings: Surroundings) -> str:
    """``nproc`` counts each id by itself, and a range has thousands."""
    if os.getuid() != 0 or not surroundings.policy.ranged:
        raise Weak("the session has one id")
    most = next((op.most for op in surroundings.plan.container.before if isinstance(op, LimitUser)), None)
    if most is None:
        raise Escaped("nothing limits the processes of all ids together")
    if most > _PROCESSES_TRIED:
        raise Weak(f"{most} processes are allowed: not tried")
    found = _crowd(most, lambda there: _pausing_as(1 + there // _OF_ONE_ID))
    return f"after {found} more under {1 + found // _OF_ONE_ID} ids, limit {most}"


def _crowd(most: int, start: Callable[[int], int]) -> int:
    """Return after how many processes one more is refused.

    start: starts one and returns its pid; is told how many there are.
    """
    children: list[int] = []
    try:
        while len(children) <= most:
            children.append(start(len(children)))
    except OSError as error:
        require(error.errno == EAGAIN, str(error))
        return len(children)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    raise Escaped(f"{len(children)} processes where {most} are allowed")


def _pausing() -> int:
    """Fork a process that waits, and return its pid. Raises OSError."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    return child


def _pausing_as(uid: int) -> int:
    """Fork a process that becomes ``uid`` and waits; return its pid once it has. Raises OSError."""
    ready, said = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(uid, uid, uid)
            os.write(said, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(said)
    os.read(ready, 1)
    os.close(ready)
    return child


@GROUP.check(
    "a memory bomb is ended inside",
    "cgroups(7), memory.max; getrlimit(2), AS",
    excuse=lambda s: "" if _memory_limit(s) else "ulimits.as",
)
def _memory(surroundings: Surroundings) -> str:
    limit = _memory_limit(surroundings)
    if not limit:
        raise Escaped("memory that is no file is not limited")
    if limit > _memory_available() // 2:
        raise Weak(f"the limit of {limit >> 20} MiB is more than half of what the host has: not tried")
    child = os.fork()
    if child == 0:
        try:
            hoard: list[bytearray] = []
            while len(hoard) << 20 <= limit + (64 << 20):
                hoard.append(bytearray(os.urandom(4096) * 256))
        except MemoryError:
            os._exit(9)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    require(status, f"more than {limit >> 20} MiB could be used")
    return f"ended at {limit >> 20} MiB, wait status {status:#x}"


@GROUP.check("open files are limited", "getrlimit(2), NOFILE")
def _files(_: Surroundings) -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    require(hard != resource.RLIM_INFINITY, "the hard limit is unlimited")
    low = min(soft, 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    opened = 0
    try:
        while opened <= low:
            os.dup(0)
            opened += 1
    except OSError as error:
        require(error.errno in (EMFILE, ENFILE), str(error))
        return f"EMFILE at a limit of {low}, hard {hard}"
    raise Escaped(f"{opened} files where {low} are allowed")


@GROUP.check(
    "a connection holds little memory",
    "tcp(7), tcp_mem and tcp_rmem; SO_RCVBUF in socket(7)",
    excuse=lambda s: "network_mode" if s.shares_network else "networks" if s.policy.networks else "",
)
def _connection(surroundings: Surroundings) -> str:
    """All networks of the host take the memory of connections from one pool."""
    most = _MOST_OF_A_CONNECTION.get(surroundings.policy.network_mode, _MOST_OF_A_CONNECTION["none"])
    pair = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pair.append(socket.create_connection(listener.getsockname()))
        pair.append(listener.accept()[0])
    for end in pair:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, most * 4)
        end.setblocking(False)
    held = 0
    try:
        while held <= most:
            held += pair[0].send(bytes(4096))
    except BlockingIOError:
        return f"{held >> 10} kB on their way"
    finally:
        for end in pair:
            end.close()
    raise Escaped(f"more than {held >> 10} kB on their way, one way")


@GROUP.check("a crash leaves no core", "core(5), RLIMIT_CORE of 1")
def _core(surroundings: Surroundings) -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    require((soft, hard) == (1, 1), f"the limits are {soft}, {hard}: 0 would not stop a core handler")
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
        signal.pause()
    _, status = os.waitpid(child, 0)
    require(os.WIFSIGNALED(status) and not os.WCOREDUMP(status), f"wait status {status:#x}")
    return f"none; the host's core_pattern is {surroundings.core_pattern!r}"


def _lowerings() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the ways to another core limit than 1, the only one that stops a core handler."""
    for soft, hard in ((0, 1), (0, 0)):
        pair = words(soft, hard)
        yield "setrlimit", lambda pair=pair: call("setrlimit", _CORE, pair)  # type: ignore[misc]
        yield "setrlimit, high bits", lambda pair=pair: call("setrlimit", _CORE | 1 << 32, pair)  # type: ignore[misc]
        for pid in (0, os.getpid(), os.getppid()):
            yield "prlimit64", lambda pid=pid, pair=pair: call("prlimit64", pid, _CORE, pair, 0)  # type: ignore[misc]
        yield "prlimit64, high bits", lambda pair=pair: call("prlimit64", 0, _CORE | 1 << 32, pair, 0)  # type: ignore[misc]


@GROUP.check("a crash starts no core handler after the limit was lowered", "core(5); prlimit(2)")
def _core_lowered(surroundings: Surroundings) -> str:
    for how, lower in _lowerings():
        try:
            lower()
        except OSError as error:
            require(error.errno == EPERM, f"{how}: {error}")
        limits = resource.getrlimit(resource.RLIMIT_CORE)
        require(limits == (1, 1), f"{how} changed the limit to {limits}: a core handler of the host starts")
    return _core(surroundings)


@GROUP.check("the core limit is not exchanged for the former one", "prlimit(2), old_limit")
def _core_exchanged(_: Surroundings) -> str:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    answer = refusal(lambda: call("prlimit64", 0, _CORE, words(0, 0), bytearray(16)), (EPERM,))
    require(resource.getrlimit(resource.RLIMIT_CORE) == before, "the limit has changed")
    return answer


@GROUP.check("a crash of a program leaves no core", "core(5)")
def _core_of_program(surroundings: Surroundings) -> str:
    _, status = start_helper(surroundings, "crash")
    require(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV, f"wait status {status:#x}")
    require(not os.WCOREDUMP(status), "a core was written or a handler started")
    return "none"


@GROUP.check("locked memory is limited", "mlock(2), RLIMIT_MEMLOCK")
def _locked(_: Surroundings) -> str:
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    require(hard != resource.RLIM_INFINITY, "the hard limit is unlimited")
    return f"{hard} bytes"


@GROUP.check("signals that wait are limited", "getrlimit(2), SIGPENDING")
def _pending(_: Surroundings) -> str:
    hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)[1]
    if hard == resource.RLIM_INFINITY:
        raise Weak("the host sets no limit")
    return str(hard)


@GROUP.check("POSIX queues are limited", "mq_overview(7), RLIMIT_MSGQUEUE")
def _queues(_: Surroundings) -> str:
    number = getattr(resource, "RLIMIT_MSGQUEUE", 12)
    hard = resource.getrlimit(number)[1]
    require(hard != resource.RLIM_INFINITY, "the hard limit is unlimited")
    return f"{hard} bytes"


@GROUP.check("a file stays in its project", "FS_IOC_FSSETXATTR: a way past a quota", calls=("ioctl",))
def _project(surroundings: Surroundings) -> str:
    path = f"{_kept(surroundings)}/verify-project"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.unlink(path)
        return refusal(lambda: quotas.assign(descriptor, 1, inherited=False), (EINVAL,), (ENOTTY, EOPNOTSUPP))
    finally:
        os.close(descriptor)


@GROUP.check("no subvolume of btrfs is made", "btrfs-subvolume(8): a way past a quota", calls=("ioctl",))
def _subvolume(surroundings: Surroundings) -> str:
    argument = bytes(8) + b"verify-subvolume"
    place = os.open(_kept(surroundings), os.O_RDONLY | os.O_DIRECTORY)
    try:
        request = argument.ljust(_SUBVOLUME_BYTES, b"\0")
        return refusal(lambda: call("ioctl", place, _SUBVOLUME, request), (EPERM,), (ENOTTY, EROFS))
    finally:
        os.close(place)


def _kept(surroundings: Surroundings) -> str:
    return surroundings.home if os.access(surroundings.home, os.W_OK) else "/tmp"

"""Resources: all that a session can use up is bounded, and what it fills is its own."""

from __future__ import annotations

import os
import resource
import signal
from errno import EAGAIN, EDQUOT, EMFILE, ENFILE, ENOSPC
from typing import TYPE_CHECKING

from ssh2container.admin.verify.probe import Escaped, Group, Weak, require
from ssh2container.admin.verify.probes.programs import start_helper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.verify.surroundings import Surroundings

GROUP = Group("Resources and life cycle")

_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock")
_FILL_LIMIT_BYTES = 600 << 20
"""What a probe takes of the host's memory at most."""
_INODES_LIMIT = 200_000


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
    return "" if policy.pids_limit is not None or "nproc" in policy.ulimits else "ulimits.nproc"


@GROUP.check(
    "a fork bomb ends with EAGAIN", "fork(2); getrlimit(2), NPROC; cgroups(7), pids", excuse=_process_limit
)
def _forks(surroundings: Surroundings) -> str:
    policy = surroundings.policy
    limits = [
        number
        for number in (policy.pids_limit, policy.ulimits.get("nproc", (-1, -1))[1])
        if number and number > 0
    ]
    if not limits:
        raise Escaped("the number of processes is not limited")
    most = min(limits)
    children: list[int] = []
    try:
        while len(children) <= most:
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError as error:
        require(error.errno == EAGAIN, str(error))
        return f"after {len(children)} more, limit {most}"
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    raise Escaped(f"{len(children)} processes where {most} are allowed")


@GROUP.check(
    "a memory bomb is ended inside",
    "cgroups(7), memory.max; getrlimit(2), AS",
    excuse=lambda s: "" if s.policy.mem_limit is not None or "as" in s.policy.ulimits else "ulimits.as",
)
def _memory(surroundings: Surroundings) -> str:
    limit = surroundings.policy.mem_limit or surroundings.policy.ulimits.get("as", (0, 0))[1]
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

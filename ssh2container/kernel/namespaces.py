"""New namespaces and their identity maps (namespaces(7), user_namespaces(7))."""

from __future__ import annotations

import posix as os

from ssh2container import paths

from . import _syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .script import Script

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
ALL_BUT_NETWORK = (
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
)  # fmt: skip
"""What whoever is contained has of their own, whatever network that is."""

HELPERS = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")
"""What writes the maps of a range of ids, of users and of groups (package uidmap)."""
PROGRAM = paths.parent(paths.parent(paths.parent(__file__))) + "/init"
"""pid 1 of every container: a static program of root's, installed beside the code.

Nobody else may read it. For the kernel that makes its process one that only root of the host may look
into, from its first instruction on; otherwise the user namespace's owner could (would_dump, fs/exec.c)."""


def spawn(
    flags: int, descriptors: tuple[int, int, int], opening: Script, *, waits: bool, network: int = -1
) -> tuple[int, int]:
    """Start :data:`PROGRAM` as pid 1 of new namespaces and return (pid, pidfd).

    This process never leaves its own namespaces, and nothing of it is copied. The program gets
    ``descriptors`` (channel, file of the order, listener or -1) beside 0-2, and an empty environment.
    opening: what has to happen before the program is executed; what fails there comes over the channel.
    waits: whether it waits for us. network: of a network namespace to start it in, whose owner is the user;
    the new user namespace is a child of the one that owns that. Raises OSError.
    """
    records, texts = b"".join(opening.records), opening.finish()
    return _syscall.spawn(paths.fsencode(PROGRAM), flags, descriptors, records, texts, waits, network)


def contain(descriptors: tuple[int, int, int], opening: Script) -> None:
    """Be pid 1 in this process, by the same code as :data:`PROGRAM`; return in the payload."""
    _syscall.contain(descriptors, b"".join(opening.records), opening.finish())


def clone(flags: int, network: int = -1) -> tuple[int, int]:
    """Fork into new namespaces: (pid, pidfd) in the parent, (0, -1) in the child.

    clone(2) without a stack behaves like fork in a process of a single thread. The pidfd is
    close-on-exec. network: as for :func:`spawn`. Raises OSError.
    """
    return _syscall.clone(flags, network)


def write_file(path: str, text: str) -> None:
    """Write ``text`` in one call to a file of /proc; raises OSError with the path."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)


def map_range(
    pid: int, uid_map: tuple[tuple[int, int, int], ...], gid_map: tuple[tuple[int, int, int], ...]
) -> None:
    """Have the setuid helpers write both maps of ``pid`` side by side: (inside, outside, count) lines.

    Raises OSError: ENOENT without the helpers, EPERM when they refuse (subuid(5)).
    """
    running = []
    quiet = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1, 2)]
    for program, lines in zip(HELPERS, (uid_map, gid_map), strict=True):
        words = [program, str(pid), *(str(number) for line in lines for number in line)]
        running.append((program, os.posix_spawn(program, words, {}, file_actions=quiet)))
    refused = [program for program, helper in running if os.waitpid(helper, 0)[1] != 0]
    if refused:
        raise OSError(1, "it refused the map", refused[0])  # EPERM

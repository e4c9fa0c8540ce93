"""What keeps a session in its limits: it reaches neither its control group nor who made that.

The files of a session's scope belong to the user's uid, as does the manager's bus, so only that both are out
of sight keeps the limits (part of the group of resources).
"""

from __future__ import annotations

import os
import socket
from errno import EACCES, ECONNREFUSED, ENOENT, ENOTDIR, EPERM, EROFS
from typing import TYPE_CHECKING

from ssh2container.admin.verify.probe import refusal, require
from ssh2container.admin.verify.probes.privileges import of_system
from ssh2container.admin.verify.probes.resources import GROUP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.verify.surroundings import Surroundings

_ABSENT = (ENOENT, ENOTDIR, EACCES, EPERM, ECONNREFUSED)
_TREES = ("/sys/fs/cgroup", "/proc/1/root/sys/fs/cgroup", "/proc/self/root/sys/fs/cgroup", "/run/cgroup2")
_FILES = ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.procs", "cgroup.subtree_control")


def _open(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def _groups() -> Iterator[str]:
    """Yield where the session's own control group and those above it would be."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        own = [line.split(":", 2)[2].rstrip("\n").strip("/") for line in file]
    for tree in _TREES:
        yield tree
        for path in own:
            yield f"{tree}/{path}"
            yield f"{tree}/{path}/.."


@GROUP.check(
    "no limit of the control group can be raised",
    "cgroups(7), memory.max, pids.max, cpu.max",
    excuse=of_system,
)
def _raise(_: Surroundings) -> str:
    tried = 0
    for group in _groups():
        for name in _FILES:
            refusal(lambda path=f"{group}/{name}": _open(path), (*_ABSENT, EROFS))  # type: ignore[misc]
            tried += 1
    return f"{tried} files, none of them there"


@GROUP.check(
    "the session cannot leave its control group for one of its own",
    "cgroups(7), cgroup.procs",
    excuse=of_system,
)
def _leave(_: Surroundings) -> str:
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        before = file.read()
    for group in _groups():
        refusal(lambda path=f"{group}/verify": os.mkdir(path), (*_ABSENT, EROFS))  # type: ignore[misc]
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        require(file.read() == before, "it is in another one now")
    return before.splitlines()[-1] if before else "it is in none"


@GROUP.check("the limits of a whole system are above all that it sees", "cgroup_namespaces(7), cgroup2")
def _above(surroundings: Surroundings) -> str:
    """Look for a group above its own root, which may be written to; the limits lie on the one around that."""
    if not of_system(surroundings):
        return "it is none"
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        own = [line.split(":", 2)[2] for line in file]
    require(
        not any(".." in path or ".scope" in path.split("/init.scope")[0] for path in own), f"it sees {own}"
    )
    place = os.stat("/sys/fs/cgroup")
    above = os.stat("/sys/fs/cgroup/..")
    require(place.st_dev != above.st_dev, "a directory of control groups lies above its own")
    return "its root is the root that it sees"


@GROUP.check("the user's service manager and its bus are out of reach", "user@.service(5), dbus-daemon(1)")
def _manager(_: Surroundings) -> str:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        numbers = {os.getuid(), *(int(line.split()[1]) for line in file)}
    places = [
        f"/run/user/{number}/{name}" for number in sorted(numbers) for name in ("bus", "systemd/private")
    ]
    places += ["/run/dbus/system_bus_socket", "/run/systemd/private"]
    places += [f"/proc/1/root{place}" for place in places]
    for place in places:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            refusal(lambda end=end, place=place: end.connect(place), _ABSENT)  # type: ignore[misc]
    return f"{len(places)} sockets, none of them there"

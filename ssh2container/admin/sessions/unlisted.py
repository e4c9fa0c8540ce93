"""Sessions that the registry does not know: found by what the kernel says of processes.

An entry can be gone while its session lives: the user's directory below /run was removed, by ``disable``,
by hand or by tmpfiles, or there never was one. What cannot be removed is the process outside the container.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import time
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import impersonate, kernel
from ssh2container.admin.sessions.hints import Hint
from ssh2container.kernel import answering
from ssh2container.run import attendant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ssh2container.admin.sessions.kernel import Process

KIND = "(not in the registry)"
_MODULE = b"/ssh2container/kernel/_syscall."
"""What every monitor and owner has in its memory, and nothing else that runs as a user."""
_COLLECTOR = "ssh2container-record"
"""Whose processes keep recordings (admin/recordings/collector.py): with modules of ours, and no sessions."""
_SETTLED_S = 2.0
"""A younger session is about to enter the registry."""


def monitors(
    uids: Collection[int] | None = None, *, settled_s: float = 0.0, known: Collection[int] = ()
) -> Iterator[Process]:
    """Yield the processes outside any container that keep one: monitors, and owners of shared ones.

    uids: whose; None for everybody's. settled_s: only those that have lived so long. known: pids that are
    not looked at.
    """
    ours = os.stat("/proc/self/ns/user").st_ino
    collector = uids_of((_COLLECTOR,))
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in known:
            continue
        try:
            # First what costs least: most processes may be in containers.
            if os.stat(f"/proc/{name}/ns/user").st_ino != ours:
                continue
            uid = os.stat(f"/proc/{name}").st_uid
            # A process that is not dumpable is root's there: status tells.
            process = kernel.Process(int(name)) if uid == 0 or uids is None or uid in uids else None
            if process is None or len({*process.uids}) != 1 or process.uids[0] == 0:
                continue
            if process.uids[0] in collector:
                continue
            if uids is not None and process.uids[0] not in uids:
                continue
            if not _is_ours(name) or _is_part(process):
                continue
        except (OSError, IndexError, ValueError):
            continue  # it has ended meanwhile, or we may not know
        if time.time() - process.since >= settled_s:
            yield process


def _comm(pid: str) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().rstrip("\n")


def _is_part(process: Process) -> bool:
    """Tell whether it asks for a login of ours that waits; it is alone where that has ended without it."""
    return _comm(str(process.pid)) == answering.NAME and _is_ours(str(process.parent))


def _is_ours(pid: str) -> bool:
    if _comm(pid) == attendant.NAME:
        return False  # it ends by itself, soon after who it is of
    with open(f"/proc/{pid}/maps", "rb") as file:
        return any(_MODULE in line for line in file)


def uids_of(names: Collection[str]) -> set[int]:
    """Return the uids of ``names``; a number is that of an account that is no more."""
    found = set()
    for name in names:
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            if name.isdecimal():
                found.add(int(name))
    return found


def beside(
    known: Collection[int], names: Collection[str] = ()
) -> Iterator[tuple[impersonate.Identity, Hint, int, Process]]:
    """Yield (whose, what is said in place of an entry, pidfd, process) of every session not in ``known``.

    known: the pids of processes that the registry names. names: of users, or of all.
    """
    uids = uids_of(names) if names else None
    for process in monitors(uids, settled_s=_SETTLED_S, known=known):
        held = kernel.hold(process.pid, str(process.started), process.uids[0])
        if held is None:
            continue
        text = f"{process.pid} {process.started}"
        name = hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
        hint = Hint(name, {"monitor": text, "kind": KIND})
        yield impersonate.Identity.of(process.uids[0], process.uids[0]), hint, *held

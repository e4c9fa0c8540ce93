"""Becoming a user before touching anything that the user can write.

Root that opens, lists or connects to what lies in a user's directory does it on the user's terms: a
link, a FIFO or a socket there leads where the user wants (CVE-2024-21626 and its many kin). A child
that *is* the user can be led nowhere that the user could not go. It has nothing of root's
but one end of a socket, and what it says there is data: small, and JSON.
"""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError
from ssh2container.kernel import process, security, signals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

LONGEST_ANSWER = 16 << 20
_PATIENCE_S = 20.0
_FAILED = 70


class Identity:
    """Whom to become: uid, gid and supplementary groups; name for people, the uid where it has none."""

    __slots__ = ("gid", "groups", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: Sequence[int], name: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = tuple(groups)
        self.name = name

    @classmethod
    def of(cls, uid: int, gid: int) -> Identity:
        """Return the identity of ``uid``; ``gid`` serves where the name service does not know it.

        Raises SessionError for root.
        """
        if uid == 0:
            raise SessionError("cannot become root", "a user of sessions is not root", step="impersonate")
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(uid, gid, (), str(uid))
        return cls(uid, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid), entry.pw_name)


def fork() -> int:
    """Have a child. A KeyboardInterrupt in what Python itself does meanwhile would be printed and lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        return os.fork()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Agent:
    """A child that has become a user, and our end of the socket to it.

    pid: its process id. end: a stream; end of file means that it has ended.
    """

    def __init__(self, who: Identity, act: Callable[[socket.socket], None], keep: Sequence[int] = ()) -> None:
        """Start the child, which calls ``act`` with its end of the socket and then ends.

        keep: further descriptors that it keeps. Raises SessionError where we may not become ``who``.
        """
        if os.geteuid() not in (0, who.uid):
            raise SessionError(
                f"cannot examine the sessions of {who.name}",
                "only root may",
                "run it as root",
                "impersonate",
            )
        self.end, theirs = socket.socketpair()
        self.pid = fork()
        if self.pid == 0:
            _child(who, act, theirs, keep)
        theirs.close()

    def finish(self) -> None:
        """End the child, if it has not ended, and collect it."""
        self.end.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)


def ask(who: Identity, question: Callable[[], Any], keep: Sequence[int] = ()) -> Any:  # noqa: ANN401
    """Return what ``question`` answers when ``who`` asks it: anything that JSON can hold.

    Raises SessionError when there is no answer in time, or none of a sane size.
    """

    def act(end: socket.socket) -> None:
        end.sendall(json.dumps(question()).encode("ascii"))

    agent = Agent(who, act, keep)
    try:
        answer = _read(agent.end)
    finally:
        agent.finish()
    try:
        return json.loads(answer)
    except ValueError:
        raise SessionError(
            f"cannot look at the sessions of {who.name}",
            "the contents of the user's runtime directory could not be read",
            f"look at /run/ssh2container/{who.uid}, as that user",
            "impersonate",
        ) from None


def _read(end: socket.socket) -> bytes:
    deadline = time.monotonic() + _PATIENCE_S
    pieces: list[bytes] = []
    size = 0
    while size <= LONGEST_ANSWER:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([end], [], [], left)[0]:
            return b""
        piece = end.recv(1 << 16)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
    return b""


def _child(
    who: Identity, act: Callable[[socket.socket], None], end: socket.socket, keep: Sequence[int]
) -> NoReturn:
    status = _FAILED
    try:
        process.die_with_parent(signal.SIGKILL)
        # A session of its own: no controlling terminal, which would be root's (TIOCSTI).
        os.setsid()
        process.replace_standard_descriptors()
        process.close_all_but((end.fileno(), *keep))
        signals.reset()
        become(who)
        process.die_with_parent(signal.SIGKILL)
        os.chdir("/")
        act(end)
        status = 0
    finally:
        os._exit(status)


def become(who: Identity) -> None:
    """Be ``who`` for good, without any right of root's. Raises OSError, or SessionError if some remained."""
    if os.geteuid() == 0:
        os.setgroups(who.groups)
        os.setresgid(who.gid, who.gid, who.gid)
        # From another uid than root the kernel takes all capabilities with this (capabilities(7)).
        os.setresuid(who.uid, who.uid, who.uid)
    security.forbid_new_privileges()
    # The user's other processes must not trace this one: it may hold what root has opened.
    process.set_dumpable(dumpable=False)
    if os.getresuid() != (who.uid,) * 3 or _has_capabilities():
        raise SessionError(f"cannot become {who.name}", "rights of root remained", step="impersonate")


def _has_capabilities() -> bool:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        sets = [line.split()[1] for line in file if line.startswith(("CapPrm", "CapEff", "CapInh", "CapAmb"))]
    return any(int(bits, 16) for bits in sets)

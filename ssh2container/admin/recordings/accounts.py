"""Whose recordings the collector takes, and how much of the disk each uid may fill.

A uid is admitted when a policy records it, or admits it and our shell is its login shell: nobody else has
a session that is recorded. Name service and policies are asked in a child of its own for each uid, as
either may hang; meanwhile everybody else's recordings go on.

What one uid fills is that uid's loss. All its recordings together may take as much as the file system
still has for others ("dynamic thresholds", Choudhury and Hahne 1998): one who floods ends at half of the
disk, two at a third each, and whoever comes then finds as much as each of them has.
"""

from __future__ import annotations

import collections
import contextlib
import marshal
import os
import pwd
import select
import signal
import sys
import time

from ssh2container.admin.sshd import SHELL
from ssh2container.errors import SessionError
from ssh2container.plan.account import Account as HostAccount
from ssh2container.policy import store
from ssh2container.record.keeper import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MOST_RECORDINGS = 256
"""Under way at once, of one uid."""
_MOST_UNKNOWN = 64
"""So many connections of a uid wait while it is looked up."""
_ADMITTED_S, _REFUSED_S = 1.0, 5.0
"""How long the answer of the name service and the policies counts; every login asks anew."""
_COUNTED_S = 60.0
"""How long the count of a uid's files counts; what is written meanwhile is added to it."""
_LOOKUP_S = 20.0
_AT_ONCE = 8
_MOST_KEPT = 1024
_LEAVES_FREE = 0.05
"""The part of the file system that recordings leave free: the log itself has to go on."""
FIRST_DESCRIPTOR = 3
"""Where systemd hands over the listening socket (SD_LISTEN_FDS_START)."""


class Account:
    """One uid, as far as the collector is concerned.

    name: of its directory. refusal: why nothing of it is recorded, or "". open: its connections.
    files, used: what its recordings take, in bytes.
    """

    __slots__ = (
        "_added",
        "_clock",
        "asked",
        "counted",
        "files",
        "name",
        "open",
        "refusal",
        "uid",
        "until",
        "used",
    )

    def __init__(self, uid: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.uid = uid
        self.name = ""
        self.refusal = ""
        self.open = 0
        self.files = self.used = self._added = 0
        self.asked = False
        self.until = 0.0
        self.counted = 0.0

    @property
    def known(self) -> bool:
        """Whether what was found out about it still counts."""
        return self._clock() < self.until

    @property
    def most(self) -> int:
        """How many connections it may have; few until it is known that any are its due."""
        return MOST_RECORDINGS if self.name and not self.refusal else _MOST_UNKNOWN

    def add(self, size: int) -> None:
        """Note that its recordings have grown."""
        self.used += size
        self._added += size

    def ask(self) -> bool:
        """Note that it is being looked up; return whether its files have to be counted, too."""
        self.asked = True
        self._added = 0
        return self._clock() > self.counted + _COUNTED_S

    def learn(self, name: str, refusal: str, counted: tuple[int, int] | None) -> None:
        """Take the answer. counted: files and bytes, None where nobody has counted."""
        now = self._clock()
        self.asked = False
        self.name, self.refusal = name, refusal
        self.until = now + (_REFUSED_S if refusal else _ADMITTED_S)
        if counted is not None:
            self.files, self.used = counted[0], counted[1] + self._added
            self.counted = now

    def require_room(self, directory: str) -> None:
        """Raise Refused when its recordings may not grow: nobody's may, or its own take enough."""
        room = os.statvfs(directory)
        spare = int(room.f_bavail - room.f_blocks * _LEAVES_FREE) * room.f_frsize
        if spare <= 0:
            raise Refused(f"less than {_LEAVES_FREE:.0%} of the file system of {directory} is free")
        if self.used > spare:
            raise Refused(_too_much(self.name, _megabytes(self.used), _megabytes(spare)))

    def require_file(self, directory: str) -> None:
        """Raise Refused when it may not have one more file."""
        self.require_room(directory)
        room = os.statvfs(directory)
        if room.f_files:  # some file systems have no such limit
            spare = int(room.f_favail - room.f_files * _LEAVES_FREE)
            if spare <= 0:
                raise Refused(f"less than {_LEAVES_FREE:.0%} of the files that {directory} may have are left")
            if self.files >= spare:
                raise Refused(_too_much(self.name, f"{self.files} files", f"{spare}"))


class Lookups:
    """All accounts, and the children that find out about them."""

    def __init__(
        self, directory: str, poll: select.epoll, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """clock: what says how long answers count, and how long they are waited for, in seconds."""
        self._directory = directory
        self._clock = clock
        self._poll = poll
        self._accounts: dict[int, Account] = {}
        self._running: dict[int, tuple[Account, int, float]] = {}
        self._waiting: collections.deque[Account] = collections.deque()

    def account(self, uid: int) -> Account:
        """Return what is known about ``uid``."""
        if len(self._accounts) > _MOST_KEPT:
            for old in [a for a in self._accounts.values() if not (a.open or a.asked or a.known)]:
                del self._accounts[old.uid]
        return self._accounts.setdefault(uid, Account(uid, self._clock))

    def ask(self, account: Account) -> None:
        """Find out about ``account``; :meth:`hear` returns it when that is done."""
        if not account.asked:
            account.asked = True
            self._waiting.append(account)
            self._start()

    @property
    def busy(self) -> bool:
        """Whether anything is still being found out."""
        return bool(self._running)

    def owns(self, descriptor: int) -> bool:
        """Tell whether :meth:`hear` is for ``descriptor``."""
        return descriptor in self._running

    def hear(self, descriptor: int) -> Account:
        """Take the answer at ``descriptor``; return whom it is about."""
        account, child, _ = self._running.pop(descriptor)
        self._poll.unregister(descriptor)
        with open(descriptor, "rb") as answer:
            said = answer.read()
        os.waitpid(child, 0)
        try:
            account.learn(*marshal.loads(said))  # by a child of our own
        except (EOFError, ValueError, TypeError):
            account.learn("", "the name service or the policies gave no answer", None)
        if account.refusal:
            sys.stderr.write(f"turning away uid {account.uid}: {account.refusal}\n")
        self._start()
        return account

    def give_up(self) -> None:
        """End the children that have been asking for too long; :meth:`hear` is then due."""
        now = self._clock()
        for _, child, deadline in self._running.values():
            if now > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def _start(self) -> None:
        while self._waiting and len(self._running) < _AT_ONCE:
            account = self._waiting.popleft()
            count = account.ask()
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                _find_out(account.uid, self._directory if count else "", writer)
            os.close(writer)
            self._running[reader] = account, child, self._clock() + _LOOKUP_S
            self._poll.register(reader, select.EPOLLIN)


def _find_out(uid: int, directory: str, writer: int) -> NoReturn:
    """In a child: answer what :meth:`Account.learn` takes."""
    try:
        os.closerange(FIRST_DESCRIPTOR, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        name, refusal = _judged(uid)
        counted = _count(f"{directory}/{name}") if directory and not refusal else None
        os.write(writer, marshal.dumps((name, refusal, counted)))
    finally:
        os._exit(0)


def _judged(uid: int) -> tuple[str, str]:
    """Return the user's name, and why nothing of theirs is recorded or ""."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return "", f"uid {uid} is no user"
    name = entry.pw_name
    if "/" in name or name.startswith("."):
        return "", "the user's name cannot be the name of a directory"
    try:
        account = HostAccount.named(name)
        policy = store.load(name, account.groups, log=lambda _: None)
    except SessionError as error:
        return name, str(error)
    recorded = policy.record.terminal and policy.record.to == "collector"
    if not recorded and entry.pw_shell != SHELL:
        return name, f"no policy has sessions of {name} recorded"
    return name, ""


def _count(directory: str) -> tuple[int, int]:
    """Return how many files are in ``directory`` and how many bytes they take."""
    files = size = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as found:
        for entry in found:
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                files += 1
                size += max(status.st_size, status.st_blocks * 512)
    return files, size


def _too_much(name: str, used: str, spare: str) -> str:
    return f"the recordings of {name} take {used}, and only {spare} are left for everybody's"


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"

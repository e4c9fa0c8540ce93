"""A part of the control group tree that belongs to a user, and who makes scopes in it as their manager does.

On a machine whose controllers are all in hierarchies of version 1, the tree of version 2 has none: what a
whole system needs of it, to make groups and to move processes, is there all the same.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.host import run, until
from support.manager import LINE, Caller, manager, reply
from support.users import User

ROOT = "/sys/fs/cgroup"
PLACE = ROOT + "/s2c-delegated"
_DELEGATED = ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads")
"""What is the user's in a delegated group (the kernel's cgroup-v2.rst, Model of Delegation)."""
_OF_A_SCOPE = (*_DELEGATED, "/cgroup.max.descendants", "/cgroup.max.depth")
"""And what of the rest counts here in one that their own manager has made, in which all is theirs."""


@contextmanager
def hierarchy() -> Iterator[None]:
    """Have control groups of version 2 at their place, for the length of a ``with`` block."""
    mounted = False
    if not os.path.exists(ROOT + "/cgroup.controllers"):
        run(["mount", "-t", "cgroup2", "cgroup2", ROOT]).ok()
        mounted = True
    try:
        yield
    finally:
        if mounted:
            run(["umount", ROOT]).ok()


class Scopes:
    """What a manager has made for ``user``. place: the group around its scopes."""

    def __init__(self, user: User) -> None:
        self._user = user
        self.place = f"{PLACE}-{user.uid}"
        self.given: tuple[str, ...] = _OF_A_SCOPE
        """What is the user's in a scope."""
        if os.path.exists(self.place):
            self.remove()  # of a run that was killed
        os.mkdir(self.place)
        self._give(self.place, _DELEGATED)
        self.made: list[str] = []
        self.close: Callable[[], None] = lambda: None
        """Has nobody find the manager any more."""

    def _give(self, group: str, names: tuple[str, ...]) -> None:
        for name in names:
            os.chown(group + name, self._user.uid, self._user.gid)

    def obey(self, caller: Caller) -> None:
        """Do what StartTransientUnit asks for, and answer."""
        said = caller.hear()
        scope = re.search(rb"ssh2container-[0-9a-f]+\.scope", said)
        assert scope is not None
        group = f"{self.place}/{scope.group().decode()}"
        os.mkdir(group)
        self._give(group, self.given)
        with open(group + "/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(_process_of(said)))
        self.made.append(group)
        caller.end.sendall(LINE + reply(1))
        caller.wait()

    def groups(self) -> list[str]:
        """The groups in the newest scope, below it."""
        scope = self.made[-1]
        return sorted(
            os.path.relpath(os.path.join(above, name), scope)
            for above, names, _ in os.walk(scope)
            for name in names
        )

    def is_empty(self) -> bool:
        """Whether no process is left in any scope."""
        return all(_is_empty(one) for one in self.made)

    def clear(self) -> None:
        """Remove all scopes; a manager has the user's rights, so nothing of anybody else's may be in them."""
        until(self.is_empty, "nothing runs in the scopes")
        for scope in self.made:
            groups = self.groups_of(scope)
            left = {one for one in groups if not self._is_users(os.path.dirname(f"{scope}/{one}"))}
            assert not left, f"groups that the manager cannot remove are left: {sorted(left)}"
            for name in sorted(groups, reverse=True):
                os.rmdir(f"{scope}/{name}")
            os.rmdir(scope)
        self.made = []

    def _is_users(self, group: str) -> bool:
        return os.stat(group).st_uid == self._user.uid

    def remove(self) -> None:
        """Let nothing be left of a test that has failed."""
        with open(self.place + "/cgroup.kill", "w", encoding="ascii") as file:
            file.write("1")
        until(lambda: _is_empty(self.place), "all of it is killed")
        for above, _, _ in [*os.walk(self.place, topdown=False)]:
            os.rmdir(above)

    @staticmethod
    def groups_of(scope: str) -> set[str]:
        """The groups at and below ``scope``, as paths from it."""
        return {
            os.path.relpath(os.path.join(above, name), scope)
            for above, names, _ in os.walk(scope)
            for name in names
        }


def _is_empty(group: str) -> bool:
    with open(group + "/cgroup.events", encoding="ascii") as file:
        return "populated 0" in file.read()


def _process_of(said: bytes) -> int:
    """Return the process that a call names, as an array of one (the D-Bus Specification, Marshaling)."""
    begin = said.index(b"BEGIN\r\n") + len(b"BEGIN\r\n")
    message = said[begin:]
    at = message.index(b"\x02au\0", message.index(b"PIDs\0")) + 4
    at = (at + 3) & ~3
    return int.from_bytes(message[at + 4 : at + 8], "little")


@contextmanager
def delegated(user: User) -> Iterator[Scopes]:
    """A service manager of the user's at its private socket, and their part of the tree."""
    runtime = f"/run/user/{user.uid}"
    with hierarchy():
        os.makedirs(runtime + "/systemd", mode=0o755, exist_ok=True)
        scopes = Scopes(user)
        try:
            with manager(runtime + "/systemd/private", scopes.obey):
                scopes.close = lambda: os.unlink(runtime + "/systemd/private")
                yield scopes
                scopes.clear()
        finally:
            shutil.rmtree(runtime)
            scopes.remove()

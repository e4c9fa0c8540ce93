"""A kept home on which the host ignores set-ID bits, for users whose sessions need such bits.

Root of a range of ids installs packages, with set-user-ID programs, into the session's memory. No filter
can tell memory from the kept home, so sessions may set the bits only where the home's file system is
mounted nosuid and nodev on the host (:func:`ssh2container.plan.insider.set_id_bits`). For a home of
``userns_mode: own_range`` that is one mount of the directory over itself. It is made anew at each boot.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ssh2container.admin import atomic, reachable, writable
from ssh2container.admin.accounts.modes import mode_of
from ssh2container.admin.change import Change, read_or_none
from ssh2container.errors import SessionError
from ssh2container.kernel import libc, mounts
from ssh2container.plan.host import RUNTIME
from ssh2container.policy import specifiers

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.account import Account
    from ssh2container.policy.policy import Policy

RECORDS = f"{RUNTIME}/nosuid"
"""A file for each user whose home was mounted so, named by the uid; it holds the path."""
_UMOUNT_NOFOLLOW = 8


class IgnoreSetId(Change):
    """The kept home mounted nosuid and nodev, where the policy needs that; otherwise as it was."""

    def __init__(
        self,
        account: Account,
        policy: Callable[[Account], Policy | None],
        values: Callable[[Account], dict[str, str]],
    ) -> None:
        self.account = account
        self._policy = policy
        self._values = values
        self._record = f"{RECORDS}/{account.uid}"

    def _wanted(self) -> str:
        policy = self._policy(self.account)
        if policy is None or mode_of(policy) != "own_range" or policy.home is None or policy.home.read_only:
            return ""
        source = policy.home.source or ""
        if not source or "%i" in source:
            return ""
        return os.path.normpath(specifiers.expand(source, self._values(self.account)))

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"have the host ignore set-ID bits in {self.account.name}'s home, if the policy needs that"

    def done(self) -> bool:
        """See :class:`Change`."""
        wanted, made = self._wanted(), read_or_none(self._record) or ""
        if made and made != wanted:
            return False
        if wanted:
            reachable.require(wanted, f"the home of {self.account.name}'s sessions")
        return not wanted or writable.ignores_set_id(wanted)

    def do(self) -> None:
        """See :class:`Change`."""
        self.undo()
        wanted = self._wanted()
        if wanted:
            try:
                _mount_over_itself(wanted)
            except OSError as error:
                raise SessionError(
                    f"cannot mount {wanted} nosuid,nodev",
                    error.strerror or "",
                    "mount its file system that way (fstab(5)), or use userns_mode: single",
                    "enrol",
                    error.errno or 0,
                ) from None
            os.makedirs(RECORDS, 0o755, exist_ok=True)
            atomic.write(self._record, wanted)

    def undo(self) -> None:
        """See :class:`Change`."""
        made = read_or_none(self._record)
        if made is None:
            return
        with contextlib.suppress(OSError):  # somebody has unmounted it
            libc.syscall("umount2", os.fsencode(made), mounts.MNT_DETACH | _UMOUNT_NOFOLLOW)
        os.unlink(self._record)


class HonourSetId(IgnoreSetId):
    """The reverse of :class:`IgnoreSetId`."""

    def __init__(self, account: Account) -> None:
        super().__init__(account, lambda _: None, lambda _: {})

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"leave {self.account.name}'s home mounted as the host has it"


def _mount_over_itself(path: str) -> None:
    """Mount what ``path`` names, without a link anywhere in it, over itself."""
    place = mounts.open_path(path, mounts.RESOLVE_NO_SYMLINKS)
    try:
        flags = mounts.clone_flags(recursive=False) | libc.AT_EMPTY_PATH
        tree = libc.syscall("open_tree", place, b"", flags)
        try:
            mounts.set_attributes(tree, mounts.ATTR_NOSUID | mounts.ATTR_NODEV, recursive=False)
            libc.syscall("move_mount", tree, b"", place, b"", mounts.MOVE_ON_DESCRIPTOR)
        finally:
            os.close(tree)
    finally:
        os.close(place)

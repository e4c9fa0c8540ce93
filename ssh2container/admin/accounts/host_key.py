"""The host key that a user's containers show where an sshd runs inside (docs/networks.md).

One for each user, the same in all of their containers and after each boot, so that clients can know it. It is
root's, and the user alone may read the private half (acl(5)), whose login hands it to the session's sshd.
Where the file system has no such lists, the private half is the user's own, in a directory of root's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import struct
import subprocess
import tempfile
from typing import TYPE_CHECKING

from ssh2container.admin.account import enrolled_names, find
from ssh2container.admin.change import Change, make_directories
from ssh2container.errors import SessionError
from ssh2container.plan.forwarding import KEY
from ssh2container.plan.inner import HOST_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.admin.account import Account
    from ssh2container.policy.policy import Policy

_OWN, _PUBLIC = 0o400, 0o444
_ACL = "system.posix_acl_access"
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_READ, _UNDEFINED = 4, 0xFFFFFFFF
"""Tags, permission and id of the entries of an access control list (linux/posix_acl_xattr.h)."""


def _readable_by(uid: int) -> bytes:
    """Return the list that lets root and ``uid`` read a file, and nobody else do anything with it."""
    entries = (
        (_USER_OBJ, _READ, _UNDEFINED),
        (_USER, _READ, uid),
        (_GROUP_OBJ, 0, _UNDEFINED),
        (_MASK, _READ, _UNDEFINED),
        (_OTHER, 0, _UNDEFINED),
    )
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def public(account: Account) -> str:
    """Return the public half, as type and base64. Raises OSError where there is none."""
    with open(f"{HOST_KEYS}/{account.uid}.pub", encoding="ascii") as file:
        return " ".join(file.read().split()[:2])


class MakeHostKey(Change):
    """The key of a user whose policy lets clients forward into containers; nothing for others."""

    def __init__(self, account: Account, policy: Callable[[Account], Policy | None]) -> None:
        self.account = account
        self.path = f"{HOST_KEYS}/{account.uid}"
        self._policy = policy

    def describe(self) -> str:
        """See :class:`Change`."""
        if not self._wanted():
            return f"make no host key for containers (the policy has {KEY}: false)"
        return f"make the host key that {self.account.name}'s containers show ({self.path})"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not self._wanted() or self._is_there()

    def _wanted(self) -> bool:
        policy = self._policy(self.account)
        return policy is not None and bool(policy.values[KEY])

    def _is_there(self) -> bool:
        try:
            private, public = os.lstat(self.path), os.lstat(f"{self.path}.pub")
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(private.st_mode) or not stat.S_ISREG(public.st_mode):
            return False
        if private.st_uid:
            return (private.st_uid, stat.S_IMODE(private.st_mode)) == (self.account.uid, _OWN)
        try:
            return os.getxattr(self.path, _ACL, follow_symlinks=False) == _readable_by(self.account.uid)
        except OSError:
            return False

    def do(self) -> None:
        """See :class:`Change`; a key that somebody else could have had is replaced."""
        make_directories(HOST_KEYS)
        # Beside the others, where rename(2) does not leave the file system, and nobody looks in.
        aside = tempfile.mkdtemp(prefix=".", dir=HOST_KEYS)
        try:
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", f"{aside}/key"]
            answer = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if answer.returncode:
                said = (answer.stderr or answer.stdout).strip().replace("\n", "; ")
                raise SessionError("ssh-keygen failed", said, step="host-key")
            self._share(f"{aside}/key")
            os.chmod(f"{aside}/key.pub", _PUBLIC)
            os.rename(f"{aside}/key.pub", f"{self.path}.pub")
            os.rename(f"{aside}/key", self.path)
        except FileNotFoundError:
            raise SessionError(
                "cannot make a host key", "there is no ssh-keygen", "install openssh-client", "host-key"
            ) from None
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _share(self, path: str) -> None:
        os.chmod(path, _OWN)
        try:
            os.setxattr(path, _ACL, _readable_by(self.account.uid))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            os.chown(path, self.account.uid, self.account.gid)

    def undo(self) -> None:
        """See :class:`Change`."""
        for path in (self.path, f"{self.path}.pub"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)


def missing(policy: Callable[[Account], Policy | None]) -> Iterator[MakeHostKey]:
    """Yield what makes the keys of users who were enabled before their policy let clients forward."""
    for name in enrolled_names():
        with contextlib.suppress(SessionError):
            yield MakeHostKey(find(name), policy)


def kept() -> Iterator[tuple[int, str]]:
    """Yield the files of all keys, each with the uid of its user."""
    for file in sorted(os.listdir(HOST_KEYS)) if os.path.isdir(HOST_KEYS) else ():
        uid = file.removesuffix(".pub")
        if uid.isdigit():
            yield int(uid), f"{HOST_KEYS}/{file}"

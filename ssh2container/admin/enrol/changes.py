"""The changes that enrolling is made of."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

from ssh2container.admin.enrol.account import SHELL, Account, find
from ssh2container.admin.enrol.change import Change, WriteFile
from ssh2container.admin.sshd import GROUP
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable

RUNTIME = "/run/ssh2container"
_PRIVATE = 0o700
RECORDS = "/var/lib/ssh2container/enrolled"
TMPFILES = "/etc/tmpfiles.d"
NOLOGIN = "/usr/sbin/nologin"
_SKIPPED_IN_SKEL = (".ssh",)


def _run(*command: str) -> None:
    """Run one of the host's account tools; raises :class:`SessionError` with its words."""
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if answer.returncode:
        said = (answer.stderr or answer.stdout).strip().replace("\n", "; ")
        raise SessionError(f"{command[0]} failed", said or f"exit status {answer.returncode}", step="enrol")


class SetShell(Change):
    """The login shell in /etc/passwd."""

    def __init__(self, account: Account, shell: str = SHELL) -> None:
        self.account = account
        self.shell = shell

    def describe(self) -> str:
        """See :class:`Change`."""
        return (
            f"set {self.account.name}'s login shell to {self.shell} (now {self.account.shell or '/bin/sh'})"
        )

    def done(self) -> bool:
        """See :class:`Change`."""
        return find(self.account.name).shell == self.shell

    def do(self) -> None:
        """See :class:`Change`; a user of LDAP or SSSD has his shell there, which is not ours to change."""
        if not self.account.local:
            raise SessionError(
                f"cannot set {self.account.name}'s login shell",
                "the user is not in /etc/passwd",
                f"set loginShell to {self.shell} where the user is kept (SSSD: override_shell), then again",
                "enrol",
            )
        _run("/usr/sbin/usermod", "--shell", self.shell, self.account.name)

    def undo(self) -> None:
        """See :class:`Change`."""
        _run("/usr/sbin/usermod", "--shell", self.account.shell, self.account.name)


class JoinGroup(Change):
    """Membership in the group that the sshd drop-in matches."""

    def __init__(self, account: Account, group: str = GROUP) -> None:
        self.account = account
        self.group = group

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"add {self.account.name} to the group {self.group}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return self.group in find(self.account.name).groups

    def do(self) -> None:
        """See :class:`Change`."""
        _run("/usr/bin/gpasswd", "--add", self.account.name, self.group)

    def undo(self) -> None:
        """See :class:`Change`."""
        _run("/usr/bin/gpasswd", "--delete", self.account.name, self.group)


class LeaveGroup(JoinGroup):
    """The reverse of :class:`JoinGroup`."""

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"remove {self.account.name} from the group {self.group}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not super().done()

    def do(self) -> None:
        """See :class:`Change`."""
        super().undo()

    def undo(self) -> None:
        """See :class:`Change`."""
        super().do()


class RecordShell(WriteFile):
    """What the user had before, for ``--restore-shell``; an older record is never overwritten."""

    def __init__(self, account: Account) -> None:
        text = json.dumps({"name": account.name, "uid": account.uid, "shell": account.shell}) + "\n"
        super().__init__(f"{RECORDS}/{account.uid}.json", text, 0o600)
        self.account = account

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"record {self.account.name}'s login shell in {self.path}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return self.account.enrolled or os.path.exists(self.path)


def recorded_shell(account: Account) -> str | None:
    """Return the login shell that the user had before, None when none was recorded."""
    try:
        with open(f"{RECORDS}/{account.uid}.json", encoding="utf-8") as file:
            record = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return str(record["shell"]) if record.get("name") == account.name else None


class RuntimeDirectory(Change):
    """/run/ssh2container/UID: the user's own, so that nobody can forge another's entries."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.path = f"{RUNTIME}/{account.uid}"

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"make {self.path} (mode 700, owner {self.account.name})"

    def done(self) -> bool:
        """See :class:`Change`."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return (
            stat.S_ISDIR(found.st_mode)
            and stat.S_IMODE(found.st_mode) == _PRIVATE
            and (found.st_uid, found.st_gid) == (self.account.uid, self.account.gid)
        )

    def do(self) -> None:
        """See :class:`Change`."""
        os.makedirs(RUNTIME, 0o755, exist_ok=True)
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(self.path).st_mode):
                raise
        os.chown(self.path, self.account.uid, self.account.gid, follow_symlinks=False)
        os.chmod(self.path, 0o700)

    def undo(self) -> None:
        """See :class:`Change`."""
        shutil.rmtree(self.path)


def tmpfiles_entry(account: Account) -> WriteFile:
    """Return the change that makes the runtime directory come back after a boot (tmpfiles.d(5))."""
    text = f"# {account.name}\nd {RUNTIME}/{account.uid} 0700 {account.uid} {account.gid} -\n"
    return WriteFile(f"{TMPFILES}/ssh2container-{account.uid}.conf", text)


class RemoveRuntimeDirectory(RuntimeDirectory):
    """The reverse of :class:`RuntimeDirectory`."""

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"remove {self.path}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not os.path.lexists(self.path)

    def do(self) -> None:
        """See :class:`Change`."""
        super().undo()

    def undo(self) -> None:
        """See :class:`Change`."""
        super().do()


class HomeSource(Change):
    """The directory that the policy binds as home, filled from skel when it is new."""

    def __init__(self, account: Account, path: str, skel: str | None) -> None:
        self.account = account
        self.path = path
        self.skel = skel

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"make the home {self.path} (mode 700, owner {self.account.name})"

    def done(self) -> bool:
        """See :class:`Change`."""
        return os.path.isdir(self.path)

    def do(self) -> None:
        """Make it beside its place and rename it, so that half a home is never seen."""
        parent = os.path.dirname(self.path)
        self._check_parents(parent)
        os.makedirs(parent, 0o755, exist_ok=True)
        beside = f"{self.path}.new-{os.getpid()}"
        os.mkdir(beside, 0o700)
        try:
            if self.skel and os.path.isdir(self.skel):
                shutil.copytree(
                    self.skel,
                    beside,
                    symlinks=True,
                    dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns(*_SKIPPED_IN_SKEL),
                )
            os.chmod(beside, 0o700)
            # From below: what the user owns, and can put links into, is nowhere that root still has to go.
            for directory, below, names in os.walk(beside, topdown=False):
                for name in (*below, *names):
                    self._give(os.path.join(directory, name))
            self._give(beside)
            os.rename(beside, self.path)
        except BaseException:
            shutil.rmtree(beside)
            raise

    def _give(self, path: str) -> None:
        os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def _check_parents(self, parent: str) -> None:
        """Refuse a place where somebody else could put a link under our feet; some of it may be missing."""
        path = parent
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        while True:
            found = os.lstat(path)
            others_write = found.st_mode & 0o022
            if stat.S_ISLNK(found.st_mode) or found.st_uid != 0 or others_write:
                raise SessionError(
                    f"cannot make the home {self.path}",
                    f"{path} is a link, not root's, or writable by others",
                    "choose a source whose parent directories only root can change",
                    "enrol",
                )
            if path == "/":
                return
            path = os.path.dirname(path)

    def undo(self) -> None:
        """See :class:`Change`."""
        shutil.rmtree(self.path)


class Compile(Change):
    """The policies, compiled."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work

    def describe(self) -> str:
        """See :class:`Change`."""
        return "compile the policies"

    def done(self) -> bool:
        """See :class:`Change`; the compiler itself leaves alone what is fresh."""
        return False

    def do(self) -> None:
        """See :class:`Change`."""
        self.work()

    def undo(self) -> None:
        """Do nothing: a compiled layer that is not fresh is not used."""

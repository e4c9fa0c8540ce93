"""The home of an account that is taken over: brought to where its sessions have it, and back."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from typing import TYPE_CHECKING

from ssh2container.admin import durable
from ssh2container.admin.accounts.home_source import require_roots_own
from ssh2container.admin.change import Change, make_directories, remove_directories
from ssh2container.errors import SessionError
from ssh2container.kernel import exchanging
from ssh2container.plan import keys

if TYPE_CHECKING:
    from ssh2container.admin.account import Account
    from ssh2container.admin.adopt.plan import Planned
    from ssh2container.admin.adopt.records import Record

_PRIVATE = 0o700
_LEFT_FREE = 0.95
"""How much of the free room of a disk copies may take."""


def in_the_way(planned: Planned) -> str:
    """Return why the home of ``planned`` cannot be brought where it belongs, "" where it can."""
    source = planned.source
    if not source:
        return ""
    if os.path.lexists(source):
        return f"has the home {source} already: see what is in it, and move it away"
    parent = planned.choice.homes
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    home = planned.facts.home
    if planned.choice.home == "move" and os.stat(parent).st_dev != home.device:
        return (
            f"has a home on another file system than {planned.choice.homes}, where it cannot be moved in one"
            f" step: --homes {os.path.dirname(home.path)}/.homes moves it, --home copy copies it"
        )
    if planned.choice.home == "copy" and home.size is not None:
        found = os.statvfs(parent)
        if home.size > found.f_bavail * found.f_frsize * _LEFT_FREE:
            return f"has a home of {home.size} bytes, and {parent} has no room for it"
    return ""


def _staged(source: str) -> str:
    """Return where a home is made before it has its name: always the same, for who finds it half made."""
    return f"{os.path.dirname(source)}/.{os.path.basename(source)}.adopting"


class MoveHome(Change):
    """The home under its new name; in its place one with only what programs of the host read there.

    Both change their names in one step, so that there is a home at each moment.
    """

    def __init__(self, account: Account, record: Record) -> None:
        self.account = account
        self.record = record
        self._made: list[str] = []

    def describe(self) -> str:
        """See :class:`Change`."""
        kept = f", leaving {', '.join(name for name, _ in self.record.outer)}" if self.record.outer else ""
        return f"move {self.record.home} to {self.record.source}{kept}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return False

    def do(self) -> None:
        """See :class:`Change`."""
        record = self.record
        what = f"cannot move {record.home} to {record.source}"
        _require_unchanged(record, what)
        parent = os.path.dirname(record.source)
        require_roots_own(parent, what)
        self._made = make_directories(parent)
        try:
            _lay_outer(self.account, record)
            exchanging.exchange(record.source, record.home)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """See :class:`Change`."""
        bring_back(self.record)
        remove_directories(self._made)


def _require_unchanged(record: Record, what: str) -> None:
    found = os.lstat(record.home)
    if (found.st_dev, found.st_ino) != (record.device, record.inode):
        raise SessionError(what, "it is another directory than a moment ago", "look again", "adopt")


def _lay_outer(account: Account, record: Record) -> None:
    """Make what takes the home's place, below root's directory and under the name of the new home."""
    like = os.lstat(record.home)
    staged = _staged(record.source)
    durable.remove(staged)
    os.mkdir(staged, _PRIVATE)
    for name, text in record.outer:
        path = f"{staged}/{name}"
        os.makedirs(os.path.dirname(path), _PRIVATE, exist_ok=True)
        durable.write(path, text.encode("latin-1"))
        os.chmod(path, 0o600)
    # From below: what the user owns is nowhere that root still has to go.
    for directory, below, names in os.walk(staged, topdown=False):
        for name in (*below, *names):
            os.chown(f"{directory}/{name}", account.uid, account.gid, follow_symlinks=False)
    os.chown(staged, like.st_uid, like.st_gid)
    os.chmod(staged, stat.S_IMODE(like.st_mode))
    os.rename(staged, record.source)


class CopyHome(Change):
    """A copy of the home, made by the user themselves: it can hold nothing that they cannot read."""

    def __init__(self, account: Account, record: Record) -> None:
        self.account = account
        self.record = record
        self._made: list[str] = []

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"copy {self.record.home} to {self.record.source}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return False

    def do(self) -> None:
        """See :class:`Change`."""
        record, account = self.record, self.account
        what = f"cannot copy {record.home} to {record.source}"
        _require_unchanged(record, what)
        parent, staged = os.path.dirname(record.source), _staged(record.source)
        require_roots_own(parent, what)
        self._made = make_directories(parent)
        try:
            durable.remove(staged)
            os.mkdir(staged, _PRIVATE)
            os.chown(staged, account.uid, account.gid)
            answer = subprocess.run(
                ["cp", "-a", "--sparse=auto", "--", f"{record.home}/.", staged],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                user=account.uid,
                group=account.gid,
                extra_groups=os.getgrouplist(account.name, account.gid),
            )
            _require_success(answer, what)
            os.rename(staged, record.source)
        except BaseException:
            durable.remove(staged)
            remove_directories(self._made)
            raise

    def undo(self) -> None:
        """See :class:`Change`."""
        durable.remove(self.record.source)
        remove_directories(self._made)


def _require_success(answer: subprocess.CompletedProcess[str], what: str) -> None:
    if answer.returncode:
        said = answer.stderr.strip().replace("\n", "; ")
        raise SessionError(what, said, "make it theirs and readable to them, or use --home move", "adopt")


def bring_back(record: Record) -> list[str]:
    """Have the home where it was, whatever of bringing it along was done; return what else there is to know.

    Raises SessionError, OSError.
    """
    if not record.source:
        return []
    durable.remove(_staged(record.source))
    if not os.path.lexists(record.source):
        return []
    if record.mode == "move":
        if _is_the_home(record.source, record):
            exchanging.exchange(record.source, record.home)
        if not _is_the_home(record.home, record):
            raise SessionError(
                f"cannot bring back {record.home}",
                f"neither it nor {record.source} is the directory that was moved",
                "find the home, and move it there",
                "adopt",
            )
        changed = not _is_as_laid(record)
    else:
        changed = _is_newer(record)
    if not changed:
        durable.remove(record.source)
        return []
    aside = f"{record.source}.{time.strftime('%Y%m%dT%H%M%S')}"
    os.rename(record.source, aside)
    what = "keys that came meanwhile" if record.mode == "move" else "what sessions have written"
    return [f"{what} may be in {aside}, which stays"]


def _is_the_home(path: str, record: Record) -> bool:
    found = os.lstat(path)
    return (found.st_dev, found.st_ino) == (record.device, record.inode)


def _is_as_laid(record: Record) -> bool:
    """Tell whether what lay in the place of the home is still what was laid there."""
    files = {}
    for directory, below, names in os.walk(record.source):
        for name in names:
            path = f"{directory}/{name}"
            if not stat.S_ISREG(os.lstat(path).st_mode):
                return False
            text = keys.content(os.fsencode(path)).decode("latin-1")
            files[os.path.relpath(path, record.source)] = text
        if any(os.path.islink(f"{directory}/{name}") for name in below):
            return False
    return files == dict(record.outer)


def _is_newer(record: Record) -> bool:
    """Tell whether anything in a copy was changed since it was complete, if it ever was."""
    if not record.since:
        return False
    find = shutil.which("find") or "/usr/bin/find"
    answer = subprocess.run(
        [find, record.source, "-newerct", f"@{record.since}", "-print", "-quit"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return bool(answer.stdout) or answer.returncode != 0

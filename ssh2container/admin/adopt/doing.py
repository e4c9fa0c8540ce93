"""Taking accounts over, and giving them back: by the steps of ``enable`` and ``disable``, and a record.

The record is on the disk before the first step. Who is killed meanwhile leaves a record that is not complete,
and the way back needs nothing else: it can be gone as often as it takes.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from ssh2container.admin import atomic, cgroups
from ssh2container.admin.accounts import disable, enable
from ssh2container.admin.accounts.account_changes import run
from ssh2container.admin.adopt import facts, homes, records
from ssh2container.admin.change import Change, read_or_none
from ssh2container.admin.login.managers import LINGER
from ssh2container.admin.sshd import GROUP
from ssh2container.errors import SessionError
from ssh2container.plan.inner import HOST_KEYS
from ssh2container.policy import store

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.adopt.plan import Planned
    from ssh2container.admin.adopt.records import Record

    Tell = Callable[[str, Change], None]


class SetAside(Change):
    """A file of root's that is away until the account is given back: a crontab, a job of at."""

    def __init__(self, saved: facts.Saved, owner: str) -> None:
        self.saved = saved
        self.owner = owner

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"set {self.saved.path} of {self.owner} aside"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not os.path.lexists(self.saved.path)

    def do(self) -> None:
        """See :class:`Change`; what has changed since it was recorded stays."""
        if (os.stat(self.saved.path).st_mtime_ns) != self.saved.mtime_ns:
            raise SessionError(
                f"cannot set {self.saved.path} aside", "it has changed meanwhile", "run adopt again", "adopt"
            )
        os.unlink(self.saved.path)

    def undo(self) -> None:
        """See :class:`Change`."""
        put_back(self.saved)


def put_back(saved: facts.Saved) -> None:
    """Put a file back as it was. Raises OSError."""
    atomic.write(saved.path, saved.text.encode("latin-1"), saved.mode, owner=(saved.uid, saved.gid))
    os.utime(saved.path, ns=(saved.mtime_ns, saved.mtime_ns))


class StopLingering(Change):
    """No manager of the user's that runs from boot on (loginctl(1), linger)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"have no manager of {self.name} run from boot on"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not os.path.exists(LINGER + self.name)

    def do(self) -> None:
        """See :class:`Change`."""
        linger(self.name, wanted=False)

    def undo(self) -> None:
        """See :class:`Change`."""
        linger(self.name, wanted=True)


def linger(name: str, *, wanted: bool) -> None:
    """Have the user's manager run from boot on, or no longer. Raises SessionError, OSError."""
    if os.path.isdir(cgroups.RUNS) and shutil.which("loginctl"):
        run("loginctl", "enable-linger" if wanted else "disable-linger", name)
    elif wanted:
        atomic.write(LINGER + name, "")
    else:
        os.unlink(LINGER + name)


def record_of(planned: Planned) -> Record:
    """Return the record of an account as it is now."""
    account, choice, home = planned.facts.account, planned.choice, planned.facts.home
    files = [*planned.facts.at_jobs]
    if planned.facts.crontab is not None:
        files.insert(0, planned.facts.crontab)
    wanted = [os.path.dirname(store.STANDARD.source(f"users/{account.name}"))]
    wanted += [choice.homes] if planned.source else []
    return records.Record(
        account.name,
        account.uid,
        account.shell,
        choice.home,
        home.path,
        planned.draft.text,
        0.0,
        planned.source,
        home.device,
        home.inode,
        home.outer if choice.home == "move" else (),
        account.powerful if choice.leave_groups else (),
        GROUP in account.groups,
        os.path.lexists(f"{HOST_KEYS}/{account.uid}"),
        planned.facts.lingers,
        tuple(path for directory in wanted for path in _missing(directory)),
        tuple(files),
        former_record=read_or_none(disable.ForgetShell(account).path) or "",
    )


def _missing(path: str) -> list[str]:
    """Return the directories that are not there, the outermost first."""
    found: list[str] = []
    while not os.path.lexists(path):
        found.insert(0, path)
        path = os.path.dirname(path)
    return found


def adopting(planned: Planned) -> list[Change]:
    """Return what takes an account over; the shell last but for the record. Raises like ``enabling``."""
    account, record = planned.facts.account, record_of(planned)
    bringing: list[Change] = []
    if record.mode == "move":
        bringing = [homes.MoveHome(account, record)]
    elif record.mode == "copy":
        bringing = [homes.CopyHome(account, record)]
    return [
        records.Keep(record, records.ADOPTING),
        *(SetAside(saved, account.name) for saved in record.files),
        *([StopLingering(account.name)] if record.lingered else []),
        *enable.enabling(
            account,
            leave_groups=planned.choice.leave_groups,
            written=planned.draft.text,
            bringing=bringing,
        ),
        records.Keep(record, records.ADOPTED),
    ]

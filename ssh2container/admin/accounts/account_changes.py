"""The changes that enrolling is made of."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING

from ssh2container.admin import atomic
from ssh2container.admin.account import RECORDS, Account, find
from ssh2container.admin.change import Change, WriteFile, read_or_none
from ssh2container.admin.login import verdict
from ssh2container.admin.sessions import ending, unlisted
from ssh2container.admin.sessions.live import Listing
from ssh2container.admin.sshd import GROUP, SHELL
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_GRACE_S = 10.0
_ROUNDS = 4
CLOSED = f"{RECORDS}/closed-by-uninstall"
"""Whom ``install.sh --uninstall`` has left with nologin, a name a line: ``--restore-shell`` goes by it."""
NOLOGIN = "/usr/sbin/nologin"


def run(*command: str) -> None:
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
        """See :class:`Change`; a user of LDAP or SSSD has their shell there, which is not ours to change."""
        if not self.account.local:
            raise SessionError(
                f"cannot set {self.account.name}'s login shell",
                "the user is not in /etc/passwd",
                f"set loginShell to {self.shell} in the user's directory service (SSSD: "
                "override_shell), then run this again",
                "enrol",
            )
        run("/usr/sbin/usermod", "--shell", self.shell, self.account.name)
        _forget_closed(self.account.name)

    def undo(self) -> None:
        """See :class:`Change`."""
        run("/usr/sbin/usermod", "--shell", self.account.shell, self.account.name)


def _forget_closed(name: str) -> None:
    """Strike out that an --uninstall gave ``name`` nologin: from now on that is somebody's decision."""
    text = read_or_none(CLOSED)
    if text is not None and name in text.splitlines():
        atomic.write(CLOSED, "".join(f"{line}\n" for line in text.splitlines() if line != name), 0o600)


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
        run("/usr/bin/gpasswd", "--add", self.account.name, self.group)

    def undo(self) -> None:
        """See :class:`Change`."""
        run("/usr/bin/gpasswd", "--delete", self.account.name, self.group)


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
        shell = str(_record(account.uid)["shell"]) if former_name(account) else account.shell
        record = {"name": account.name, "uid": account.uid, "shell": shell, "local": account.local}
        text = json.dumps(record) + "\n"
        super().__init__(f"{RECORDS}/{account.uid}.json", text, 0o600)
        self.account = account

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"record {self.account.name}'s login shell in {self.path}"

    def done(self) -> bool:
        """See :class:`Change`."""
        # A record of another name is of an account that had the uid before, or was renamed since.
        kept = self.account.enrolled and not former_name(self.account)
        return kept or recorded_shell(self.account) is not None


def recorded_shell(account: Account) -> str | None:
    """Return the login shell that the user had before, None when none was recorded."""
    record = _record(account.uid)
    return str(record["shell"]) if record.get("name") == account.name else None


def recorded_name(uid: int) -> str:
    """Return the name that the user with this uid had when enabled, "" where nobody was."""
    return str(_record(uid).get("name", ""))


def former_name(account: Account) -> str:
    """Return the name that a user had when enabled and who was renamed since, "" for any other."""
    former = recorded_name(account.uid)
    if not former or former == account.name or not account.enrolled:
        return ""
    try:
        find(former)
    except SessionError:
        return former
    return ""


def _record(uid: int) -> dict[str, Any]:
    try:
        with open(f"{RECORDS}/{uid}.json", encoding="utf-8") as file:
            record: dict[str, Any] = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return record


class EndSessions(Change):
    """The end of what the user still runs in containers; new logins have to be closed already."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"end the sessions of {self.account.name}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not any(unlisted.monitors((self.account.uid,)))

    def do(self) -> None:
        """See :class:`Change`; a login that was under way meanwhile is met by another round."""
        results: dict[str, str] = {}
        for _ in range(_ROUNDS):
            listing = Listing([self.account.name])
            try:
                results = ending.end([*listing.sessions, *listing.containers], _GRACE_S)
            finally:
                listing.close()
            if self.done():
                return
        stays = ", ".join(name for name, result in results.items() if result == "stays")
        raise SessionError(
            f"cannot end all sessions of {self.account.name}",
            f"these stay: {stays}" if stays else "new ones keep starting",
            f"see: ssh2containerctl sessions {shlex.quote(self.account.name)}",
            "enrol",
        )

    def undo(self) -> None:
        """Do nothing: who logs in again has a new session."""


class Compile(Change):
    """The policies, compiled."""

    finds_out = True

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
        """Do nothing: whoever takes back what was compiled compiles again (:class:`PolicyFile`)."""


class PolicyFile(WriteFile):
    """A user's new policy; without it, what was compiled of it goes too."""

    def __init__(self, path: str, text: str, work: Callable[[], object]) -> None:
        super().__init__(path, text)
        self.work = work

    def undo(self) -> None:
        """See :class:`Change`."""
        super().undo()
        self.work()


class LoginStarts(Change):
    """The proof that the changes before it are enough: a login of the user, up to its program."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"check that logins of {self.account.name} start, by rehearsing one"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not verdict.can_ask(self.account.name) or verdict.of_user(self.account.name).failed is None

    def do(self) -> None:
        """See :class:`Change`; raises what the login would say."""
        verdict.of_user(self.account.name).require()

    def undo(self) -> None:
        """Do nothing: a rehearsal leaves nothing."""

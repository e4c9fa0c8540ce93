"""Whether logind ends the containers that a user's logins share when their first login leaves.

The owner of a shared container is a process of the login session that made it. Source: logind.conf(5),
KillUserProcesses, KillOnlyUsers, KillExcludeUsers; systemd.unit(5) for the order of files.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ssh2container.admin.accounts.enable import policy_of
from ssh2container.admin.change import read_or_none
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, WARNING, Finding
from ssh2container.errors import SessionError
from ssh2container.policy import keyed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ssh2container.admin.account import Account

LOGIND = "/usr/lib/systemd/systemd-logind"
PLACES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
"""Where the configuration may be, what counts most first."""
OURS = "/etc/systemd/logind.conf.d/ssh2container.conf"
_TRUE = ("1", "yes", "y", "true", "t", "on")


class Killing:
    """What logind does to processes of a session that ends. place: the file that says it last."""

    def __init__(self, places: Sequence[str] = PLACES) -> None:
        """Read the configuration as logind would."""
        self.everybody = False
        self.place = ""
        self._only: list[str] = []
        self._spared: list[str] | None = None
        for path in _files(places):
            self._read(path)

    def ends(self, name: str) -> bool:
        """Tell whether processes of ``name`` end with the session that started them."""
        # Root is spared by default only, so not where anybody else is.
        if name in (["root"] if self._spared is None else self._spared):
            return False
        return name in self._only if self._only else self.everybody

    def _read(self, path: str) -> None:
        section = ""
        for line in (read_or_none(path) or "").splitlines():
            # As shipped, the file shows what the program was built with in comments.
            built = re.fullmatch(r"#KillUserProcesses=(\w+)", line.strip())
            if built and not self.place:
                self.everybody, self.place = built[1].lower() in _TRUE, f"the default of {path}"
            if line.strip().startswith("["):
                section = line.strip()
            key, _, value = line.partition("=")
            if section == "[Login]":
                self._set(key.strip(), value.strip(), path)

    def _set(self, key: str, value: str, path: str) -> None:
        if key == "KillUserProcesses":
            self.everybody, self.place = value.lower() in _TRUE, path
        elif key == "KillOnlyUsers":
            self._only = [*self._only, *value.split()] if value else []
            self.place = path
        elif key == "KillExcludeUsers":
            self._spared = [*(self._spared or ()), *value.split()] if value else []


@check.of_users("logind", place=20)
def of_users(accounts: Sequence[Account], _advance: Callable[[str], None]) -> Iterator[Finding]:
    """Yield whether shared containers of ``accounts`` live as long as their policies promise."""
    if not os.path.exists(LOGIND):
        return
    killing = Killing()
    sharing = [account.name for account in accounts if _shares(account)]
    ended = [name for name in sharing if killing.ends(name)]
    for name in ended:
        yield Finding(
            WARNING,
            "sharing.logind",
            name,
            f"logind ends all processes of a login with it ({killing.place}), so the container that this "
            "user's logins share ends with the login that made it, whatever linger says",
            f"write [Login] and KillExcludeUsers=root {' '.join(ended)} into {OURS}, "
            "then: systemctl restart systemd-logind",
        )
    if sharing and not ended:
        yield Finding(OK, "sharing.logind", "", "logind lets shared containers live")


def _shares(account: Account) -> bool:
    try:
        policy = policy_of(account)
    except SessionError:
        return False  # said elsewhere
    return policy is not None and any(one.container_per == "user" for one in keyed.every(policy))


def _files(places: Sequence[str]) -> list[str]:
    """Return the files that logind reads, in its order: the first main one, then all fragments by name."""
    main = [path for path in (f"{place}/logind.conf" for place in places) if os.path.exists(path)][:1]
    fragments: dict[str, str] = {}
    for place in places:
        directory = f"{place}/logind.conf.d"
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            if name.endswith(".conf"):
                fragments.setdefault(name, f"{directory}/{name}")
    return main + [fragments[name] for name in sorted(fragments)]

"""Throw-away users with the product (or another program) as their login shell, and their policies."""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from support.host import run
from support.ledger import Ledger, end_processes, remove_path, remove_user

SHELL = "/usr/bin/ssh2container"
POLICIES = "/etc/ssh2container/users"
RUNTIME = "/run/ssh2container"
HOST_KEYS = "/var/lib/ssh2container/host-keys"
PLAIN = "image: host\n"
"""The smallest policy: the host's /usr, everything else as the product has it by default."""
_FIRST_UNSHARED, _UNSHARED = 0x2000_0000, 0x1000_0000
"""Numbers that nothing else gives to users: by chance alone do two machines of one kernel take the same."""


MakeUser: TypeAlias = "Callable[..., User]"
"""The ``make_user`` fixture: (policy, shell, groups, is_unshared), each optional."""


@dataclass(frozen=True)
class User:
    """A user that exists while a test, or the whole run, needs him."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    @property
    def policy_file(self) -> str:
        return f"{POLICIES}/{self.name}.yaml"

    @property
    def runtime_directory(self) -> str:
        return f"{RUNTIME}/{self.uid}"

    def environment(self) -> dict[str, str]:
        """What sshd puts into a login's environment."""
        return {
            "USER": self.name,
            "LOGNAME": self.name,
            "HOME": self.home,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/games",
            "SHELL": self.shell,
            "LANG": "C.UTF-8",
        }

    def groups(self) -> list[int]:
        return os.getgrouplist(self.name, self.gid)


class Users:
    """Makes users and removes them again; the ledger knows them in case the run is killed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._users: list[User] = []

    def make(
        self,
        policy: str | None = PLAIN,
        shell: str = SHELL,
        groups: tuple[str, ...] = (),
        *,
        is_unshared: bool = False,
    ) -> User:
        """A new user; ``policy`` is YAML text (None: no policy file), ``%USER%`` in it is his name.

        is_unshared: no other machine of this kernel has a user of that number. The kernel counts some things
        by number alone, whatever else keeps machines apart.
        """
        assert os.path.exists(shell), f"{shell} is not installed: use tests/run"
        name = "s2c" + secrets.token_hex(4)
        self._ledger.note_user(name)
        command = ["/usr/sbin/useradd", "--create-home", "--user-group", "--shell", shell, "--password", "*"]
        if groups:
            command += ["--groups", ",".join(groups)]
        if is_unshared:
            # A log with a place for each number would end far behind the last.
            number = _FIRST_UNSHARED + secrets.randbelow(_UNSHARED)
            command += ["--no-log-init", "--uid", str(number)]
        run([*command, name]).ok()
        entry = pwd.getpwnam(name)
        user = User(name, entry.pw_uid, entry.pw_gid, entry.pw_dir, shell)
        self._users.append(user)
        # A runtime directory as `ssh2containerctl enable` leaves it.
        if os.path.isdir(RUNTIME):
            self._ledger.note_path(user.runtime_directory)
            os.makedirs(user.runtime_directory, mode=0o700, exist_ok=True)
            os.chown(user.runtime_directory, user.uid, user.gid)
        if policy is not None:
            self.write_policy(user, policy)
        return user

    def write_policy(self, user: User, policy: str) -> None:
        """Give the user this policy, as an admin's editor would: a new file moved into place."""
        self._ledger.note_path(user.policy_file)
        os.makedirs(POLICIES, mode=0o755, exist_ok=True)
        temporary = f"{POLICIES}/.{user.name}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(textwrap.dedent(policy).replace("%USER%", user.name))
        os.rename(temporary, user.policy_file)

    def remove(self, user: User) -> None:
        self._users.remove(user)
        end_processes(user.uid)
        remove_path(user.policy_file)
        remove_path(user.runtime_directory)
        remove_path(f"{RUNTIME}/users/{user.uid}")
        for end in ("", ".pub"):
            remove_path(f"{HOST_KEYS}/{user.uid}{end}")
        remove_user(user.name, user.uid)

    def remove_all(self) -> None:
        for user in reversed(self._users[:]):
            self.remove(user)

    def __iter__(self) -> Iterator[User]:
        return iter(self._users[:])


def group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True

"""Processes of a contained user that no container holds: which they are, and how they came."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssh2container.admin.accounts.disable import processes_of
from ssh2container.admin.doctor.finding import NOTE, WARNING, Finding
from ssh2container.admin.doctor.managers import limits_sessions
from ssh2container.admin.sshd import SHELL, SSHD_PROGRAMS, VERSIONS
from ssh2container.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.account import Account

_MOST_SHOWN, _LONGEST_SHOWN = 5, 60
_ORIGINS = {
    "cron": "cron",
    "crond": "cron",
    "atd": "at",
    "su": "su",
    "sudo": "sudo",
    "login": "a console",
    "systemd": "a service or the user's manager",
    "dockerd": "docker",
    **dict.fromkeys(SSHD_PROGRAMS, "a login from before the shell was set, or by another shell"),
}
"""The program up the line that tells how a process came."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process: what it runs, and by what program of another user it was started."""

    pid: int
    command: str
    origin: str

    def __str__(self) -> str:
        return f"{self.pid} ({self.command}), {self.origin}"


def strangers(account: Account) -> list[Process]:
    """Return the user's processes outside a container that are neither a login of ours nor its sshd."""
    found = []
    for pid in processes_of(account):
        with contextlib.suppress(OSError):
            command, name = _command(pid), _name(pid)
            if name in SSHD_PROGRAMS or _is_ours(command) or _is_ending(pid):
                continue
            found.append(Process(pid, printable(command or name)[:_LONGEST_SHOWN], _origin(pid, account.uid)))
    return found


def examine(account: Account) -> Iterator[Finding]:
    """Yield what runs as ``account`` outside a container."""
    found = strangers(account)
    managers = [one for one in found if one.command.startswith(("/lib/systemd/systemd --user", "(sd-pam)"))]
    managers += [one for one in found if one.command.startswith("/usr/lib/systemd/systemd --user")]
    pids = {"pids": [one.pid for one in managers]}
    told = "systemd runs a manager for this user, outside a container; nothing inside can reach it"
    if managers and limits_sessions(account):
        yield Finding(
            NOTE, "user.manager", account.name, told, "keep it: it limits the user's sessions", pids
        )
    elif managers:
        yield Finding(
            NOTE,
            "user.manager",
            account.name,
            told,
            f"systemctl mask user@{account.uid}.service, if nothing needs it",
            pids,
        )
    others = [one for one in found if one not in managers]
    if others:
        shown = "; ".join(map(str, others[:_MOST_SHOWN]))
        more = f"; and {len(others) - _MOST_SHOWN} more" if len(others) > _MOST_SHOWN else ""
        yield Finding(
            WARNING,
            "user.processes",
            account.name,
            f"runs outside a container: {shown}{more}",
            f"kill {' '.join(str(one.pid) for one in others)}, and close the route by which they started",
            {"pids": [one.pid for one in others]},
        )


def _is_ours(command: str) -> bool:
    words = command.split(" ")
    return any(word == SHELL or word.startswith(VERSIONS + "/") for word in words[:4])


def _is_ending(pid: int) -> bool:
    """Tell whether a process has let go of its program and runs nothing: what is left of it is about to go.

    The forwarder of a rehearsed login is there so for as long as the kernel takes to remove its interface.
    A process whose first thread alone has ended looks the same but for its other threads.
    """
    try:
        os.readlink(f"/proc/{pid}/exe")
    except FileNotFoundError:
        return len(os.listdir(f"/proc/{pid}/task")) <= 1
    return False


def _command(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return os.fsdecode(file.read().rstrip(b"\0").replace(b"\0", b" "))


def _name(pid: int) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="backslashreplace") as file:
        return file.read().rstrip("\n")


def _origin(pid: int, uid: int) -> str:
    """Say by what a process came: the first program above it that is not the user's own, or that tells."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        current = pid
        while current > 1:
            with open(f"/proc/{current}/stat", encoding="utf-8", errors="replace") as file:
                current = int(file.read().rpartition(")")[2].split()[1])
            if current < 1:
                break
            name = _name(current)
            if name in _ORIGINS and (current != 1):
                return f"from {_ORIGINS[name]} (pid {current})"
            if os.stat(f"/proc/{current}").st_uid != uid and current != 1:
                return f"started by {printable(name)} (pid {current})"
    return "left behind by whatever started it"

"""Ways around the login shell that neither sshd nor the shell can close: other programs of this host.

Each of them runs something as the user's uid outside a container. Whether the user can prepare it from inside
depends on what their policy binds; that it exists is said in any case. A home that does not answer is told of
in :mod:`.state`, and nothing here looks into it.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

from ssh2container.admin.change import read_or_none
from ssh2container.admin.doctor import check, managers
from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.login.managers import LINGER
from ssh2container.admin.reachable import answers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.account import Account

CRONTABS = ("/var/spool/cron/crontabs", "/var/spool/cron")
AT_JOBS = ("/var/spool/cron/atjobs", "/var/spool/at", "/var/spool/atjobs")
_MAIL_TRANSPORTS = (
    "/usr/sbin/exim4",
    "/usr/sbin/exim",
    "/usr/lib/postfix/sbin/master",
    "/usr/libexec/postfix/master",
)
_MAIL_FILES = (".forward", ".procmailrc", ".qmail", ".maildrop", ".mailfilter")
USER_UNITS = (".config/systemd/user", ".local/share/systemd/user", ".config/environment.d")


@check.of_host("host", place=90)
def of_host() -> Iterator[Finding]:
    """Yield the routes that concern every user alike."""
    if os.path.exists("/etc/ssh/sshrc"):
        yield Finding(
            WARNING,
            "routes.sshrc",
            "/etc/ssh/sshrc",
            "sshd runs it as the user, outside a container, at every login",
            "remove it, or make sure that it obeys nothing the user or the client sets",
        )
    for path in reading_user_environment():
        yield Finding(
            WARNING,
            "routes.pam-env",
            path,
            "pam_env user_readenv=1: ~/.pam_environment acts before the login shell's first line; "
            "from inside a container it cannot be written unless the policy binds the host's home",
            "remove user_readenv=1",
        )


def reading_user_environment() -> list[str]:
    """Return the PAM services that let users set variables (pam_env(8))."""
    found = []
    for path in sorted(glob.glob("/etc/pam.d/*")):
        for line in (read_or_none(path) or "").splitlines():
            if "pam_env.so" in line and re.search(r"\buser_readenv=1\b", line) and line.lstrip()[:1] != "#":
                found.append(path)
                break
    return found


@check.of_user(place=20)
def of_user(account: Account) -> Iterator[Finding]:
    """Yield what on this host runs something as ``account`` outside a container."""
    found = [
        *_cron(account),
        *_at(account),
        *_linger(account),
        *_mail(account),
        *_sudo(account),
        *_keys(account),
    ]
    yield from found
    if not found:
        yield Finding(
            OK, "routes", account.name, "cron, at, linger, mail, sudo: none runs anything as this user"
        )


def _allowed(account: Account, allow: str, deny: str, *, without_files: bool) -> bool:
    """Read a pair of allow and deny files: the allow file decides if it exists (crontab(1), at(1))."""
    listed = read_or_none(allow)
    if listed is not None:
        return account.name in listed.split()
    denied = read_or_none(deny)
    return account.name not in denied.split() if denied is not None else without_files


def _cron(account: Account) -> Iterator[Finding]:
    for directory in CRONTABS:
        path = f"{directory}/{account.name}"
        if os.path.isfile(path):
            yield Finding(
                PROBLEM,
                "routes.cron",
                account.name,
                f"{path}: cron runs its lines outside a container",
                f"rm {path}",
            )
    # Debian's cron lets everybody in where neither file exists.
    if shutil.which("crontab") and _allowed(account, "/etc/cron.allow", "/etc/cron.deny", without_files=True):
        yield Finding(
            NOTE,
            "routes.cron",
            account.name,
            "may use crontab: not from inside a container, but from any other process of this user",
            "list those who may in /etc/cron.allow",
        )


def _at(account: Account) -> Iterator[Finding]:
    for directory in AT_JOBS:
        try:
            jobs = [
                entry.path
                for entry in os.scandir(directory)
                if entry.stat().st_uid == account.uid and entry.is_file()
            ]
        except OSError:
            continue
        if jobs:
            yield Finding(
                PROBLEM,
                "routes.at",
                account.name,
                f"{len(jobs)} jobs in {directory} will run outside a container",
                "atrm them",
            )
    if shutil.which("at") and _allowed(account, "/etc/at.allow", "/etc/at.deny", without_files=False):
        yield Finding(
            NOTE,
            "routes.at",
            account.name,
            "may use at: not from inside a container, but from any other process of this user",
            "list those who may in /etc/at.allow",
        )


def _linger(account: Account) -> Iterator[Finding]:
    name, needed = account.name, managers.limits_sessions(account)
    lingers = os.path.exists(LINGER + name)
    if lingers and needed:
        yield Finding(
            NOTE,
            "routes.linger",
            name,
            "lingers: the user's manager, which limits sessions, runs from boot on, outside a container",
            f"keep it where sshd has UsePAM no; elsewhere loginctl disable-linger {name}",
        )
    elif lingers:
        yield Finding(
            WARNING,
            "routes.linger",
            name,
            "lingers: the user's manager runs from boot on, outside a container",
            f"loginctl disable-linger {shlex.quote(name)}",
        )
    for below in USER_UNITS if answers(account.home) else ():
        path = os.path.join(account.home, below)
        if not os.path.isdir(path) or not os.listdir(path):
            continue
        found = f"{path}: the user's manager runs these units outside a container"
        if needed:
            remedy = "remove what is in it; the manager has to stay, as it limits the user's sessions"
            yield Finding(WARNING, "routes.user-units", name, found, remedy)
        else:
            yield Finding(
                WARNING,
                "routes.user-units",
                name,
                found,
                f"see what is in it, or mask the manager: systemctl mask user@{account.uid}.service",
            )


def _mail(account: Account) -> Iterator[Finding]:
    if not answers(account.home) or not any(os.path.exists(path) for path in _MAIL_TRANSPORTS):
        return
    for name in _MAIL_FILES:
        path = os.path.join(account.home, name)
        if os.path.lexists(path):
            yield Finding(
                PROBLEM,
                "routes.mail",
                account.name,
                f"{path}: mail to this user runs what the file says, outside a container",
                f"remove it, and forbid pipes from {name} in the mail transport",
            )


def sudo_rules(name: str) -> tuple[str, ...]:
    """Return the rules by which a user may run something by sudo, () without sudo (sudo(8), -l and -U)."""
    if not shutil.which("sudo"):
        return ()
    answer = subprocess.run(
        ["sudo", "-n", "-l", "-U", name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    return tuple(
        line.strip() for line in answer.stdout.splitlines() if line.startswith("    ") and "(" in line
    )


def _sudo(account: Account) -> Iterator[Finding]:
    rules = sudo_rules(account.name)
    if rules:
        yield Finding(
            WARNING,
            "routes.sudo",
            account.name,
            f"sudoers lets this user run {'; '.join(rules)}: not from inside a container, "
            "but from any other process of this user",
            "remove the rules (visudo)",
            {"rules": [*rules]},
        )
    for line in (read_or_none("/etc/doas.conf") or "").splitlines():
        words = line.split()
        if words[:1] == ["permit"] and (
            account.name in words or any(f":{group}" in words for group in account.groups)
        ):
            yield Finding(
                WARNING, "routes.sudo", account.name, f"doas.conf: {line.strip()}", "remove the line"
            )


def _keys(account: Account) -> Iterator[Finding]:
    """Yield whether what decides over logins could be changed by the user."""
    if not answers(account.home):
        return
    path = os.path.join(account.home, ".pam_environment")
    if os.path.lexists(path) and reading_user_environment():
        yield Finding(
            PROBLEM,
            "routes.pam-env",
            account.name,
            f"{path} is read by PAM: it sets LD_PRELOAD or any other variable for the login shell",
            f"rm {path}, and remove user_readenv=1 from /etc/pam.d",
        )
    try:
        home = os.stat(account.home)
    except OSError:
        return
    if home.st_mode & stat.S_IWOTH:
        yield Finding(
            PROBLEM,
            "routes.home",
            account.name,
            f"{account.home} is writable by everybody",
            f"chmod o-w {account.home}",
        )

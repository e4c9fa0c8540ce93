"""Reading one account: what the host knows of it, and what lies in its home, which is read as its user."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
import subprocess
from typing import TYPE_CHECKING

from ssh2container.admin.account import Account, listed_shells
from ssh2container.admin.accounts.home_source import require_roots_own
from ssh2container.admin.adopt import facts, records
from ssh2container.admin.doctor import outside, routes
from ssh2container.admin.login.managers import LINGER
from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.admin.reachable import answers
from ssh2container.admin.sessions import impersonate
from ssh2container.admin.sshd import SENTINEL, effective
from ssh2container.errors import SessionError
from ssh2container.plan import keys
from ssh2container.plan.account import Account as Login
from ssh2container.plan.entrance import KEY_FILES
from ssh2container.policy import store

if TYPE_CHECKING:
    from typing import Any

_OUTER = (".k5login", ".google_authenticator", ".yubico/authorized_yubikeys", ".hushlogin")
"""What PAM and sshd look for in a home on the host, beside keys."""
_FORWARD = ".forward"
_LEADS = ("public_html", "public_ftp", "Maildir", "mail")
_LASTLOG, _LASTLOG2 = "/var/log/lastlog", "/var/lib/lastlog/lastlog2.db"
_WTMP = "/var/log/wtmp"
_MOST_RECORDS = 200_000
"""Of wtmp; logrotate(8) begins a new one each month."""
_MAIL = ("/var/mail", "/var/spool/mail")
_DEADLINE_S = 120
_FORWARDED = (
    ("allowtcpforwarding", "ports"),
    ("allowagentforwarding", "the agent"),
    ("x11forwarding", "X11"),
    ("allowstreamlocalforwarding", "sockets"),
)


def read(account: Account) -> facts.Facts:
    """Return what is known of ``account``. Raises SessionError where its home does not answer, OSError."""
    if not answers(account.home):
        raise SessionError(
            f"cannot read the home of {account.name}", f"{account.home} does not answer", step="adopt"
        )
    told = _effective(account)
    patterns = [word for word in told.words("authorizedkeysfile") if word != "none"] if told else []
    places = [keys.expanded(word, _login(account)) for word in patterns or KEY_FILES]
    inside = _in_the_home(account, places)
    home = _home(account, inside)
    lines = [
        key
        for path in dict.fromkeys(places)
        for key in facts.key_lines(path, _keys_at(account, path, inside["files"]))
    ]
    own = store.STANDARD.source(f"users/{account.name}")
    return facts.Facts(
        account,
        home,
        routes.sudo_rules(account.name),
        _crontab(account.name),
        _at_jobs(account.uid),
        tuple(inside["units"]),
        os.path.exists(LINGER + account.name),
        facts.forwards(inside["files"].get(_FORWARD, "")),
        tuple(lines),
        _last_login(account),
        tuple(map(str, outside.strangers(account))),
        _sshd(told),
        _mail(account.name),
        own if os.path.lexists(own) else "",
        records.of(account.name) is not None,
        _is_known(account.shell),
    )


def _login(account: Account) -> Login:
    return Login(account.name, account.uid, account.gid, account.home, (), ())


def _is_known(shell: str) -> bool:
    """Tell whether shells(5) lists a shell: one that gives all that the account may do."""
    return (shell or "/bin/sh") in {*listed_shells(), "/bin/sh", "/bin/bash"}


def _effective(account: Account) -> effective.Effective | None:
    if effective.binary() is None:
        return None
    with contextlib.suppress(SessionError):
        return effective.effective(account.name)
    return None


def _sshd(told: effective.Effective | None) -> facts.Sshd:
    if told is None:
        return facts.Sshd()
    forced, chroot = (told.get(name, "none") for name in ("forcecommand", "chrootdirectory"))
    forwarded = tuple(word for name, word in _FORWARDED if told.get(name, "no") != "no")
    # With "admit: everybody" our own command is forced on all, and restricts nobody by itself.
    return facts.Sshd(
        "" if forced in ("none", SENTINEL) else forced, "" if chroot == "none" else chroot, forwarded
    )


def _in_the_home(account: Account, places: list[str]) -> dict[str, Any]:
    """Return what of the home matters outside of it, as the user finds it: links lead where they may."""
    below = account.home.rstrip("/") + "/"
    names = [path[len(below) :] for path in places if path.startswith(below)]

    def look() -> dict[str, Any]:
        files = {}
        for name in dict.fromkeys((*names, *_OUTER, _FORWARD)):
            path = os.path.join(account.home, name)
            if os.path.isfile(path) and os.access(path, os.R_OK):
                files[name] = keys.content(os.fsencode(path)).decode("latin-1")
        units = []
        for name in routes.USER_UNITS:
            with contextlib.suppress(OSError):
                units += sorted(f"{name}/{entry}" for entry in os.listdir(f"{account.home}/{name}"))
        leads = [name for name in _LEADS if os.path.isdir(f"{account.home}/{name}")]
        return {"files": files, "units": units, "leads": leads}

    empty: dict[str, Any] = {"files": {}, "units": [], "leads": []}
    if account.uid == 0 or not os.path.isdir(account.home):
        return empty
    found: dict[str, Any] = impersonate.ask(impersonate.Identity.of(account.uid, account.gid), look)
    return found


def _keys_at(account: Account, path: str, files: dict[str, str]) -> str:
    below = account.home.rstrip("/") + "/"
    if path.startswith(below):
        return files.get(path[len(below) :], "")
    return keys.content(os.fsencode(path)).decode("latin-1") if answers(path) else ""


def _home(account: Account, inside: dict[str, Any]) -> facts.Home:
    path = os.path.normpath(account.home) if account.home else ""
    try:
        found = os.lstat(path)
    except OSError as error:
        return facts.Home(path, trouble=error.strerror or "it cannot be looked at")
    files: dict[str, str] = dict(inside["files"])
    if not facts.only_addresses(facts.forwards(files.get(_FORWARD, ""))):
        files.pop(_FORWARD, None)
    return facts.Home(
        path,
        found.st_dev,
        found.st_ino,
        _trouble(account, path, found),
        _size(account, path),
        tuple(sorted(files.items())),
        tuple(inside["leads"]),
    )


def _trouble(account: Account, path: str, found: os.stat_result) -> str:
    if not stat.S_ISDIR(found.st_mode):
        return "it is no directory, but a link or a file"
    if found.st_uid != account.uid:
        return f"it belongs to uid {found.st_uid}"
    if is_mount_point(path):
        return "it is a mount point"
    try:
        require_roots_own(os.path.dirname(path), "")
    except SessionError as error:
        return error.why
    return ""


def _size(account: Account, path: str) -> int | None:
    """Return what the home takes on its disk, counted as the user; None where that took too long."""
    if account.uid == 0:
        return None
    with contextlib.suppress(subprocess.TimeoutExpired, OSError, ValueError, IndexError):
        answer = subprocess.run(
            ["du", "-sxB1", "--", path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_DEADLINE_S,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
        )
        return int(answer.stdout.split()[0])
    return None


def saved(path: str) -> facts.Saved | None:
    """Return a regular file as it is, None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        text = file.read().decode("latin-1")
    return facts.Saved(path, text, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns)


def _crontab(name: str) -> facts.Saved | None:
    found = (saved(f"{directory}/{name}") for directory in routes.CRONTABS)
    return next((one for one in found if one is not None), None)


def _at_jobs(uid: int) -> tuple[facts.Saved, ...]:
    jobs = []
    for directory in routes.AT_JOBS:
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(directory)):
                job = saved(f"{directory}/{name}") if facts.at_minute(name) is not None else None
                if job is not None and job.uid == uid:
                    jobs.append(job)
    return tuple(jobs)


def _last_login(account: Account) -> int:
    """Return the latest login that any of the host's books has: each leaves out some, or is of before."""
    return max(_in_lastlog(account.uid), _in_lastlog2(account.name), _in_wtmp().get(account.name, 0))


def _in_lastlog(uid: int) -> int:
    with contextlib.suppress(OSError), open(_LASTLOG, "rb") as file:
        file.seek(uid * facts.LASTLOG_ENTRY)
        return facts.last_login(file.read(facts.LASTLOG_ENTRY))
    return 0


def _in_lastlog2(name: str) -> int:
    """Return what Debian 13 has in place of lastlog, by pam_lastlog2(8)."""
    if not os.path.exists(_LASTLOG2):
        return 0
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{_LASTLOG2}?mode=ro", uri=True)) as table,
    ):
        row = table.execute("SELECT Time FROM Lastlog2 WHERE Name = ?", (name,)).fetchone()
        return int(row[0]) if row and row[0] else 0
    return 0


@functools.cache
def _in_wtmp() -> dict[str, int]:
    """Return everybody's last login in the newest part of wtmp, read once for all accounts."""
    with contextlib.suppress(OSError), open(_WTMP, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - size % facts.WTMP_RECORD - _MOST_RECORDS * facts.WTMP_RECORD))
        return facts.last_logins(file.read())
    return {}


def _mail(name: str) -> int:
    for directory in _MAIL:
        with contextlib.suppress(OSError):
            return os.stat(f"{directory}/{name}").st_size
    return 0

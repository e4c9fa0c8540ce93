"""The keys by which a contained user gets in: what their options open, restrict, or would if they could."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ssh2container.admin.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding
from ssh2container.admin.reachable import answers
from ssh2container.admin.sessions import impersonate
from ssh2container.admin.sshd import SENTINEL
from ssh2container.errors import printable
from ssh2container.plan import keys
from ssh2container.plan.account import Account as Login

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.account import Account
    from ssh2container.admin.sshd.effective import Effective

_LONGEST_SHOWN = 60
_FORCE = "ssh2containerctl sshd-config --write --with-force-command --reload"
_INTERNAL = b"internal-sftp"
_OPENING = {
    b"permitopen": "names where -L may lead",
    b"permitlisten": "names where -R may listen",
    b"tunnel": "names a tun device",
    b"port-forwarding": "allows port forwarding",
    b"agent-forwarding": "allows agent forwarding",
    b"x11-forwarding": "allows X11",
    b"user-rc": "allows ~/.ssh/rc",
}
"""Options about what the drop-in closes: they open nothing where it holds."""


def examine(account: Account, sshd: Effective, own: str = "", *, ruled: bool = False) -> Iterator[Finding]:
    """Yield what the keys of ``account`` come to under what ``sshd`` is told.

    own: the pattern of the file that the policy lets the user write, "" for none.
    ruled: whether keys have policies of their own (``keys``).
    """
    forced = sshd.get("forcecommand", "none") == SENTINEL
    if own and not forced:
        yield Finding(
            PROBLEM,
            "keys.home",
            account.name,
            "the policy has authorized_keys: home, and without ForceCommand a key with "
            'command="internal-sftp" runs inside sshd: the user reads the host\'s files',
            _FORCE,
        )
    if own and own not in sshd.words("authorizedkeysfile"):
        yield Finding(
            WARNING,
            "keys.home",
            account.name,
            f"the policy has authorized_keys: home, and sshd does not look in {own}",
            "have it look there: ssh2containerctl sshd-config --write --reload",
        )
    if (forced or ruled) and sshd.get("exposeauthinfo", "no") != "yes":
        lost = "so every login is refused, as the policy has keys" if ruled else "so its command= is lost"
        yield Finding(
            PROBLEM,
            "sshd.exposeauthinfo",
            account.name,
            f"ExposeAuthInfo is no: sessions cannot know which key was used, {lost}",
            "set ExposeAuthInfo yes, as the drop-in does",
        )
    patterns = [word for word in sshd.words("authorizedkeysfile") if word != "none"]
    told = False
    for path in dict.fromkeys(keys.expanded(word, _login(account)) for word in patterns):
        meant = bool(own) and path == keys.expanded(own, _login(account))
        owner = () if meant else tuple(_owner(account, path))
        for finding in (*owner, *_lines(account, path, sshd, forced=forced, users=meant)):
            told = True
            yield finding
    for finding in (*_elsewhere(account, sshd, forced=forced), *_certificates(account, sshd)):
        told = True
        yield finding
    if not told:
        yield Finding(OK, "keys", account.name, "no key of this user has options that matter")


def _login(account: Account) -> Login:
    return Login(account.name, account.uid, account.gid, account.home, (), ())


def _lines(
    account: Account, path: str, sshd: Effective, *, forced: bool, users: bool = False
) -> Iterator[Finding]:
    """Yield each key of a file with options that open something or restrict it.

    users: whether the way to it is the user's own to lay.
    """
    try:
        text = _as_the_user(account, path) if users else _content(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if _is_silent(account, path):
            return
        yield Finding(
            WARNING,
            "keys.unreadable",
            account.name,
            f"{path} cannot be read ({error.strerror}): the options of its keys were not checked",
            f"make sure that root can read {path}",
        )
        return
    for number, line in enumerate(text.split(b"\n"), 1):
        stripped = line.strip(b" \t\r")
        if not stripped or stripped.startswith(b"#"):
            continue
        options, _ = keys.divide(stripped)
        yield from _options(account, f"{path}:{number}", options, sshd, forced=forced)


def _options(
    account: Account, place: str, options: bytes, sshd: Effective, *, forced: bool
) -> Iterator[Finding]:
    """Yield what one key's options come to."""
    name, detail = account.name, {"place": place}
    for option, value in keys.each_option(options):
        shown = printable(value.decode("utf-8", "backslashreplace"))[:_LONGEST_SHOWN]
        if option == b"command" and not forced and value.split(b" ")[0] == _INTERNAL:
            yield Finding(
                PROBLEM,
                "keys.command",
                name,
                f'{place}: command="{shown}" runs inside sshd: whoever has the key can read '
                "the host's files",
                f"{_FORCE} (or remove {place})",
                detail,
            )
        elif option == b"command":
            yield Finding(
                NOTE,
                "keys.command",
                name,
                f'{place}: command="{shown}": only that is run, inside',
                "",
                detail,
            )
        elif option == b"environment":
            taken = sshd.get("permituserenvironment", "no") != "no"
            effect = "acts before the shell's first line" if taken else "is ignored"
            yield Finding(
                PROBLEM if taken else NOTE,
                "keys.environment",
                name,
                f"{place}: environment={shown} {effect}",
                f"set PermitUserEnvironment no above every Match, or remove it from {place}" if taken else "",
                detail,
            )
        elif option in _OPENING:
            text = f"{place}: {option.decode()} {_OPENING[option]}; what sshd_config closes stays closed"
            yield Finding(NOTE, "keys.option", name, text, "", detail)
        elif option == b"cert-authority":
            text = f"{place}: cert-authority: whoever holds that key can sign logins of this user"
            yield Finding(NOTE, "keys.authority", name, text, "", detail)


def _is_silent(account: Account, path: str) -> bool:
    """Tell whether ``path`` is in a home that does not answer: that is told once (:mod:`.state`)."""
    return path.startswith(account.home.rstrip("/") + "/") and not answers(account.home)


def _owner(account: Account, path: str) -> Iterator[Finding]:
    """Yield key files outside of the home in places where the user could write."""
    if path.startswith(account.home.rstrip("/") + "/"):
        return  # judged by what sessions can write
    for part in (path, os.path.dirname(path)) if answers(path) else ():
        try:
            mode = os.stat(part)
        except OSError:
            continue
        if mode.st_uid == account.uid or mode.st_mode & stat.S_IWOTH:
            yield Finding(
                WARNING,
                "sshd.authorizedkeysfile",
                account.name,
                f"{part} can be changed by the user",
                f"chown root {part}; chmod go-w {part}",
            )
            break


def _elsewhere(account: Account, sshd: Effective, *, forced: bool) -> Iterator[Finding]:
    """Yield where keys and principals come from that no file shows."""
    for keyword, name in (
        ("authorizedkeyscommand", "AuthorizedKeysCommand"),
        ("authorizedprincipalscommand", "AuthorizedPrincipalsCommand"),
    ):
        command = sshd.get(keyword, "none")
        if command == "none":
            continue
        if forced:
            yield Finding(
                NOTE,
                f"keys.{keyword}",
                account.name,
                f"{name} {command}: its keys were not checked here; a session asks it again, "
                "as the user, what "
                "the key that was used may run, and refuses the login where it does not answer",
                "",
                {"command": command},
            )
        else:
            yield Finding(
                WARNING,
                f"keys.{keyword}",
                account.name,
                f'{name} {command}: its keys were not checked, and command="internal-sftp" in one of them '
                "would run inside sshd",
                _FORCE,
                {"command": command},
            )


def _certificates(account: Account, sshd: Effective) -> Iterator[Finding]:
    """Yield which certificates let the user in, and the options of the principals' files."""
    authority = sshd.get("trustedusercakeys", "none")
    if authority == "none":
        return
    yield Finding(
        NOTE,
        "keys.authority",
        account.name,
        f"TrustedUserCAKeys {authority}: certificates cannot be listed; the force-command of one is obeyed",
        "",
        {"file": authority},
    )
    pattern = sshd.get("authorizedprincipalsfile", "none")
    if pattern == "none":
        return
    path = keys.expanded(pattern, _login(account))
    try:
        text = _content(path)
    except OSError:
        return
    for number, line in enumerate(text.split(b"\n"), 1):
        words = line.strip(b" \t\r")
        at = max(words.rfind(b" "), words.rfind(b"\t"))
        if words and not words.startswith(b"#") and at > 0:
            forced = sshd.get("forcecommand", "none") == SENTINEL
            yield from _options(account, f"{path}:{number}", words[:at], sshd, forced=forced)


def _as_the_user(account: Account, path: str) -> bytes:
    """Return the text of a file that is read as sshd reads it: links lead where the user comes."""
    if os.geteuid() != 0:
        return _content(path)

    def look() -> str | int:
        try:
            return _content(path).decode("latin-1")
        except OSError as error:
            return error.errno or errno.EINVAL

    answer = impersonate.ask(impersonate.Identity.of(account.uid, account.gid), look)
    if isinstance(answer, int):
        raise OSError(answer, os.strerror(answer))
    return str(answer).encode("latin-1")


def _content(path: str) -> bytes:
    """Return a file's text; the place may be the user's: no device, no pipe is opened. Raises OSError."""
    if not answers(path):
        raise OSError(errno.ETIMEDOUT, "its file server does not answer")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no regular file")
        return file.read(1 << 22)

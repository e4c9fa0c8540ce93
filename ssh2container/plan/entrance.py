"""How a login came in through sshd: whether our drop-in held for it, and what the key that was used forces.

Imported only where sshd has started the session. sshd drops the ``command=`` of a key, and a certificate's
``force-command``, where its configuration has a ForceCommand (session.c, do_exec), which is how our drop-in
gets every request. So the session itself looks up the key that sshd tells of (``ExposeAuthInfo``) and does
what sshd would have done without. sshd reads these files as the user, so the session can read them.
"""

from __future__ import annotations

import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal

from . import keys
from .request import MARK, SENTINEL, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .account import Account

KEY_FILES = (".ssh/authorized_keys", ".ssh/authorized_keys2")
"""Where sshd looks for keys when nothing else is said (sshd_config(5), AuthorizedKeysFile)."""


def examine(
    arguments: Sequence[bytes], environment: Mapping[bytes, bytes], request: Request, account: Account
) -> Request:
    """Return what is to be run: ``request``, or what the key that was used forces in its place.

    Raises Refusal when sshd has not applied the drop-in to this login, and when nobody can tell whether the
    key is restricted.
    """
    forced = list(arguments[1:]) == [SENTINEL]
    if not forced:
        if MARK not in environment:
            from . import servers

            servers.require_drop_in(account.name)
        return request
    used = used_keys(environment.get(b"SSH_USER_AUTH", b""))
    if not used:
        return request
    commands = _commands(used, files_of(environment.get(MARK, b"")), account)
    if not commands:
        return request
    if len(commands) > 1:
        raise Refusal(
            "cannot determine what the key may run",
            "it is listed in several places with different commands",
            "an administrator has to remove all but one",
            "key",
        )
    return Request.of_command(commands.pop(), environment.get(b"SSH_ORIGINAL_COMMAND"), by_key=True)


def used_keys(path: bytes) -> list[tuple[bytes, bytes]]:
    """Return (type, key in base64) of each public key that sshd accepted, from the file that it made."""
    if not path.startswith(paths.EXPOSED) or b"/" in path[len(paths.EXPOSED) :]:
        return []
    found = []
    for line in keys.content(path, os.getuid()).split(b"\n"):
        words = line.split(b" ")
        if words[0] == b"publickey" and len(words) > 2:  # noqa: PLR2004
            found.append((words[1], words[2]))
    return found


def files_of(mark: bytes) -> list[str]:
    """Return the patterns of AuthorizedKeysFile that the drop-in tells in ``mark``."""
    return paths.fsdecode(mark).split() or list(KEY_FILES)


def _commands(used: Sequence[tuple[bytes, bytes]], files: Sequence[str], account: Account) -> set[bytes]:
    """Return what the keys force; raises Refusal for a key that is found nowhere."""
    commands: set[bytes] = set()
    for kind, key in used:
        wanted = key
        if kind.endswith(keys.CERTIFICATE):
            certificate = keys.Certificate(key)
            if certificate.command is not None:
                commands.add(certificate.command)
            wanted = certificate.authority
        found = list(options_in(wanted, files, account, authority=kind.endswith(keys.CERTIFICATE)))
        if not found:
            from . import servers

            found = list(servers.options_elsewhere(kind, wanted, key, account))
        for options in found:
            command = keys.option(options, b"command")
            if command is not None:
                commands.add(command)
            elif len(found) > 1 and any(keys.option(other, b"command") is not None for other in found):
                raise Refusal(
                    keys.UNKNOWN,
                    "it is listed in several places, with and without a command",
                    "an administrator has to remove all but one",
                    "key",
                )
    return commands


def options_in(key: bytes, patterns: Sequence[str], account: Account, *, authority: bool) -> Iterator[bytes]:
    """Yield the options of each line that admits ``key``, b"" for one without."""
    seen = set()
    for pattern in patterns:
        path = keys.expanded(pattern, account)
        if path not in seen:
            seen.add(path)
            yield from keys.lines_with(key, keys.content(paths.fsencode(path)), authority=authority)

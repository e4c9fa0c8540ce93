"""The sshd behind a login: which configuration it has, and what that says about keys.

Imported only where the drop-in did not hold for a login, or its files do not hold the key that was used.
"""

from __future__ import annotations

import _stat as stat
import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal

from . import keys
from .environment import matches
from .request import MARK, SENTINEL
from .sshd_files import CONFIG, Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .account import Account
    from .sshd_files import Block

_PROGRAM = "sshd"
_HIGHEST = 8
"""Processes between a session and the sshd that listens: two or three."""
_LONGEST_WAIT_MS = 10_000
_MOST_KEYS_BYTES = 1 << 20
_TRUSTED_MODES = 0o022
_COMMAND = "authorizedkeyscommand"


def require_drop_in(name: str) -> None:
    """Refuse a login of the user ``name`` that sshd has started without applying the drop-in.

    Its block closes forwarding, so a login without it can reach the host's network before any session starts.
    An sshd that was given a configuration of its own, in which the drop-in is not named at all, is the
    administrator's decision, and the doctor's to tell. So is any program that is no sshd (su, a console).
    """
    parent = os.getppid()
    program = _program(parent)
    if program and not program.startswith(_PROGRAM):
        return
    config = configuration(parent)
    if config != CONFIG:
        files = Files(config)
        if not files.unreadable and not any(_names_drop_in(text) for text in files.texts.values()):
            return
    raise Refusal(
        "cannot run for a login to which sshd has not applied its drop-in",
        f"forwarding past the container may be open to {name}",
        f"an administrator checks with: ssh2containerctl doctor {name}",
        "sshd",
    )


def _names_drop_in(text: bytes) -> bool:
    return SENTINEL in text or MARK in text


def configuration(pid: int) -> str:
    """Return the file that the sshd above the process ``pid`` was started with (its ``-f``)."""
    top = pid
    for _ in range(_HIGHEST):
        if not _program(pid).startswith(_PROGRAM):
            break
        top = pid
        pid = _parent(pid)
    words = paths.fsdecode(_text(f"/proc/{top}/cmdline").rstrip(b"\0")).replace("\0", " ").split(" ")
    for at, word in enumerate(words):
        if word == "-f" and at + 1 < len(words):
            return words[at + 1]
        if word.startswith("-f/"):
            return word[2:]
    return CONFIG


def options_elsewhere(kind: bytes, wanted: bytes, key: bytes, account: Account) -> Iterator[bytes]:
    """Yield the options of a key that is in none of the files that the drop-in names.

    kind, key: the key or certificate that sshd accepted. wanted: the same key, or who signed the certificate.
    Raises Refusal when it cannot be found: its restrictions are unknown, and sshd has dropped them.
    """
    files = Files(configuration(os.getppid()))
    signed = wanted is not key
    found = False
    patterns = [
        word
        for line in files.values("authorizedkeysfile")
        if line.block is None or _may_hold(line.block, account.name)
        for word in line.words
        if word != "none"
    ]
    for path in dict.fromkeys(keys.expanded(pattern, account) for pattern in patterns):
        for options in keys.lines_with(wanted, _text(path), authority=signed):
            found = True
            yield options
    if signed and not found:
        for options in _of_principals(files, wanted, key, account):
            found = True
            yield options
    if not found:
        for options in _of_command(files, kind, wanted, key, account):
            found = True
            yield options
    if not found:
        raise Refusal(
            keys.UNKNOWN,
            "it is in no file that can be read, and with ForceCommand sshd ignores the command= of a key",
            "an administrator adds it to a file of AuthorizedKeysFile, "
            "or uses: ssh2containerctl sshd-config --write --without-force-command",
            "key",
        )


def _may_hold(block: Block, name: str) -> bool:
    """Tell whether a Match block may be the user's; the file of another one says nothing of their keys."""
    for criterion, value in block.criteria:
        if criterion != "user":
            continue
        patterns = value.split(",")
        refused = [one[1:] for one in patterns if one.startswith("!")]
        wanted = [one for one in patterns if not one.startswith("!")]
        user = name.encode("utf-8", "surrogateescape")
        if any(matches(user, one.encode()) for one in refused):
            return False
        if not any(matches(user, one.encode()) for one in wanted):
            return False
    return block.around is None or _may_hold(block.around, name)


def _of_principals(files: Files, authority: bytes, key: bytes, account: Account) -> Iterator[bytes]:
    """Yield the options beside the principals of a certificate whose signer is in TrustedUserCAKeys."""
    trusted = [word for line in files.values("trustedusercakeys") for word in line.words]
    if not any(authority in _text(path) for path in trusted):
        return
    if any(line.words[0] != "none" for line in files.values("authorizedprincipalscommand") if line.words):
        return
    lists = [
        keys.expanded(word, account)
        for line in files.values("authorizedprincipalsfile")
        for word in line.words
        if word != "none"
    ]
    if not lists:
        yield b""
        return
    principals = keys.Certificate(key).principals
    for path in lists:
        for line in _text(path).split(b"\n"):
            words = line.strip(b" \t\r")
            if not words or words.startswith(b"#"):
                continue
            at = max(words.rfind(b" "), words.rfind(b"\t"))
            if words[at + 1 :] in principals:
                yield words[:at].rstrip(b" \t") if at > 0 else b""


def _of_command(files: Files, kind: bytes, wanted: bytes, key: bytes, account: Account) -> Iterator[bytes]:
    """Yield the options of the key in what AuthorizedKeysCommand says, asked as the user."""
    for line in files.values(_COMMAND):
        if not line.words or not line.words[0].startswith("/"):
            continue
        values = {
            "%": "%",
            "u": account.name,
            "U": str(account.uid),
            "h": account.home,
            "k": key.decode("ascii", "replace"),
            "t": kind.decode("ascii", "replace"),
        }
        words = [_filled(word, values) for word in line.words]
        if None in words or not _is_roots(line.words[0]):
            continue
        said = _asked([word for word in words if word] if len(words) > 1 else [line.words[0], account.name])
        yield from keys.lines_with(wanted, said, authority=wanted is not key)


def _filled(word: str, values: dict[str, str]) -> str | None:
    """Return a word with its tokens replaced, None for one with a token that is not known here."""
    text, at = "", 0
    while at < len(word):
        if word[at] != "%":
            text += word[at]
            at += 1
            continue
        value = values.get(word[at + 1 : at + 2])
        if value is None:
            return None
        text += value
        at += 2
    return text


def _is_roots(path: str) -> bool:
    """Tell whether nobody but root can change a program (sshd demands the same)."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == 0 and not status.st_mode & _TRUSTED_MODES


def _asked(words: list[str]) -> bytes:
    """Run a program of root's with an empty environment and return what it says; b"" when it is late."""
    import select

    reader, writer = os.pipe2(os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, writer, 1),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    ]
    try:
        child = os.posix_spawn(
            words[0], words, {"PATH": "/usr/bin:/bin"}, file_actions=actions, setsid=True, setsigmask=[]
        )
    except OSError:
        os.close(reader)
        return b""
    finally:
        os.close(writer)
    said = b""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while poll.poll(_LONGEST_WAIT_MS) and (part := os.read(reader, _MOST_KEYS_BYTES)):
        said += part
        if len(said) > _MOST_KEYS_BYTES:
            break
    os.close(reader)
    ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, 9)
        _, status = os.waitpid(child, 0)
    return said if status == 0 else b""


def _program(pid: int) -> str:
    """Return the name of a process, "" where it cannot be seen (proc(5), hidepid)."""
    return paths.fsdecode(_text(f"/proc/{pid}/comm").rstrip(b"\n"))


def _parent(pid: int) -> int:
    words = _text(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(words[1]) if len(words) > 1 else 0


def _text(path: str) -> bytes:
    return keys.content(paths.fsencode(path))

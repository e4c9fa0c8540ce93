"""Reading jailbash, a login shell of a few lines that calls bubblewrap: the call is read, not run."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Text, text_at
from ssh2container.admin.foreign import written
from ssh2container.admin.foreign.told import MISSING, NO_KEY, Told, unreadable
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted

if TYPE_CHECKING:
    from ssh2container.admin.foreign.told import Subject

SHELLS = ("jailbash",)
_CALL = re.compile(r"\bbwrap(?=\s)")
_NONE = (
    "as-pid-1", "clearenv", "die-with-parent", "disable-userns", "new-session", "share-net", "unshare-all",
    "unshare-cgroup", "unshare-cgroup-try", "unshare-ipc", "unshare-net", "unshare-pid", "unshare-user",
    "unshare-user-try", "unshare-uts",
)  # fmt: skip
_ONE = (
    "add-seccomp-fd", "cap-add", "cap-drop", "chdir", "dev", "dir", "exec-label", "file-label", "gid",
    "hostname", "lock-file", "mqueue", "perms", "proc", "remount-ro", "seccomp", "size", "sync-fd", "tmpfs",
    "uid", "unsetenv", "userns",
)  # fmt: skip
_BINDS = ("bind", "bind-try", "ro-bind", "ro-bind-try", "dev-bind", "dev-bind-try")
_TWO = (*_BINDS, "bind-data", "chmod", "file", "ro-bind-data", "setenv", "symlink")
_ARGUMENTS = dict.fromkeys(_NONE, 0) | dict.fromkeys(_ONE, 1) | dict.fromkeys(_TWO, 2)
"""The options of bwrap(1) that such a script may have, and how many words each takes."""
_IMAGE = ("usr", "bin", "sbin", "lib", "lib32", "lib64")
_OURS = ("etc", "proc", "dev", "sys", "tmp", "var", "run")
_ALWAYS = (
    *_NONE, "bind-data", "cap-drop", "chdir", "dev", "dir", "file", "mqueue", "perms", "proc", "remount-ro",
    "ro-bind-data", "symlink",
)  # fmt: skip
"""Options that say what every container has, or that are looked at together."""


def read(subject: Subject) -> Told:
    """Return what the script gives an account. Raises PolicyError for a call that cannot be told in full."""
    source = written.read(subject.root + subject.account.shell)
    told = Told(source)
    told.apart = True
    options = _options(told, subject)
    for name, place, values in options:
        _option(told, subject, name, place, values)
    names = [name for name, _, _ in options]
    apart = "unshare-net" in names or "unshare-all" in names
    place = next((place for name, place, _ in options if name in ("share-net", "unshare-net")), told.whole)
    mode = "none" if apart and "share-net" not in names else "host"
    told.set("network_mode", place, mode, "the network", word=False)
    told.gives_a_shell(told.whole, "a shell")
    return told


def _options(told: Told, subject: Subject) -> list[tuple[str, Text, list[str]]]:
    """Return (option, its place, its words) of the call of bwrap, up to the program that it starts."""
    words = _words(told, subject)
    found = []
    at = 0
    while at < len(words) and words[at].text.startswith("--"):
        place = words[at]
        name = place.text[2:]
        if name not in _ARGUMENTS:
            hint = did_you_mean(name, _ARGUMENTS)
            raise unreadable(told.source, place.line, f"{place.text} is not known", "options of bwrap", hint)
        count = _ARGUMENTS[name]
        values = [word.text for word in words[at + 1 : at + 1 + count]]
        if len(values) < count:
            raise unreadable(told.source, place.line, f"{place.text} lacks its words")
        found.append((name, place, values))
        at += 1 + count
    if at >= len(words):
        raise unreadable(told.source, 0, "the call of bwrap starts no program", "a shell behind its options")
    return found


def _words(told: Told, subject: Subject) -> list[Text]:
    """Return the words behind bwrap, on the lines that the call goes over."""
    found: list[Text] = []
    inside = False
    for number, line in enumerate(told.source.text.split("\n"), 1):
        text = line
        if not inside:
            call = None if line.lstrip().startswith("#") else _CALL.search(line)
            if call is None:
                continue
            inside, text = True, line[call.end() :]
        goes_on = text.endswith("\\")
        try:
            words = shlex.split(_replaced(text.removesuffix("\\"), subject))
        except ValueError:
            raise unreadable(
                told.source, number, f"found {quoted(line.strip())}", "words with closed quotes"
            ) from None
        found += [Text(word, number, 1, told.source) for word in words]
        if not goes_on:
            return found
    raise unreadable(told.source, 0, "it does not call bwrap", "bwrap OPTIONS... PROGRAM")


def _replaced(text: str, subject: Subject) -> str:
    """Write in what of the shell's words is known of every account; nothing else is expanded."""
    account = subject.account
    values = {
        "${HOME}": account.home, "$HOME": account.home,
        "$(id -u)": str(account.uid), "$(id -g)": str(account.gid),
        "$(id -nu)": account.name, "$(id -un)": account.name, "${USER}": account.name, "$USER": account.name,
        "${UID}": str(account.uid), "$UID": str(account.uid),
    }  # fmt: skip
    for word, value in values.items():
        text = text.replace(word, value)
    return text


def _option(told: Told, subject: Subject, name: str, place: Text, values: list[str]) -> None:
    shown = f"--{name} {' '.join(values)}".rstrip()
    if name in _ALWAYS:
        return
    if any(letter in value for value in values for letter in "$`") and name != "setenv":
        told.leave(place, shown, "its words are known to the shell alone that would run the script")
    elif name in _BINDS:
        _bind(told, subject, name, place, values)
    elif name == "setenv":
        if values[0] != "XDG_RUNTIME_DIR":
            told.draft.named("environment", text_at(place, values[0]), text_at(place, values[1]), shown)
    elif name == "hostname":
        told.set("hostname", place, values[0].replace("%", "%%"), shown, word=False)
    elif name == "tmpfs":
        if values[0].lstrip("/").split("/")[0] in (*_IMAGE, *_OURS):
            told.differ(place, shown, "a container has its own, as its image is")
        else:
            told.draft.entry("tmpfs", text_at(place, values[0].replace("%", "%%")), shown)
    else:
        told.leave(place, shown, NO_KEY)


def _bind(told: Told, subject: Subject, name: str, place: Text, values: list[str]) -> None:
    source, target = (os.path.normpath(value) for value in values)
    shown = f"--{name} {' '.join(values)}"
    home = os.path.normpath(subject.account.home)
    read_only = name.startswith("ro-")
    if target == home:
        told.home, told.apart = source, source != home
        told.read_only = read_only
        return
    first = target.lstrip("/").split("/")[0]
    if first in _IMAGE:
        if not read_only or source != target:
            told.leave(place, shown, "it is the image's, and read-only")
    elif first == "etc" or target == f"/{first}":
        told.differ(place, shown, "a container has its own, with what its programs need")
    elif not os.path.lexists(subject.root + source):
        told.leave(place, shown, MISSING)
    else:
        told.bind(place, source, target, shown, read_only=read_only)

"""Reading sshd_config(5): accounts that have sftp alone, in a directory (ForceCommand, ChrootDirectory).

What holds for an account is asked of sshd itself, which knows Match; the files say where it stands.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Text
from ssh2container.admin.foreign import chroots, written
from ssh2container.admin.foreign.told import Told, unreadable
from ssh2container.admin.policy.schema.settings import POLICY
from ssh2container.admin.policy.yaml.problems import quoted
from ssh2container.plan.sshd_files import CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.foreign.told import Subject
    from ssh2container.admin.policy.yaml.files import Source

SHELLS = ()
"""sshd runs its own sftp, whatever the login shell is."""
_DIRECTIVE = re.compile(r"(?P<word>[A-Za-z0-9]+)(?:\s*=\s*|\s+)(?P<value>.+)")
_DEEPEST = 16
_SERVERS = ("internal-sftp", "sftp-server")
_FLAGS, _WITH_VALUE = "eRh", "dfluPp"
"""The options of sftp-server(8)."""


def read(subject: Subject) -> Told:
    """Return what sshd's configuration says of an account. Raises PolicyError where it is no sftp alone."""
    config = subject.root + CONFIG
    source = written.read(config)
    found = list(_directives(config, subject.root, 0))
    forced = _placed(found, "forcecommand", subject.forced, source)
    chroot = _placed(found, "chrootdirectory", subject.chroot, source)
    words = _words(forced)
    if not words or os.path.basename(words[0]) not in _SERVERS:
        what = f"sshd forces {quoted(subject.forced)}" if subject.forced else "sshd forces no command"
        raise unreadable(forced.source, forced.line, f"{what} on {subject.account.name}",
                         "ForceCommand internal-sftp", "see --profile for others")  # fmt: skip
    told = Told(forced.source)
    begin = ""
    if subject.chroot:
        path = _expanded(chroot, subject)
        begin = chroots.take(told, subject, chroot, path, "ChrootDirectory", subject.account.home)
    told.only_transfers(forced)
    told.set("access.sftp", forced, "true", "internal-sftp")
    _options(told, subject, forced, words[1:], begin)
    return told


def _directives(path: str, root: str, depth: int) -> Iterator[tuple[str, Text]]:
    """Yield each keyword, in lower case, with its value, of a file and those that it includes."""
    source = written.read(path)
    for number, line in written.lines(source):
        match = _DIRECTIVE.fullmatch(line)
        if match is None:
            continue  # sshd itself has read the file and found it good
        word, value = match["word"].lower(), Text(match["value"].strip(), number, 1, source)
        yield word, value
        if word == "include" and depth < _DEEPEST:
            for pattern in _words(value):
                pattern = pattern if pattern.startswith("/") else f"{os.path.dirname(CONFIG)}/{pattern}"  # noqa: PLW2901
                for name in written.matching(root + pattern):
                    yield from _directives(name, root, depth + 1)


def _placed(found: list[tuple[str, Text]], word: str, value: str, source: Source) -> Text:
    """Return the line with a value that holds; the file where no line has it so."""
    for name, text in found:
        if name == word and text.text.strip('"') == value.strip('"'):
            return text
    return Text(value, 0, 0, source)


def _words(value: Text) -> list[str]:
    try:
        return shlex.split(value.text)
    except ValueError:
        raise unreadable(value.source, value.line, f"a quote is not closed in {quoted(value.text)}") from None


def _expanded(chroot: Text, subject: Subject) -> str:
    """Replace the tokens of ChrootDirectory (sshd_config(5), TOKENS)."""
    account = subject.account
    values = {"%": "%", "h": account.home, "u": account.name, "U": str(account.uid)}

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise unreadable(
                chroot.source, chroot.line, f"%{match[1]} in {quoted(chroot.text)}", "%% %h %u %U"
            )
        return values[match[1]]

    path = re.sub(r"%(.?)", value, chroot.text.strip('"'))
    if not path.startswith("/"):
        raise unreadable(chroot.source, chroot.line, f"ChrootDirectory {quoted(path)}", "an absolute path")
    return path


def _options(told: Told, subject: Subject, place: Text, words: list[str], begin: str) -> None:
    """Take the options of the sftp server; begin: where sessions begin without one, "" for the home."""
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        letters = word[1:] if word.startswith("-") else ""
        if not letters:
            raise unreadable(place.source, place.line, f"found {quoted(word)}", "options of sftp-server")
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _FLAGS:
                _option(told, place, letter, "")
            elif letter in _WITH_VALUE:
                value, letters = letters, ""
                if not value:
                    if at >= len(words):
                        raise unreadable(place.source, place.line, f"-{letter} has no value")
                    value, at = words[at], at + 1
                if letter == "d":
                    begin = value.replace("%d", subject.account.home).replace("%u", subject.account.name)
                else:
                    _option(told, place, letter, value)
            else:
                known = " ".join(f"-{one}" for one in _FLAGS + _WITH_VALUE)
                raise unreadable(place.source, place.line, f"the option -{letter} is not known", known)
    home = os.path.normpath(subject.account.home)
    if begin and os.path.normpath(os.path.join(home, begin)) != home:
        start = os.path.join("/", begin)
        told.set("access.sftp.start_directory", place, start, f"sftp starts in {start}", word=False)


def _option(told: Told, place: Text, letter: str, value: str) -> None:
    name = f"internal-sftp -{letter} {value}".rstrip()
    if letter == "R":
        told.set("access.sftp.read_only", place, "true", name)
    elif letter == "u":
        told.set("access.sftp.umask", place, value, name, word=False)
    elif letter in "Pp":
        named = [word for word in value.split(",") if word]
        kind = POLICY.settings["access.sftp.deny"].kind
        known = [word.strip() for word in kind.allowed.rpartition(":")[2].split("|")]
        for word in named if letter == "P" else [word for word in known if word not in named]:
            told.draft.entry("access.sftp.deny", Text(word, place.line, place.column, place.source), name)
    elif letter in "fl":
        told.leave(place, name, "requests are recorded in the audit trail, without levels")

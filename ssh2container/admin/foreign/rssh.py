"""Reading rssh.conf(5): accounts that have scp, sftp, rsync, cvs, rdist and svnserve, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Text
from ssh2container.admin.foreign import chroots, written
from ssh2container.admin.foreign.told import SCP_IS_NOT_SFTP, SCP_IS_SFTP, Told, unreadable
from ssh2container.admin.policy.yaml.problems import quoted

if TYPE_CHECKING:
    from ssh2container.admin.foreign.told import Subject

SHELLS = ("rssh",)
CONFIG = "/etc/rssh.conf"
_SERVICES = ("rsync", "rdist", "cvs", "sftp", "scp", "svnserve")
"""In the order of the access bits; svnserve is of version 2.3.4 on, and older files have five bits."""
_KEYWORDS = (*(f"allow{name}" for name in _SERVICES), "umask", "logfacility", "chrootpath", "user")
_OCTAL = re.compile(r"[0-7]{1,4}")
_BITS = re.compile(r"[01]{5,6}")
_FIELDS = 4


class _Rules:
    """What the file says: for everybody, and then of one user, whose line leaves nothing of that."""

    def __init__(self) -> None:
        self.services: dict[str, Text] = {}
        self.umask: Text | None = None
        self.chroot: Text | None = None
        self.facility: Text | None = None
        self.own: Text | None = None

    def user(self, value: Text, name: str) -> None:
        fields = value.text.split(":", _FIELDS - 1)
        if len(fields) < _FIELDS - 1 or not _OCTAL.fullmatch(fields[1]) or not _BITS.fullmatch(fields[2]):
            found = f"user = {quoted(value.text)}"
            raise unreadable(value.source, value.line, found, "NAME:UMASK:BITS[:PATH], with five or six bits")
        if fields[0] == name:
            self.own = value

    def settle(self) -> None:
        """Have the line of the user take the place of all else."""
        if self.own is None:
            return
        place = self.own
        _, umask, bits, *path = place.text.split(":", _FIELDS - 1)
        pairs = zip(_SERVICES, bits, strict=False)
        self.services = {name: place for name, bit in pairs if bit == "1"}
        self.umask = Text(umask, place.line, place.column, place.source)
        self.chroot = Text(path[0], place.line, place.column, place.source) if path and path[0] else None


def read(subject: Subject) -> Told:
    """Return what rssh lets an account do. Raises PolicyError for a line for which rssh lets nobody in."""
    source = written.read(subject.root + CONFIG)
    told = Told(source)
    rules = _Rules()
    for number, line in written.lines(source):
        word, value = _assignment(Text(line, number, 1, source))
        if word.startswith("allow"):
            rules.services[word.removeprefix("allow")] = value
        elif word == "umask":
            rules.umask = value
        elif word == "chrootpath":
            rules.chroot = value
        elif word == "logfacility":
            rules.facility = value
        elif word == "user":
            rules.user(value, subject.account.name)
    rules.settle()
    _say(told, subject, rules)
    return told


def _assignment(line: Text) -> tuple[str, Text]:
    """Return a keyword in lower case and its value, without quotes and without a comment behind it."""
    text = _uncommented(line)
    word, equals, value = text.partition("=")
    word = word.strip().lower()
    if word not in _KEYWORDS:
        raise unreadable(line.source, line.line, f"found {quoted(line.text)}", ", ".join(_KEYWORDS))
    if bool(equals) == word.startswith("allow"):
        allowed = word if word.startswith("allow") else f"{word} = VALUE"
        raise unreadable(line.source, line.line, f"found {quoted(line.text)}", allowed)
    return word, Text(value.strip().replace('"', "").replace("'", ""), line.line, 1, line.source)


def _uncommented(line: Text) -> str:
    quote = ""
    for at, letter in enumerate(line.text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "#":
            return line.text[:at].strip()
    if quote:
        raise unreadable(line.source, line.line, f"a quote is not closed in {quoted(line.text)}")
    return line.text


def _say(told: Told, subject: Subject, rules: _Rules) -> None:
    if not rules.services:
        told.set("access.login", rules.own or told.whole, "false", "no service is allowed")
    for name, place in rules.services.items():
        if name != "sftp":
            told.command(place, name, f"allow{name}")
    told.only_transfers(rules.own or told.whole)
    sftp = rules.services.get("sftp")
    told.set("access.sftp", sftp or rules.own or told.whole, str(sftp is not None).lower(), "allowsftp")
    if "scp" in rules.services and sftp is None:
        told.differ(
            rules.services["scp"],
            "allowscp",
            SCP_IS_NOT_SFTP,
        )
    if sftp is not None and "scp" not in rules.services:
        told.differ(sftp, "allowsftp", SCP_IS_SFTP)
    if rules.umask is not None:
        shown = f"umask {rules.umask.text}"
        if sftp is not None:
            told.set("access.sftp.umask", rules.umask, rules.umask.text, shown, word=False)
        if set(rules.services) - {"sftp"}:
            say = told.differ if sftp is not None else told.leave
            say(rules.umask, shown, "it holds for sftp alone: a command has the umask of its session")
    if rules.facility is not None:
        told.leave(rules.facility, f"logfacility {rules.facility.text}", "each session is in the audit trail")
    if rules.chroot is not None:
        path = rules.chroot.text
        inner = chroots.below(path, subject.account.home)
        begin = chroots.take(told, subject, rules.chroot, path, "chrootpath", inner)
        if sftp is not None and begin == "/":
            told.set("access.sftp.start_directory", rules.chroot, begin, "chrootpath", word=False)

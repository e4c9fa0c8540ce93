"""Reading firejail's login.users and the profiles that it names: accounts whose login shell is firejail.

An option of the command line and a line of a profile are the same word (firejail-profile(5)).
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin.convert.tree import Text, text_at
from ssh2container.admin.foreign import written
from ssh2container.admin.foreign.told import NO_KEY, Told, unreadable
from ssh2container.admin.policy.yaml.problems import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.foreign.told import Subject
    from ssh2container.admin.policy.yaml.files import Source

SHELLS = ("firejail",)
_DIRECTORY = "/etc/firejail"
_USERS = f"{_DIRECTORY}/login.users"
_DEFAULT = "default.profile"
_OWN = ".config/firejail"
_COMMENT = re.compile(r"\s+#.*")
_TIME = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2})")
ALWAYS = (
    "apparmor", "caps", "caps.drop", "caps.keep", "dbus-system", "dbus-user", "deterministic-shutdown",
    "disable-mnt", "ipc-namespace", "machine-id", "name", "no3d", "noautopulse", "noblacklist", "nodbus",
    "nodvd", "noinput", "nonewprivs", "noprinters", "noroot", "nosound", "notpm", "notv", "nou2f", "novideo",
    "nowhitelist", "private-cache", "private-dev", "private-tmp", "quiet", "restrict-namespaces",
    "seccomp.32", "seccomp.block-secondary", "shell", "x11",
)  # fmt: skip
"""Words that say what every container has, or that open what no container closes."""
_IMAGE = "a session has the programs and libraries of its image, all of them"
_ADDRESS = "networks and network_mode say what a session is on"
NOT = {
    "allow-debuggers": "write seccomp: {allow: [ptrace]}",
    "allusers": "a session sees its own home alone",
    "blacklist": "a home is there as a whole, and so is what of it is the image's",
    "blacklist-nolog": "a home is there as a whole, and so is what of it is the image's",
    "cpu": "cpus says how much, not which",
    "defaultgw": _ADDRESS,
    "dns": _ADDRESS,
    "ip": _ADDRESS,
    "ip6": _ADDRESS,
    "iprange": _ADDRESS,
    "mac": _ADDRESS,
    "memory-deny-write-execute": "seccomp.deny refuses whole calls",
    "mkdir": "make it once, in the home",
    "mkfile": "make it once, in the home",
    "mtu": _ADDRESS,
    "netfilter": "egress says where a private network leads",
    "nice": "cpu_shares says who waits for whom",
    "nogroups": "groups are kept, for what volumes bring in",
    "noexec": "what is in a home can be run",
    "private-bin": _IMAGE,
    "private-etc": "a session has an /etc of its own",
    "private-lib": _IMAGE,
    "private-opt": "name what is needed in volumes",
    "private-srv": "name what is needed in volumes",
    "protocol": "network_mode says which network there is, not by which protocols",
    "rmenv": "a session has the variables of environment and accept_env alone",
    "seccomp.keep": "seccomp.deny names what is refused",
    "tracelog": "the audit trail has sessions, not files",
}
_LIMITS = ("as", "cpu", "fsize", "nofile", "nproc", "sigpending")
"""Of rlimit-NAME (setrlimit(2))."""
_ACTIONS = {"kill": "kill", "log": "log", "EPERM": "errno"}
_HIDDEN = (
    "boot", "dev", "etc", "home", "lost+found", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv",
    "sys", "tmp", "var",
)  # fmt: skip
"""Where a container has nothing of the host's: what is hidden there stays hidden."""


class _Reader:
    """Takes words in their order; what of the home is left is known at the end."""

    def __init__(self, told: Told, subject: Subject) -> None:
        self.told = told
        self.subject = subject
        self.home = os.path.normpath(subject.account.home)
        self.ignored: list[str] = []
        self.listed: dict[str, tuple[Text, bool]] = {}
        self.profiles = 0

    def path(self, value: str) -> str:
        """Return a path with the home in place of its macro; "" for another macro, or a pattern."""
        value = value.replace("${HOME}", self.home)
        value = value.replace("${RUNUSER}", f"/run/user/{self.subject.account.uid}")
        value = self.home + value[1:] if value.startswith("~") else value
        plain = value.startswith("/") and not any(letter in value for letter in "*?[$")
        return os.path.normpath(value) if plain else ""

    def is_home(self, value: str) -> bool:
        return value.startswith(("${HOME}", "~")) or (value + "/").startswith(self.home + "/")

    def take(self, word: str, value: str, place: Text) -> None:
        """Take one word with what stands behind it."""
        line = f"{word} {value}".rstrip()
        if any(line.startswith(ignored) for ignored in self.ignored):
            return
        if word == "ignore":
            self.ignored.append(value)
        elif word == "include":
            self.include(value, place)
        elif word.startswith("?"):
            self.told.leave(place, line, "a condition: nobody asks whether it holds")
        elif handler := _HANDLERS.get(word):
            handler(self, value, place, line)
        elif word in ("blacklist", "blacklist-nolog"):
            if self.is_home(value) or value.lstrip("/").split("/")[0] not in _HIDDEN:
                self.told.leave(place, line, NOT[word])
        elif word not in ALWAYS:
            self.told.leave(place, line, NOT.get(word, NO_KEY))

    def include(self, value: str, place: Text) -> None:
        """Read another profile; .local files, where administrators change what is shipped, may be missing."""
        name = value.replace("${CFG}", _DIRECTORY)
        if self.is_home(name):
            self.told.leave(place, f"include {value}", "the account itself can change it")
            return
        path = name if name.startswith("/") else f"{_DIRECTORY}/{name}"
        self.profiles += 1
        if self.profiles > written.MOST_FILES:
            raise unreadable(place.source, place.line, f"more than {written.MOST_FILES} profiles")
        if os.path.exists(self.subject.root + path) or not path.endswith(".local"):
            self.profile(path)

    def profile(self, path: str) -> None:
        """Take the lines of a profile."""
        source = written.read(self.subject.root + path)
        for number, line in written.lines(source):
            word, _, value = _COMMENT.sub("", line).partition(" ")
            self.take(word, value.strip(), Text(line, number, 1, source))

    def private(self, value: str, place: Text, line: str) -> None:
        """Have another home: one in memory, or a directory."""
        self.told.apart = True
        if value:
            path = self.path(value)
            if not path:
                raise unreadable(place.source, place.line, f"found {quoted(line)}", "an absolute path")
            self.told.home = path

    def private_home(self, _value: str, place: Text, line: str) -> None:
        self.told.apart = True
        self.told.leave(
            place,
            line,
            "a home in memory begins empty; home: {source: DIRECTORY, skel: ...} is one that stays",
        )

    def whitelist(self, value: str, place: Text, line: str) -> None:
        path = self.path(value)
        if not path:
            self.told.leave(place, line, "a pattern or a macro: name the files in volumes")
        elif path == self.home or path.lstrip("/").split("/")[0] in (
            "usr",
            "bin",
            "lib",
            "lib64",
            "proc",
            "sys",
            "dev",
        ):
            return
        else:
            self.listed[path] = place, line.startswith("whitelist-ro")

    def read_only(self, value: str, place: Text, line: str) -> None:
        path = self.path(value)
        if path == self.home:
            self.told.read_only = True
        elif path in self.listed:
            self.listed[path] = self.listed[path][0], True
        elif not path or self.is_home(path):
            self.told.leave(place, line, "a home is read-only as a whole, or writable")

    def net(self, value: str, place: Text, line: str) -> None:
        if value == "none":
            self.told.set("network_mode", place, "none", line, word=False)
        else:
            self.told.leave(place, line, _ADDRESS)

    def seccomp(self, value: str, place: Text, line: str) -> None:
        for call in filter(None, value.split(",")):
            if call[0] in "@!" or ":" in call:
                self.told.leave(
                    place,
                    f"{line}: {call}",
                    "the profile default refuses what containers refuse; allow and deny name calls",
                )
            else:
                self.told.draft.entry("seccomp.deny", text_at(place, call), line)

    def action(self, value: str, place: Text, line: str) -> None:
        if value in _ACTIONS:
            self.told.set("seccomp.on_violation", place, _ACTIONS[value], line, word=False)
        else:
            self.told.leave(place, line, "the error is EPERM")

    def limit(self, value: str, place: Text, line: str) -> None:
        name = line.split(" ", maxsplit=1)[0].removeprefix("rlimit-")
        self.told.draft.named("ulimits", text_at(place, name), text_at(place, value), line)

    def timeout(self, value: str, place: Text, line: str) -> None:
        match = _TIME.fullmatch(value)
        if match is None:
            raise unreadable(place.source, place.line, f"found {quoted(line)}", "timeout HH:MM:SS")
        hours, minutes, seconds = map(int, match.groups())
        told = hours * 3600 + minutes * 60 + seconds
        self.told.set("sessions.max_duration", place, f"{told}s", line, word=False)

    def environment(self, value: str, place: Text, line: str) -> None:
        name, _, text = value.partition("=")
        self.told.draft.named("environment", text_at(place, name), text_at(place, text), line)

    def hostname(self, value: str, place: Text, line: str) -> None:
        self.told.set("hostname", place, value.replace("%", "%%"), line, word=False)

    def tmpfs(self, value: str, place: Text, line: str) -> None:
        self.told.draft.entry("tmpfs", text_at(place, self.path(value).replace("%", "%%")), line)

    def finish(self) -> None:
        """Bind what is listed: where something of a home is, nothing else of it stays."""
        if any(self.is_home(path) for path in self.listed):
            self.told.apart = True
        for path, (place, read_only) in self.listed.items():
            name = f"whitelist {path}"
            self.told.bind_if_there(place, self.subject.root, path, name, read_only=read_only)


_HANDLERS = {
    "env": _Reader.environment,
    "hostname": _Reader.hostname,
    "net": _Reader.net,
    "private": _Reader.private,
    "private-home": _Reader.private_home,
    "read-only": _Reader.read_only,
    "seccomp": _Reader.seccomp,
    "seccomp.drop": _Reader.seccomp,
    "seccomp-error-action": _Reader.action,
    "timeout": _Reader.timeout,
    "tmpfs": _Reader.tmpfs,
    "whitelist": _Reader.whitelist,
    "whitelist-ro": _Reader.whitelist,
    **{f"rlimit-{name}": _Reader.limit for name in _LIMITS},
}


def read(subject: Subject) -> Told:
    """Return what firejail lets an account do. Raises PolicyError for a profile that is not there."""
    users = subject.root + _USERS
    source = written.read(users if os.path.exists(users) else f"{subject.root}{_DIRECTORY}/{_DEFAULT}")
    told = Told(source)
    reader = _Reader(told, subject)
    words = list(_arguments(source, subject)) if source.path == users else []
    named = [value for word, value, _ in words if word == "profile"]
    # As on the command line: its words hold before those of a profile, ignore among them.
    for word, value, place in words:
        if word not in ("profile", "noprofile", "debug"):
            reader.take(word, value, place)
    own = f"{subject.account.home}/{_OWN}/{_DEFAULT}"
    if os.path.lexists(subject.root + own):
        told.leave(told.whole, own, "the account itself can change it")
    if not any(word == "noprofile" for word, _, _ in words):
        for name in named or [_DEFAULT]:
            path = name if "/" in name or name.endswith(".profile") else f"{name}.profile"
            reader.include(path, told.whole)
    reader.finish()
    told.gives_a_shell(told.whole, "a shell")
    return told


def _arguments(source: Source, subject: Subject) -> Iterator[tuple[str, str, Text]]:
    """Yield the options of the first line that is the account's, names being patterns (firejail-login(5))."""
    for number, line in written.lines(source):
        name, colon, arguments = line.partition(":")
        if not colon:
            raise unreadable(source, number, f"found {quoted(line)}", "NAME: ARGUMENTS")
        if not fnmatch.fnmatchcase(subject.account.name, name.strip()):
            continue
        try:
            words = shlex.split(arguments)
        except ValueError:
            raise unreadable(source, number, f"found {quoted(line)}", "closed quotes") from None
        for word in words:
            if not word.startswith("--"):
                raise unreadable(source, number, f"found {quoted(word)}", "--OPTION or --OPTION=VALUE")
            option, _, value = word[2:].partition("=")
            yield option, value, Text(line, number, 1, source)
        return

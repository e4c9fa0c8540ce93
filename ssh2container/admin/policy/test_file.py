"""Policy tests as YAML: users, what each can do and what each cannot.

alice:
can: [login, sftp put /submit/x, run make test]
cannot: [connect 10.0.0.1:22, read /srv/other]
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ssh2container.admin.policy.types import lists
from ssh2container.admin.policy.types.keys import Fingerprint
from ssh2container.admin.policy.types.kinds import INVALID, Report
from ssh2container.admin.policy.types.scalars import Text
from ssh2container.admin.policy.yaml import files, nodes
from ssh2container.admin.policy.yaml.nodes import Mapping
from ssh2container.admin.policy.yaml.problems import PolicyError, did_you_mean, quoted

if TYPE_CHECKING:
    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.admin.policy.yaml.nodes import Node, Scalar

_PATH = r"(?!-)[^\s\"'\\]+"
_ABSOLUTE = r"/[^\n]*"
_COMMAND = r"[^\n]+"

ACTIONS = {
    "login": ("", "", "get what a login without a command gets: the shell, or the menu"),
    "run": ("COMMAND", _COMMAND, "run a command as a client sends it, and see it end with status 0"),
    "sftp list": ("PATH", _PATH, "list a directory by sftp"),
    "sftp get": ("PATH", _PATH, "fetch a file by sftp"),
    "sftp put": ("PATH", _PATH, "store a new file by sftp"),
    "sftp remove": ("PATH", _PATH, "remove a file by sftp; the test makes the file on the host first"),
    "sftp rename": ("PATH", _PATH, "rename a file by sftp; the test makes the file on the host first"),
    "sftp mkdir": ("PATH", _PATH, "make a directory by sftp"),
    "scp get": ("PATH", _PATH, "fetch a file by scp's own protocol (scp -O)"),
    "scp put": ("PATH", _PATH, "store a new file by scp's own protocol (scp -O)"),
    "rsync get": ("PATH", _PATH, "fetch a file by rsync"),
    "rsync put": ("PATH", _PATH, "store a new file by rsync"),
    "git fetch": ("PATH", _PATH, "read a repository's references"),
    "git push": ("PATH", _PATH, "push to a repository (a dry run, which changes nothing)"),
    "read": ("PATH", _ABSOLUTE, "open a file for reading, from inside"),
    "write": ("PATH", _ABSOLUTE, "open or make a file for writing, from inside"),
    "list": ("PATH", _ABSOLUTE, "list a directory, from inside"),
    "execute": ("PATH", _ABSOLUTE, "find a program that may be executed, from inside"),
    "connect": ("HOST:PORT", r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", "connect by TCP, from inside"),
    "listen": ("PORT", r"[0-9]{1,5}", "listen on a TCP port of the loopback address, from inside"),
    "resolve": ("NAME", r"[A-Za-z0-9._-]+", "find an address of a name, from inside"),
    "ping": (
        "HOST",
        r"\[?[0-9a-fA-F:]+\]?|[A-Za-z0-9.-]+",
        "send an echo request and get an answer, from inside",
    ),
}
"""Name -> (argument, its form, what counts as "can")."""


_FINGERPRINT = Fingerprint()


class Promise:
    """One line of a policy test.

    user: whose sessions. key: the fingerprint of the key that they log in with, "" for none.
    allowed: under "can". action, argument: what is tried. place: FILE:LINE.
    """

    __slots__ = ("action", "allowed", "argument", "key", "place", "user")

    def __init__(
        self, user: str, action: str, argument: str, place: str, *, allowed: bool, key: str = ""
    ) -> None:
        self.user = user
        self.key = key
        self.allowed = allowed
        self.action = action
        self.argument = argument
        self.place = place

    def __str__(self) -> str:
        verb = "can" if self.allowed else "cannot"
        with_key = f" with {self.key}" if self.key else ""
        return f"{self.user}{with_key} {verb} {self.action} {self.argument}".rstrip()


def read(path: str) -> list[Promise]:
    """Read one file of policy tests. Raises PolicyError with all errors in it, FileNotFoundError."""
    source = files.read_any(path)
    return parse(source)


def parse(source: Source) -> list[Promise]:
    """Return the promises of a file that was read. Raises PolicyError with all errors in it."""
    tree = nodes.parse(source)
    report = Report(source, tree.problems)
    promises: list[Promise] = []
    for user, value in tree.root.pairs:
        if isinstance(value, Mapping):
            given = [_FINGERPRINT.read(listed, report) for key, listed in value.pairs if key.text == "key"]
            for key, listed in value.pairs:
                if key.text != "key":
                    found = _listed(user.text, key, listed, report)
                    for promise in found:
                        promise.key = "".join(text for text in given if text is not INVALID)
                    promises += found
        else:
            report.fail(
                value, f"{value.found} instead of a map", "a map with can and cannot, and perhaps key"
            )
    if report.problems:
        raise PolicyError(report.problems)
    return promises


def _listed(user: str, key: Scalar, listed: Node, report: Report) -> list[Promise]:
    if key.text not in ("can", "cannot"):
        hint = did_you_mean(key.text, ("can", "cannot", "key"))
        report.fail(key, f"unknown key {quoted(key.text)}", "can, cannot, key", hint)
        return []
    items = lists.entries(listed, report, "an action, or a list of them") or []
    found = [_promise(user, item, report, allowed=key.text == "can") for item in items]
    return [promise for promise in found if promise is not None]


def _promise(user: str, item: Node, report: Report, *, allowed: bool) -> Promise | None:
    text = Text("an action").read(item, report)
    if text is INVALID:
        return None
    action = max((name for name in ACTIONS if (text + " ").startswith(name + " ")), key=len, default="")
    if not action:
        words = " ".join(text.split()[:2])
        hint = did_you_mean(words, ACTIONS)
        report.fail(item, f"unknown action {quoted(text)}", ", ".join(ACTIONS), hint)
        return None
    argument = text[len(action) :].strip()
    shown, form, _ = ACTIONS[action]
    if not re.fullmatch(form, argument):
        report.fail(item, f"found {quoted(text)}", f"{action} {shown}".rstrip())
        return None
    place = f"{report.source.path}:{item.line}"
    return Promise(user, action, argument, place, allowed=allowed)

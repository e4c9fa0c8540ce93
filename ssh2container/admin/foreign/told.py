"""What the configuration of another project says of one account, on its way to a policy."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssh2container.admin.convert.draft import Draft
from ssh2container.admin.convert.notes import Notes, in_order, line_of
from ssh2container.admin.convert.tree import Text, error, map_at, text_at

if TYPE_CHECKING:
    from ssh2container.admin.account import Account
    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.admin.policy.yaml.nodes import Node

_COMMANDS = re.compile(r"^( *commands:)$", re.MULTILINE)
"""The line that opens the list of commands; entries of a list add up from file to file."""
_LONGEST_NAME = 60
MISSING = "it is not there, and a session whose volume is missing is refused"
NO_KEY = "no key of a policy is that"
OWN_PLACE = "a container has its own; name what is needed of the host's in volumes"
NO_SFTP = "it is said of sftp alone, which is not served"
SCP_IS_SFTP = "scp of OpenSSH 9 speaks sftp, and works, too"
SCP_IS_NOT_SFTP = "scp of OpenSSH 9 speaks sftp, which is not served: its users say scp -O"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose configuration is read.

    forced, chroot: what sshd forces on the account, and where it locks it in, as its configuration has them;
    "" for nothing. profile: what the policy extends, "" for nothing. root: what stands before each path.
    """

    account: Account
    forced: str = ""
    chroot: str = ""
    profile: str = ""
    root: str = ""


class Told:
    """The settings, the notes, and what becomes of the home.

    source: the file that decides about the account, for what has no line of its own.
    apart: whether the account's home on the host stays where it is, as sessions did not see it either.
    read_only: whether that home cannot be written to.
    home: the directory of the host that was the home of sessions then, "" for one in memory.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.notes = Notes(source)
        self.draft = Draft(self.notes)
        self.apart = False
        self.home = ""
        self.read_only = False

    @property
    def whole(self) -> Text:
        """Return the place of what is said by no line: the file."""
        return Text("", 0, 0, self.source)

    def set(self, key: str, node: Node, text: str, name: str, *, word: bool = True) -> bool:
        """Give the setting ``key`` a value; see :meth:`Draft.set`. word: it is true, false, or a name."""
        return self.draft.set(key, text_at(node, text, plain=word), name)

    def command(self, node: Node, text: str, name: str) -> bool:
        """Let clients run a program, or one whole command where ``text`` has more than one word."""
        value: Node = text_at(node, text)
        if len(text.split()) > 1:
            value = map_at(node, exact=text_at(node, text))
        return self.draft.entry("access.commands", value, name)

    def bind(self, node: Node, source: str, target: str, name: str, *, read_only: bool) -> bool:
        """Bind a file or a directory of the host."""
        paths = {key: text_at(node, path.replace("%", "%%")) for key, path in
                 (("source", source), ("target", target))}  # fmt: skip
        value = map_at(node, **paths, read_only=text_at(node, str(read_only).lower(), plain=True))
        return self.draft.entry("volumes", value, name)

    def leave(self, node: Node, key: str, why: str) -> None:
        """Say that the policy does not have ``key``."""
        self.notes.leave(node, shortened(key), why)

    def differ(self, node: Node, key: str, why: str) -> None:
        """Say that ``key`` means something else in the policy."""
        self.notes.differ(node, shortened(key), why)

    def bind_if_there(self, node: Node, root: str, path: str, name: str, *, read_only: bool) -> None:
        """Bind a path where it was, if the host has it; root: what stands before the paths of the host."""
        if os.path.lexists(root + path):
            self.bind(node, path, path, name, read_only=read_only)
        else:
            self.leave(node, name, MISSING)

    def gives_a_shell(self, node: Node, name: str) -> None:
        """Let clients do what a shell lets them do: commands and transfers, too."""
        for key in ("access.interactive", "access.sftp"):
            self.set(key, node, "true", name)
        self.set("access.commands", node, "any", name, word=False)

    def only_transfers(self, node: Node) -> None:
        """Let nobody have a shell, nor a command that is not named."""
        self.set("access.interactive", node, "false", "a shell")
        if not self.draft.has("access.commands"):
            self.set("access.commands", node, "none", "commands", word=False)

    def lines(self) -> list[str]:
        """Return the settings as lines of YAML that hold whatever files below say."""
        text = "\n".join(self.draft.lines())
        return _COMMANDS.sub(r"\1 !override", text).split("\n") if text else []

    def left_out(self) -> tuple[str, ...]:
        """Return what the policy does not have, each with its place and why."""
        return tuple(line_of(note) for note in in_order(self.notes.left_out))

    def differs(self) -> tuple[str, ...]:
        """Return what the policy has and means otherwise, each with its place."""
        return tuple(line_of(note) for note in in_order(self.notes.differs))


def shortened(key: str) -> str:
    """Return what stands in a file, short enough for a line."""
    key = " ".join(key.split())
    return key if len(key) <= _LONGEST_NAME else key[: _LONGEST_NAME - 1] + "…"


def unreadable(source: Source, line: int, message: str, allowed: str = "", hint: str = "") -> Exception:
    """Return the error of a configuration that does not say what its own project could follow."""
    return error(Text("", line, 1 if line else 0, source), message, allowed, hint)

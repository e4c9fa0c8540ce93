"""Which program the payload executes: the policy's answer to the client's request."""

from __future__ import annotations

import os

from ssh2container.errors import Refusal
from ssh2container.policy import commands, specifiers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssh2container.policy.policy import Policy, Sftp

    from .request import Request

SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/sftp-server",
    "/usr/lib/misc/sftp-server",
)
"""Where distributions keep it; what the client or sshd asked for is a path of the host."""


class Program:
    """What to execute.

    attempts: (path, argument vector) pairs; the first whose file exists is executed.
    umask: the mode mask to set before, or None to leave the caller's.
    """

    __slots__ = ("attempts", "umask")

    def __init__(self, attempts: tuple[tuple[str, tuple[bytes, ...]], ...], umask: int | None = None) -> None:
        self.attempts = attempts
        self.umask = umask

    def describe(self) -> str:
        """Say in one line what is executed."""
        path, arguments = self.attempts[0]
        shown = " ".join(os.fsdecode(argument) for argument in arguments)
        others = f", or the next of {len(self.attempts)} places" if len(self.attempts) > 1 else ""
        return f"execute {path} as: {shown}{others}"


def choose(request: Request, policy: Policy, path: str, values: Mapping[str, str]) -> Program:
    """Return what the policy runs for ``request``; ``path`` is the session's PATH.

    Raises Refusal for what the policy does not allow.
    """
    access = policy.access
    if request.kind == "sftp":
        if access.sftp is None:
            raise _refusal("sftp is not allowed here", "access.sftp is false", access.message)
        return _sftp_server(access.sftp, values)
    if request.kind == "login":
        if access.interactive is False:
            raise _refusal("a shell is not allowed here", "access.interactive is false", access.message)
        if access.interactive is not True:
            words = [os.fsencode(specifiers.expand(word, values)) for word in access.interactive]
            return _on_path(words, path)
        return Program(
            tuple((shell, (b"-" + os.fsencode(os.path.basename(shell)),)) for shell in policy.shell)
        )
    decided = commands.decide(request.command, access)
    if decided is None:
        return Program(
            tuple(
                (shell, (os.fsencode(os.path.basename(shell)), b"-c", request.command))
                for shell in policy.shell
            )
        )
    return _on_path(decided, path)


def _on_path(words: Sequence[bytes], path: str) -> Program:
    name = os.fsdecode(words[0])
    if "/" in name:
        return Program(((name, tuple(words)),))
    return Program(tuple((f"{directory}/{name}", tuple(words)) for directory in path.split(":") if directory))


def _sftp_server(sftp: Sftp, values: Mapping[str, str]) -> Program:
    arguments = [b"sftp-server"]
    if sftp.read_only:
        arguments.append(b"-R")
    if sftp.umask is not None:
        arguments += [b"-u", b"%03o" % sftp.umask]
    if sftp.start_directory:
        arguments += [b"-d", os.fsencode(specifiers.expand(sftp.start_directory, values))]
    if sftp.deny:
        arguments += [b"-P", ",".join(sftp.deny).encode()]
    return Program(tuple((server, tuple(arguments)) for server in SFTP_SERVERS), sftp.umask)


def _refusal(what: str, why: str, message: str) -> Refusal:
    return Refusal(what, why, message, "access")

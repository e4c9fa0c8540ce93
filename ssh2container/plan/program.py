"""Which program the payload executes: the policy's answer to the client's request."""

from __future__ import annotations

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.policy import commands, specifiers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssh2container.policy.policy import Access, Policy, Sftp

    from .image import Image
    from .request import Request
    from .tools import Tools

    Attempt = tuple[str, tuple[bytes, ...]]

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

    attempts: (path, argument vector) pairs; the first whose file exists is executed. Words may
    carry a file name pattern (``policy.commands.Word``), which is expanded inside.
    umask: the mode mask to set before, or None to leave the caller's.
    environment: what this program needs beside the session's own.
    """

    __slots__ = ("attempts", "environment", "umask")

    def __init__(
        self,
        attempts: Sequence[Attempt],
        umask: int | None = None,
        environment: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.attempts = tuple(attempts)
        self.umask = umask
        self.environment = environment or {}

    def describe(self) -> str:
        """Say in one line what is executed."""
        path, arguments = self.attempts[0]
        shown = " ".join(paths.fsdecode(argument) for argument in arguments)
        others = f", or the next of {len(self.attempts)} places" if len(self.attempts) > 1 else ""
        return f"execute {path} as: {shown}{others}"


class Chooser:
    """Chooses the program of one session.

    path: the session's PATH. values: what specifiers stand for. tools: the host's transfer
    programs, for images that lack them; None where none are needed or built.
    """

    def __init__(
        self, policy: Policy, image: Image, path: str, values: Mapping[str, str], tools: Tools | None
    ) -> None:
        self._policy = policy
        self._image = image
        self._path = path
        self._values = values
        self._tools = tools

    def choose(self, request: Request) -> Program:
        """Return what the policy runs for ``request``; raises Refusal for what it does not allow."""
        access = self._policy.access
        if request.kind == "sftp":
            if access.sftp is None:
                raise _refusal("sftp is not allowed here", "access.sftp is false", access)
            return self._sftp_server(access.sftp)
        if request.kind == "login":
            return self._login()
        decided = commands.decide(request.command, access)
        if decided is not None:
            return self._words(decided)
        return self._transfer(request.command) or self._shell(b"-c", request.command)

    def _login(self) -> Program:
        interactive = self._policy.access.interactive
        if interactive is False:
            raise _refusal("a shell is not allowed here", "access.interactive is false", self._policy.access)
        if interactive is not True:
            return self._words(
                [paths.fsencode(specifiers.expand(word, self._values)) for word in interactive]
            )
        attempts: list[Attempt] = [
            (shell, (b"-" + paths.fsencode(paths.basename(shell)),)) for shell in self._policy.shell
        ]
        if self._image.command:
            # An image without any of these shells says itself what runs in it.
            own = tuple(paths.fsencode(word) for word in self._image.command)
            attempts += [(path, own) for path in self._places(self._image.command[0])]
        return Program(attempts)

    def _shell(self, *arguments: bytes) -> Program:
        return Program(
            [(shell, (paths.fsencode(paths.basename(shell)), *arguments)) for shell in self._policy.shell]
        )

    def _words(self, words: Sequence[bytes]) -> Program:
        name = paths.fsdecode(words[0])
        return self._injected(name, tuple(words[1:])) or Program(
            [(path, tuple(words)) for path in self._places(name)]
        )

    def _places(self, name: str) -> list[str]:
        if "/" in name:
            return [name]
        return [f"{directory}/{name}" for directory in self._path.split(":") if directory]

    def _sftp_server(self, sftp: Sftp) -> Program:
        arguments = _sftp_flags(sftp, self._values)
        if self._policy.record.transfers != "none":
            arguments = (b"-e", b"-l", b"INFO", *arguments)
        own = dict(self._image.programs).get("sftp-server")
        servers = (own,) if own else SFTP_SERVERS
        program = self._injected("sftp-server", arguments) or Program(
            [(server, (b"sftp-server", *arguments)) for server in servers]
        )
        program.umask = sftp.umask
        return program

    def _transfer(self, command: bytes) -> Program | None:
        """Return the host's program for a plain transfer command that the image cannot run."""
        name = paths.fsdecode(command.split(None, 1)[0]) if command.split() else ""
        if self._injected(name, ()) is None:
            return None
        try:
            words = commands.split(command)
        except Refusal:
            return None  # more than words: the image's shell decides
        return self._injected(name, tuple(words[1:]))

    def _injected(self, name: str, arguments: tuple[bytes, ...]) -> Program | None:
        """Return the host's ``name`` with ``arguments``, None where the image has its own."""
        if self._tools is None or name in dict(self._image.programs):
            return None
        start = self._tools.start(name, arguments)
        return Program([start[:2]], environment=start[2]) if start else None


def _sftp_flags(sftp: Sftp, values: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the switches of sftp-server(8) that enforce the policy."""
    arguments: list[bytes] = []
    if sftp.read_only:
        arguments.append(b"-R")
    if sftp.umask is not None:
        arguments += [b"-u", b"%03o" % sftp.umask]
    if sftp.start_directory:
        arguments += [b"-d", paths.fsencode(specifiers.expand(sftp.start_directory, values))]
    if sftp.deny:
        arguments += [b"-P", ",".join(sftp.deny).encode()]
    return tuple(arguments)


def _refusal(what: str, why: str, access: Access) -> Refusal:
    return Refusal(what, why, commands.offered(access), "access")

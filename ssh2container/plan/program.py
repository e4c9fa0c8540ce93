"""Which program the payload executes: the policy's answer to the client's request."""

from __future__ import annotations

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel.script import PROTOCOL
from ssh2container.policy import commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssh2container.policy.policy import Access, Policy, Sftp

    from .host import Host
    from .request import Request

    Attempt = tuple[str, tuple[bytes, ...]]

SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/ssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/sftp-server",
    "/usr/lib/misc/sftp-server",
)
"""Where distributions keep it; what the client or sshd asked for is a path of the host."""
ONLY_NEW, NOTHING_OLD, MODES_ONLY = (
    bytes((PROTOCOL[name],)) for name in ("ONLY_NEW", "NOTHING_OLD", "MODES_ONLY")
)
"""Opened for writing it has to be new; opened at all it has to be; nothing (``native/init/uploads.c``)."""
_KEY_FILE = b".ssh/authorized_keys"
OWN_KEYS = b"SSH2CONTAINER_OWN_KEYS"
"""What the drop-in sets: for whom it has sshd look for keys in kept homes."""
_CHANGES = ("setstat", "lsetstat", "posix-rename")
"""Requests that change what exists, besides those that open it."""


class Program:
    """What to execute.

    attempts: (path, argument vector) pairs; the first whose file exists is executed. Words may
    carry a file name pattern (``policy.commands.Word``), which is expanded inside.
    umask: the mode mask to set before, or None to leave the caller's.
    uploads: one of those above where requests of sftp are changed so, and the modes that they set held to
    the umask; b"" where they are not.
    environment: what this program needs beside the session's own.
    """

    __slots__ = ("attempts", "environment", "umask", "uploads")

    def __init__(
        self,
        attempts: Sequence[Attempt],
        umask: int | None = None,
        environment: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.attempts = tuple(attempts)
        self.umask = umask
        self.uploads = b""
        self.environment = environment or {}

    def mask(self) -> bytes:
        """Return the umask and what is held against uploads, as pid 1 reads them."""
        return (b"" if self.umask is None else b"%d" % self.umask) + self.uploads

    def describe(self) -> str:
        """Say in one line what is executed."""
        path, arguments = self.attempts[0]
        shown = " ".join(paths.fsdecode(argument) for argument in arguments)
        others = f", or the next of {len(self.attempts)} places" if len(self.attempts) > 1 else ""
        rules = []
        if self.uploads in (ONLY_NEW, NOTHING_OLD):
            rules.append("lets it only make new files")
        if self.uploads and self.umask is not None:
            rules.append(f"holds all modes to umask {self.umask:03o}")
        behind = f", behind what {' and '.join(rules)}" if rules else ""
        return f"execute {path} as: {shown}{others}{behind}"


class Chooser:
    """Chooses the program of one session.

    path: the session's PATH. given: the environment that the caller handed to the login shell.
    """

    def __init__(self, policy: Policy, host: Host, path: str, given: Mapping[bytes, bytes]) -> None:
        self._policy = policy
        self._host = host
        self._image = host.image
        self._path = path
        self._given = given

    def choose(self, request: Request) -> Program:
        """Return what the policy runs for ``request``; raises Refusal for what it does not allow."""
        access = self._policy.access
        if access.command is not None:
            return self._words([paths.fsencode(word) for word in access.command])
        if request.kind == "sftp":
            if access.sftp is None:
                raise _refusal("sftp is not allowed here", "access.sftp is false", access)
            return self._sftp_server(access.sftp)
        if request.kind == "login":
            return self._login()
        if request.kind != "command":
            from . import forwarding

            flags = () if access.sftp is None else _sftp_flags(access.sftp)
            attempts, added = forwarding.choose(request, self._policy, self._host, self._given, flags)
            return Program(attempts, environment=added)
        decided = commands.decide(request.command, access)
        if decided is not None:
            return self._words(decided)
        return self._transfer(request.command) or self._shell(b"-c", request.command)

    def _login(self) -> Program:
        interactive = self._policy.access.interactive
        if interactive is False:
            raise _refusal("a shell is not allowed here", "access.interactive is false", self._policy.access)
        if interactive is not True:
            return self._words([paths.fsencode(word) for word in interactive])
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
        arguments = _sftp_flags(sftp)
        if self._policy.record.transfers != "none":
            arguments = (b"-e", b"-l", b"INFO", *arguments)
        own = dict(self._image.programs).get("sftp-server")
        servers = (own,) if own else SFTP_SERVERS
        program = self._injected("sftp-server", arguments) or Program(
            [(server, (b"sftp-server", *arguments)) for server in servers]
        )
        program.umask = sftp.umask
        if not sftp.overwrite:
            # Where nothing can be read there is no reason to open what exists.
            program.uploads = NOTHING_OLD if "read" in sftp.deny else ONLY_NEW
        elif sftp.umask and not sftp.read_only:
            program.uploads = MODES_ONLY
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
        if self._host.tools is None or name in dict(self._image.programs):
            return None
        start = self._host.tools.start(name, arguments)
        return Program([start[:2]], environment=start[2]) if start else None


def _sftp_flags(sftp: Sftp) -> tuple[bytes, ...]:
    """Return the switches of sftp-server(8) that enforce the policy."""
    arguments: list[bytes] = []
    if sftp.read_only:
        arguments.append(b"-R")
    if sftp.umask is not None:
        arguments += [b"-u", b"%03o" % sftp.umask]
    if sftp.start_directory:
        arguments += [b"-d", paths.fsencode(sftp.start_directory)]
    denied = dict.fromkeys(sftp.deny)
    if not sftp.overwrite:
        denied.update(dict.fromkeys(_CHANGES))
        if "read" not in sftp.deny:
            denied["fsetstat"] = None
    if denied:
        arguments += [b"-P", ",".join(denied).encode()]
    return tuple(arguments)


def _refusal(what: str, why: str, access: Access) -> Refusal:
    return Refusal(what, why, commands.offered(access), "access")


def refuse_lost_key(request: Request, policy: Policy, name: str, given: Mapping[bytes, bytes]) -> None:
    """Refuse what ssh-copy-id asks for: it would say that the key was added, and no login would ever use it.

    sshd looks for keys in the host's home, which a session does not see unless its policy binds it.
    """
    adds = _KEY_FILE in request.command and b">>" in request.command
    if not adds or request.kind != "command" or policy.unsafe_host_home:
        return
    if policy.authorized_keys == "home":
        if name not in paths.fsdecode(given.get(OWN_KEYS, b"")).split(","):
            raise Refusal(
                "cannot add a key",
                "sshd does not look for keys in the kept home yet, as authorized_keys: home says",
                "an administrator runs: ssh2containerctl sshd-config --write --reload",
                "keys",
            )
        return
    raise Refusal(
        "cannot add a key",
        "sshd does not look for keys in the home that a session sees",
        "send the public key to the administrator, who adds it to a file of AuthorizedKeysFile",
        "keys",
    )

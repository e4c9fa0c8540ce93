"""What the client asked for: a pure reading of how sshd, su or cron called the login shell."""

from __future__ import annotations

from ssh2container import paths
from ssh2container.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SENTINEL = b"ssh2container-session"
"""The fixed ForceCommand of our sshd_config block. Only with it does SSH_ORIGINAL_COMMAND decide
what runs: a client can send that variable itself where AcceptEnv is broad."""
MARK = b"SSH2CONTAINER_SSHD"
"""What the drop-in sets (SetEnv outdoes whatever a client sends): the patterns of AuthorizedKeysFile."""

RESERVED = b"ssh2container-"
"""What a request for something of ours begins with."""
JOB = b"ssh2container-job="
"""What systemd and cron ask for begins with where a job runs (``schedule``). From sshd it is a command like
others: no client becomes a job."""
FORWARDED = {b"ssh2container-sshd": "sshd", b"ssh2container-connect": "connect"}
"""First word -> kind of what leads into the container: an sshd there, a connection to a place there."""
INFO = b"ssh2container-info"
"""The word that asks what the user can do; the kind is "info"."""

_SFTP_PROGRAMS = (b"internal-sftp", b"sftp-server")
_TRANSFERS = (b"scp", b"rsync", b"git-upload-pack", b"git-receive-pack")
_SHELL_CHARACTERS = frozenset(b";&|<>()$`\\\"'*?[]{}~#!\n\r\0")

USAGE = "usage: ssh2container [-l | --login | -c COMMAND | --version | --help]"


class Request:
    """One call of the login shell.

    kind: "login" (a shell), "command", "sftp", or what is forwarded into the container: "sshd", "connect";
        "info" has none.
    command: the client's string, byte for byte; empty when kind is "login".
    forced: the client's own string when sshd's configuration, the key or the policy forced ``command``
        upon it; the payload finds it in SSH_ORIGINAL_COMMAND.
    job: the mark of the policy's job that it is, "" for anybody else's; its command is in the policy.
    by_key: whether the key has forced ``command``.
    """

    __slots__ = ("by_key", "command", "forced", "job", "kind")

    def __init__(
        self,
        kind: str,
        command: bytes = b"",
        forced: bytes | None = None,
        job: str = "",
        *,
        by_key: bool = False,
    ) -> None:
        self.kind, self.command, self.forced = kind, command, forced
        self.job = job
        self.by_key = by_key

    @classmethod
    def parse(cls, arguments: Sequence[bytes], environment: Mapping[bytes, bytes]) -> Request:
        """Read the arguments after the program's name. Raises Refusal for any other grammar."""
        original = environment.get(b"SSH_ORIGINAL_COMMAND")
        if list(arguments) in ([], [b"-l"], [b"--login"]):
            return cls("login")
        if len(arguments) == 2 and arguments[0] in (b"-c", b"-lc"):  # noqa: PLR2004
            command = arguments[1]
            job = command[len(JOB) :] if command.startswith(JOB) else b""
            if job and b"SSH_CONNECTION" not in environment:
                return cls("command", job=job.decode("ascii", "replace"))
            if command != SENTINEL:
                return cls(_kind(command), command, original)
            if original is None:
                return cls("login")
            return cls(_kind(original), original)
        shown = b" ".join(arguments)[:80].decode("utf-8", "replace")
        raise Refusal(f"cannot run with the arguments {shown!r}", "this is a login shell", USAGE, "request")

    @classmethod
    def is_sftp(cls, arguments: Sequence[bytes], environment: Mapping[bytes, bytes]) -> bool:
        """Tell whether the client at the other end speaks SFTP, whatever else is wrong with the call."""
        try:
            return cls.parse(arguments, environment).kind == "sftp"
        except Refusal:
            return False

    @classmethod
    def of_command(cls, command: bytes, forced: bytes | None, *, by_key: bool = False) -> Request:
        """Return the request for a ``command`` that is not what sshd handed over; the rest: see the class."""
        return cls(_kind(command), command, forced, by_key=by_key)

    def under(self, words: Sequence[str] | None) -> Request:
        """Return the request under a policy that forces ``words`` (``access.command``), itself for None.

        It outdoes the command of a key, as sshd's ForceCommand does.
        """
        if words is None:
            return self
        original = self.forced
        if original is None and not self.by_key and self.kind != "login":
            original = self.command
        return Request("command", b" ".join(map(paths.fsencode, words)), original)

    @property
    def transfers(self) -> bool:
        """Whether files are transferred, by names that mean the home where they are relative."""
        program = self.command.split(None, 1)[0] if self.command.strip() else b""
        return self.kind == "sftp" or program.rpartition(b"/")[2] in _TRANSFERS

    def __repr__(self) -> str:
        return f"Request({self.kind!r}, {self.command!r}, {self.forced!r})"


def _kind(command: bytes) -> str:
    """Tell the sftp subsystem from any other command.

    Distributions keep sftp-server in different directories: its name decides. A string with
    characters that a shell would act on is never taken for it.
    """
    if command.startswith(RESERVED):
        word = command.split(None, 1)[0]
        kind = "info" if word == INFO else FORWARDED.get(word)
        if kind is not None:
            return kind
    words = command.split()
    plain = not _SHELL_CHARACTERS.intersection(command)
    return "sftp" if plain and words and words[0].rpartition(b"/")[2] in _SFTP_PROGRAMS else "command"

"""What an administrator decided for one user, as plain values.

A :class:`Policy` is what is left when all layers are merged: complete, validated, in the
units of the kernel (bytes, seconds). Attribute names are the keys of the policy language
in their nesting: ``access.sftp.umask`` in YAML is ``policy.access.sftp.umask`` here.
There are no defaults in this module; they come with the first layer, from the declarations
in ``admin.language.settings``. Specifiers such as ``%u`` are still in the texts: the
planner expands them with ``policy.specifiers.expand``.
"""

# ruff: noqa: A002, FBT001 - arguments are named and typed as the keys of the language

from __future__ import annotations

import marshal
from _blake2 import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from .store import Site

    Values = Mapping[str, Any]
    """Setting key -> value, as ``policy.merge`` leaves it."""


class Value:
    """Base of the plain values: equal, hashable and printable by their slots."""

    __slots__: tuple[str, ...] = ()

    def fields(self) -> tuple[Any, ...]:
        """Return the values of all slots in their order."""
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(self.fields())

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({inside})"


class Origin(Value):
    """Where a value was written.

    file: path of the policy file.
    line: counted from 1.
    """

    __slots__ = ("file", "line")

    def __init__(self, file: str, line: int) -> None:
        self.file = file
        self.line = line

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Home(Value):
    """A home directory that outlives the session.

    source: directory on the host, with specifiers; None only until ``policy.rules`` refused it.
    skel: directory on the host that fills a new home, or None.
    read_only: whether the session may write to it.
    """

    __slots__ = ("read_only", "skel", "source")

    def __init__(self, source: str | None, skel: str | None, read_only: bool) -> None:
        self.source = source
        self.skel = skel
        self.read_only = read_only


class Volume(Value):
    """A file or directory of the host, bound at ``target``; both with specifiers."""

    __slots__ = ("read_only", "source", "target")

    def __init__(self, source: str, target: str, read_only: bool) -> None:
        self.source = source
        self.target = target
        self.read_only = read_only


class Storage(Value):
    """The one memory file system that holds everything writable: ``size`` in bytes, ``inodes``."""

    __slots__ = ("inodes", "size")

    def __init__(self, size: int, inodes: int) -> None:
        self.size = size
        self.inodes = inodes


class Tmpfs(Value):
    """An additional memory file system: ``size`` in bytes, ``mode`` as in chmod(2)."""

    __slots__ = ("mode", "size", "target")

    def __init__(self, target: str, size: int, mode: int) -> None:
        self.target = target
        self.size = size
        self.mode = mode


class Command(Value):
    """One entry of ``access.commands``.

    words: the program, or all words of an exact command.
    exact: whether the client may add nothing to ``words``.
    """

    __slots__ = ("exact", "words")

    def __init__(self, words: tuple[str, ...], exact: bool) -> None:
        self.words = words
        self.exact = exact

    def __str__(self) -> str:
        return " ".join(self.words)


class Sftp(Value):
    """What sftp, and scp over it, may do.

    umask: as in umask(2), or None for the session's own.
    start_directory: inside the container, with specifiers, or None for the home.
    deny: names of requests as ``sftp-server -P`` knows them.
    """

    __slots__ = ("deny", "read_only", "start_directory", "umask")

    def __init__(
        self,
        read_only: bool,
        umask: int | None,
        start_directory: str | None,
        deny: tuple[str, ...],
    ) -> None:
        self.read_only = read_only
        self.umask = umask
        self.start_directory = start_directory
        self.deny = deny


class Access(Value):
    """What the user may ask of the session.

    login: False is a suspended account.
    interactive: True the shell, False nothing, or the words that run instead of the shell.
    commands: "any", "none" or the listed commands.
    sftp: None when sftp is refused.
    message: shown with every refusal, "" when there is none.
    """

    __slots__ = ("commands", "interactive", "login", "message", "sftp")

    def __init__(
        self,
        login: bool,
        interactive: bool | tuple[str, ...],
        commands: Literal["any", "none"] | tuple[Command, ...],
        sftp: Sftp | None,
        message: str,
    ) -> None:
        self.login = login
        self.interactive = interactive
        self.commands = commands
        self.sftp = sftp
        self.message = message


class Port(Value):
    """A published port: host ``address`` and ``published`` port reach ``target`` inside."""

    __slots__ = ("address", "protocol", "published", "target")

    def __init__(self, address: str, published: int, target: int, protocol: str) -> None:
        self.address = address
        self.published = published
        self.target = target
        self.protocol = protocol


class Egress(Value):
    """A destination that the session may reach.

    to: a network in CIDR notation.
    ports: inclusive (first, last) pairs; empty for all ports.
    protocol: "tcp", "udp" or "any".
    """

    __slots__ = ("ports", "protocol", "to")

    def __init__(self, to: str, ports: tuple[tuple[int, int], ...], protocol: str) -> None:
        self.to = to
        self.ports = ports
        self.protocol = protocol


class Network(Value):
    """A link-layer interface on a bridge of the host: addresses with prefix, gateway or None."""

    __slots__ = ("bridge", "gateway", "ipv4_address")

    def __init__(self, bridge: str, ipv4_address: str | None, gateway: str | None) -> None:
        self.bridge = bridge
        self.ipv4_address = ipv4_address
        self.gateway = gateway


class Sessions(Value):
    """Limits over the user's sessions: a count, and times in seconds; None is unlimited."""

    __slots__ = ("idle_timeout", "max", "max_duration", "warn_before")

    def __init__(
        self,
        max: int | None,
        idle_timeout: float | None,
        max_duration: float | None,
        warn_before: float,
    ) -> None:
        self.max = max
        self.idle_timeout = idle_timeout
        self.max_duration = max_duration
        self.warn_before = warn_before


class Seccomp(Value):
    """The system-call filter: ``allow`` and ``deny`` hold names or numbers as texts."""

    __slots__ = ("allow", "deny", "on_violation", "profile")

    def __init__(
        self, profile: str, allow: tuple[str, ...], deny: tuple[str, ...], on_violation: str
    ) -> None:
        self.profile = profile
        self.allow = allow
        self.deny = deny
        self.on_violation = on_violation


class Record(Value):
    """What is recorded, and where.

    to: "collector" or "user_directory"; directory: the latter, with specifiers.
    transfers: "none", "names" or "hashes". on_failure: "end_session" or "go_on".
    """

    __slots__ = ("directory", "input", "on_failure", "terminal", "to", "transfers")

    def __init__(
        self,
        terminal: bool,
        input: bool,
        to: str,
        directory: str,
        transfers: str,
        on_failure: str,
    ) -> None:
        self.terminal = terminal
        self.input = input
        self.to = to
        self.directory = directory
        self.transfers = transfers
        self.on_failure = on_failure


class Policy:
    """Everything decided for one user; see policy-reference for the meaning of each key.

    values: one entry per setting of the language, see ``policy.merge``.
    origins: setting or item ("volumes./course") -> (file, line).
    """

    __slots__ = (
        "_origins",
        "_values",
        "accept_env",
        "access",
        "allow_agent_forwarding",
        "banner",
        "cap_add",
        "container_per",
        "cpus",
        "egress",
        "environment",
        "home",
        "hostname",
        "image",
        "limits",
        "linger",
        "mem_limit",
        "motd",
        "network_mode",
        "networks",
        "pids_limit",
        "ports",
        "record",
        "seccomp",
        "sessions",
        "shell",
        "site",
        "stop_grace_period",
        "storage_opt",
        "tmpfs",
        "ulimits",
        "unsafe_host_home",
        "user",
        "userns_mode",
        "volumes",
        "welcome",
    )

    image: str
    hostname: str
    user: str
    userns_mode: Literal["single", "range", "own_range"]
    shell: tuple[str, ...]
    home: Home | None
    unsafe_host_home: bool
    container_per: Literal["session", "connection", "user"]
    linger: float
    volumes: tuple[Volume, ...]
    storage_opt: Storage
    tmpfs: tuple[Tmpfs, ...]
    access: Access
    environment: dict[str, str | None]
    accept_env: tuple[str, ...]
    allow_agent_forwarding: bool
    network_mode: Literal["none", "host", "private"]
    ports: tuple[Port, ...]
    egress: tuple[Egress, ...]
    networks: tuple[Network, ...]
    mem_limit: int | None
    cpus: float | None
    pids_limit: int | None
    ulimits: dict[str, tuple[int, int]]
    limits: Literal["required", "best_effort"]
    sessions: Sessions
    stop_grace_period: float
    cap_add: tuple[str, ...]
    seccomp: Seccomp
    record: Record
    banner: str | None
    motd: str | None
    welcome: bool
    site: Site | None
    """The settings of the installation that the policy was loaded from."""

    def __init__(self, values: Values, origins: Mapping[str, tuple[str, int]]) -> None:
        self._values = values
        self._origins = origins
        self.site = None
        for name in PLAIN:
            setattr(self, name, values[name])
        for name in LISTS:
            setattr(self, name, tuple(values[name].values()))
        self.environment = values["environment"]
        self.ulimits = values["ulimits"]
        self.volumes = tuple(Volume(*item) for item in values["volumes"].values())
        self.tmpfs = tuple(Tmpfs(*item) for item in values["tmpfs"].values())
        self.ports = tuple(Port(*item) for item in values["ports"].values())
        self.egress = tuple(Egress(*item) for item in values["egress"].values())
        self.networks = tuple(Network(*item) for item in values["networks"].values())
        self.home = _home(values)
        self.storage_opt = Storage(values["storage_opt.size"], values["storage_opt.inodes"])
        self.access = _access(values)
        self.sessions = Sessions(
            values["sessions.max"],
            values["sessions.idle_timeout"],
            values["sessions.max_duration"],
            values["sessions.warn_before"],
        )
        self.seccomp = Seccomp(
            values["seccomp.profile"],
            tuple(values["seccomp.allow"].values()),
            tuple(values["seccomp.deny"].values()),
            values["seccomp.on_violation"],
        )
        self.record = Record(
            values["record.terminal"],
            values["record.input"],
            values["record.to"],
            values["record.directory"],
            values["record.transfers"],
            values["record.on_failure"],
        )

    @property
    def ranged(self) -> bool:
        """Whether sessions have a whole range of ids, a system's users, in place of the user's own alone."""
        return self.userns_mode != "single"

    @property
    def values(self) -> Values:
        """The merged settings this policy was made from, for ``show`` and ``diff``."""
        return self._values

    @property
    def digest(self) -> str:
        """A hex digest of all values: equal for policies that mean the same."""
        canonical = [
            (key, sorted(value.items()) if type(value) is dict else value)
            for key, value in sorted(self._values.items())
        ]
        return blake2b(marshal.dumps(canonical, 2), digest_size=16).hexdigest()

    def written(self, key: str) -> Origin | None:
        """Return where exactly ``key`` was written; None is a built-in default."""
        return Origin(*self._origins[key]) if key in self._origins else None

    def origin(self, key: str) -> Origin | None:
        """Return the line to blame for ``key``: a setting, or an item such as "volumes./course".

        A key that nobody wrote has the origin of the map or list around it, and a map that is written key by
        key that of the strongest file's last key; None: nobody wrote any of it.
        """
        around, below = key, key + "."
        while around:
            if around in self._origins:
                return Origin(*self._origins[around])
            around = around.rpartition(".")[0]
        for written in reversed(list(self._origins)):
            if written.startswith(below):
                return Origin(*self._origins[written])
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self._values == other._values and self._origins == other._origins

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Policy({self._values!r})"


PLAIN = (
    "image",
    "hostname",
    "user",
    "userns_mode",
    "shell",
    "unsafe_host_home",
    "container_per",
    "linger",
    "allow_agent_forwarding",
    "network_mode",
    "mem_limit",
    "cpus",
    "pids_limit",
    "limits",
    "stop_grace_period",
    "banner",
    "motd",
    "welcome",
)
LISTS = ("accept_env", "cap_add")


def _home(values: Values) -> Home | None:
    if values["home"] == "ephemeral":
        return None
    return Home(values["home.source"], values["home.skel"], values["home.read_only"])


def _access(values: Values) -> Access:
    commands = values["access.commands"]
    if type(commands) is dict:
        commands = tuple(Command(*item) for item in commands.values())
    sftp = None
    if values["access.sftp"]:
        sftp = Sftp(
            values["access.sftp.read_only"],
            values["access.sftp.umask"],
            values["access.sftp.start_directory"],
            tuple(values["access.sftp.deny"].values()),
        )
    return Access(
        values["access.login"],
        values["access.interactive"],
        commands,
        sftp,
        values["access.message"],
    )

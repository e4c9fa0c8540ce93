# Longer than 300 lines: plain values, one class after another; each more module costs every login time.
"""What an administrator decided for one user, as plain values.

A :class:`Policy` is what is left when all layers are merged: complete, validated, in the
units of the kernel (bytes, seconds). Attribute names are the keys of the policy language
in their nesting: ``access.sftp.umask`` in YAML is ``policy.access.sftp.umask`` here.
There are no defaults in this module; they come with the first layer, from the declarations
in ``admin.policy.schema.settings``. Specifiers such as ``%u`` are still in the texts of a policy that was
loaded; :meth:`Policy.expanded` replaces them for one session.
"""

# ruff: noqa: A002, FBT001 - arguments are named and typed as the keys of the language

from __future__ import annotations

import marshal
from _blake2 import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal

    from .hooks import Hook
    from .hours import Closing, Times
    from .limits import Limits
    from .merge import Layer
    from .networks import Network
    from .private import Destination, Port
    from .store import Site

    Values = Mapping[str, Any]
    """Setting key -> value, as ``policy.merge`` leaves it."""


PAGE_BYTES = 4096
LIMITED = ("mem_limit", "cpus", "cpu_shares", "pids_limit")
"""Keys of a session's cgroup, each None or a limit; there is ``blkio_config`` besides, none or a map."""


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

    source: directory on the host; None only until ``policy.rules`` refused it. written: the same with the
    specifiers that were written. skel: directory on the host that fills a new home, or None.
    read_only: whether the session may write to it.
    """

    __slots__ = ("read_only", "skel", "source", "written")

    def __init__(
        self, source: str | None, skel: str | None, read_only: bool, written: str | None = None
    ) -> None:
        self.source = source
        self.skel = skel
        self.read_only = read_only
        self.written = (source or "") if written is None else written

    @property
    def is_below_users(self) -> bool:
        """Whether it lies below the user's own home, so that the first login makes it."""
        return self.written.startswith("%h/")


class Volume(Value):
    """A file or directory of the host, bound at ``target``. written: the target with its specifiers."""

    __slots__ = ("read_only", "source", "target", "written")

    def __init__(self, source: str, target: str, read_only: bool, written: str = "") -> None:
        self.source = source
        self.target = target
        self.read_only = read_only
        self.written = written or target

    @property
    def key(self) -> str:
        """The item of the policy that it is."""
        return "volumes." + self.written


class Storage(Value):
    """The one memory file system that holds everything writable: ``size`` in bytes, ``inodes``.

    total: bytes for all sessions of the user together, or None.
    """

    __slots__ = ("inodes", "size", "total")

    def __init__(self, size: int, inodes: int, total: int | None) -> None:
        self.size, self.inodes, self.total = size, inodes, total


class Tmpfs(Value):
    """An additional memory file system: ``size`` in bytes, ``mode`` as in chmod(2).

    written: the target with its specifiers.
    """

    __slots__ = ("mode", "size", "target", "written")

    def __init__(self, target: str, size: int, mode: int, written: str = "") -> None:
        self.target = target
        self.size = size
        self.mode = mode
        self.written = written or target

    @property
    def key(self) -> str:
        """The item of the policy that it is."""
        return "tmpfs." + self.written

    @property
    def inodes(self) -> int:
        """The most files it can hold: one for each page, as empty ones would take memory without end."""
        return max(self.size // PAGE_BYTES, 16)


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
    start_directory: inside the container, or None for the home.
    deny: names of requests as ``sftp-server -P`` knows them.
    overwrite: False when files that exist may not be changed.
    """

    __slots__ = ("deny", "overwrite", "read_only", "start_directory", "umask")

    def __init__(
        self,
        read_only: bool,
        umask: int | None,
        start_directory: str | None,
        deny: tuple[str, ...],
        *,
        overwrite: bool = True,
    ) -> None:
        self.overwrite = overwrite
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
    command: the words that run whatever a client asks for, None for what it asks for.
    terminal: "required" when shells and commands are refused without one.
    times: when it is open, None for always.
    """

    __slots__ = ("command", "commands", "interactive", "login", "message", "sftp", "terminal", "times")

    def __init__(
        self,
        login: bool,
        interactive: bool | tuple[str, ...],
        commands: Literal["any", "none"] | tuple[Command, ...],
        sftp: Sftp | None,
        message: str,
        terminal: str = "optional",
        times: Times | None = None,
        command: tuple[str, ...] | None = None,
    ) -> None:
        self.command, self.terminal, self.times = command, terminal, times
        self.login, self.interactive, self.commands = login, interactive, commands
        self.sftp, self.message = sftp, message


class Sessions(Value):
    """Limits over the user's sessions: a count, and times in seconds; None is unlimited."""

    __slots__ = ("idle_timeout", "max", "max_duration", "warn_before")
    closing: Closing | None = None
    """When the hours of the account end; one that has none has nothing of its own here."""

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

    to: "collector" or "user_directory"; directory: the latter.
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
        "_origins", "_values", "accept_env", "access", "allow_agent_forwarding", "authorized_keys",
        "banner", "chain", "container_per", "environment", "home", "hooks", "hostname", "image",
        "limits", "limits_required", "linger", "motd", "network_mode", "networks", "record", "rule",
        "seccomp", "sessions", "shell", "site", "stop_grace_period", "storage_opt", "tmpfs",
        "ulimits", "unsafe_host_home", "user", "userns_mode", "volumes", "welcome",
    )  # fmt: skip

    image: str
    """The one of its sessions; the first of several, until one is chosen (``policy.images``)."""
    hostname: str
    user: str
    userns_mode: Literal["auto", "single", "range", "own_range"]
    shell: tuple[str, ...]
    home: Home | None
    unsafe_host_home: bool
    authorized_keys: Literal["host", "home"]
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
    networks: tuple[Network, ...]
    hooks: tuple[Hook, ...]
    limits: Limits | None
    """What a cgroup has to hold, None where the policy names nothing of it."""
    limits_required: bool
    """Whether a session is refused whose limits cannot be set."""
    ulimits: dict[str, tuple[int, int]]
    sessions: Sessions
    stop_grace_period: float
    seccomp: Seccomp
    record: Record
    banner: str | None
    motd: str | None
    welcome: bool
    site: Site | None
    """The settings of the installation that the policy was loaded from."""
    chain: tuple[Sequence[Layer], Sequence[Layer]] | None
    """The layers that it was merged from, below and above what the policy of a key adds; None: not known."""
    rule: str
    """The rule of ``keys`` that it is the policy of, "" for none."""

    def __init__(self, values: Values, origins: Mapping[str, tuple[str, int]]) -> None:
        self._values, self._origins, self.site, self.chain, self.rule = values, origins, None, None, ""
        for name in PLAIN:
            setattr(self, name, values[name])
        self.image = next(iter(values["images"]), self.image)
        for name in LISTS:
            setattr(self, name, tuple(values[name].values()))
        self.limits, self.limits_required = None, values["limits"] == "required"
        if values["blkio_config"] != "none" or any(values[name] is not None for name in LIMITED):
            from . import limits

            self.limits = limits.of(values)
        if values["boot"]:
            from . import limits

            self.limits, self.limits_required = limits.of(values) or limits.NONE, True
        self.environment, self.ulimits = values["environment"], values["ulimits"]
        self.volumes = tuple(Volume(*item) for item in values["volumes"].values())
        self.tmpfs = tuple(Tmpfs(*item) for item in values["tmpfs"].values())
        self.networks, self.hooks = (), ()
        if values["networks"]:
            from . import networks

            self.networks = networks.of(values)
        if values["hooks.createRuntime"] or values["hooks.startContainer"] or values["hooks.poststop"]:
            from . import hooks

            self.hooks = hooks.of(values)
        self.home = _home(values)
        self.storage_opt = Storage(*(values["storage_opt." + name] for name in ("size", "inodes", "total")))
        self.access = _access(values)
        times = ("max", "idle_timeout", "max_duration", "warn_before")
        self.sessions = Sessions(*(values["sessions." + name] for name in times))
        self.seccomp = Seccomp(
            values["seccomp.profile"],
            tuple(values["seccomp.allow"].values()),
            tuple(values["seccomp.deny"].values()),
            values["seccomp.on_violation"],
        )
        parts = ("terminal", "input", "to", "directory", "transfers", "on_failure")
        self.record = Record(*(values["record." + name] for name in parts))

    @property
    def ranged(self) -> bool:
        """Whether sessions have a whole range of ids, a system's users, in place of the user's own alone.

        Who is root inside, or a user of the image, needs one to be worth that name.
        """
        if self.userns_mode == "auto":
            return self.user != "self" and self.image != "host"
        return self.userns_mode != "single"

    @property
    def user_limits(self) -> Limits | None:
        """What everything of the user may use together; no login asks."""
        from . import limits

        return limits.of(self._values, "user_limits.")

    @property
    def ports(self) -> tuple[Port, ...]:
        """What a private network publishes on the host."""
        from . import private

        return private.ports(self._values)

    @property
    def egress(self) -> str | tuple[Destination, ...]:
        """Where a private network leads: "internet", "any", "none", or the destinations."""
        from . import private

        return private.egress(self._values)

    @property
    def egress_log(self) -> str:
        """Which attempts of a private network are recorded: "none" or "refused"."""
        return str(self._values["egress_log"])

    @property
    def cap_add(self) -> tuple[str, ...]:
        """Capabilities that root of a range keeps beyond those that it always has."""
        return tuple(self._values["cap_add"].values())

    @property
    def values(self) -> Values:
        """The merged settings this policy was made from, for ``show`` and ``diff``."""
        return self._values

    @property
    def origins(self) -> Mapping[str, tuple[str, int]]:
        """The places that this policy was made with."""
        return self._origins

    def expanded(self, values: Mapping[str, str]) -> Policy:
        """Return the policy of one session, every specifier replaced; what was written stands beside it.

        values: letter -> what it stands for. The host name of a container that all the user's sessions
        share has an ``%i`` of its own, see ``plan.make``. Raises Refusal as ``specifiers.expand``.
        """
        # Loading alone does not need it.
        from . import specifiers

        other = Policy.__new__(Policy)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        expand = specifiers.expand
        home, sftp, record = self.home, self.access.sftp, self.record
        if home is not None:
            source = home.source if home.source is None else expand(home.source, values)
            skel = home.skel if home.skel is None else expand(home.skel, values)
            other.home = Home(source, skel, home.read_only, home.written)
        other.volumes = tuple(
            Volume(expand(one.source, values), expand(one.target, values), one.read_only, one.written)
            for one in self.volumes
        )
        other.tmpfs = tuple(
            Tmpfs(expand(one.target, values), one.size, one.mode, one.written) for one in self.tmpfs
        )
        other.hostname = expand(self.hostname, values)
        access = self.access
        if sftp is not None and sftp.start_directory is not None:
            start = expand(sftp.start_directory, values)
            sftp = Sftp(sftp.read_only, sftp.umask, start, sftp.deny, overwrite=sftp.overwrite)
        interactive = access.interactive
        if type(interactive) is tuple:
            interactive = tuple(expand(word, values) for word in interactive)
        command = access.command and tuple(expand(word, values) for word in access.command)
        others = access.message, access.terminal, access.times, command
        other.access = Access(access.login, interactive, access.commands, sftp, *others)
        if record.terminal:
            directory = expand(record.directory, values)
            rest = directory, record.transfers, record.on_failure
            other.record = Record(record.terminal, record.input, record.to, *rest)
        return other

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
        around = f"images.{self.image}" if key == "image" and self._values["images"] else key
        below = key + "."
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
    "image", "hostname", "user", "userns_mode", "shell", "unsafe_host_home", "authorized_keys",
    "container_per", "linger", "allow_agent_forwarding", "network_mode", "stop_grace_period", "banner",
    "motd", "welcome",
)  # fmt: skip
LISTS = ("accept_env",)


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
            overwrite=values["access.sftp.overwrite"],
        )
    times = None
    if values["access.hours"] or values["access.from"] or values["access.until"]:
        from . import hours

        times = hours.of(values)
    asked = values["access.login"], values["access.interactive"], commands, sftp, values["access.message"]
    return Access(*asked, values["access.terminal"], times, values["access.command"])

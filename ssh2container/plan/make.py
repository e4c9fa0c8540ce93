# Longer than 300 lines: every login imports all of it; each more module costs it time.
"""The planner: request, account, policy and host in, a complete plan out. Pure: it touches nothing."""

from __future__ import annotations

from _blake2 import blake2b

from ssh2container import __version__, paths
from ssh2container.errors import Refusal
from ssh2container.kernel import namespaces, signals
from ssh2container.policy import rules, specifiers

from . import accounts, environment, greeting, insider, tree, walls
from .host import specifier_values
from .operations import confinement, identity, network
from .program import Chooser, refuse_lost_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from ssh2container.policy.policy import Policy, Record, Sessions

    from .account import Account
    from .hooks import Hooks
    from .host import Host
    from .image import Image
    from .insider import Insider
    from .limits import Scope
    from .operations import Operation
    from .operations.joining import JoinNetworks
    from .private import Forwarding, Observed
    from .program import Program
    from .request import Request

    Part = TypeVar("Part", "Container", "Payload", "Watch")


class Container:
    """What pid 1 makes, and how long it stays.

    name: the session's id, or its own where an owner makes it for several logins (``shared``, see
    :meth:`share`). per: "session", or what shares one container. digest: names the way it is made: a login
    with another joins another. linger: seconds that it outlives its last login, -1 for as long as the
    connection. grace: seconds between asking what runs inside to end and ending it.
    image: the one that it is of; choice: its name where the policy has several, else "". namespaces: flags
    of clone(2). joins: takes the network that root prepared
    for it, or None. served: sources that may keep it from
    starting, as somebody else has to answer. scope: what the host counts it in, or None without limits.
    network: the program outside of a private network, or None. hooks: what runs beside it, or None.
    before: operations of the process that starts pid 1, before it does. mapping: operations outside that
    pid 1 waits for. outside: those of the process that waits for pid 1.
    init: those of pid 1 before it starts a payload; it ends them without rights.
    """

    __slots__ = (
        "before", "choice", "digest", "grace", "hooks", "image", "init", "joins", "linger", "mapping", "name",
        "namespaces", "network", "outside", "per", "scope", "served", "shared",
    )  # fmt: skip

    name: str
    per: str
    shared: bool
    digest: bytes
    linger: float
    grace: float
    image: Image
    choice: str
    namespaces: int
    joins: JoinNetworks | None
    served: tuple[str, ...]
    scope: Scope | None
    network: Forwarding | None
    hooks: Hooks | None
    before: tuple[Operation, ...]
    mapping: tuple[Operation, ...]
    outside: tuple[Operation, ...]
    init: tuple[Operation, ...]

    def share(self, name: str) -> None:
        """Make it one whose pid 1 starts no program and waits for logins."""
        self.name, self.shared = name, True


class Payload:
    """What runs inside for one login.

    operations: the last ones before the program. program: what is executed; environment, directory: with
    which. call: None. :meth:`Plan.calling` makes plans with a function in place of the program.
    """

    __slots__ = ("call", "directory", "environment", "operations", "program")

    operations: tuple[Operation, ...]
    program: Program
    environment: dict[bytes, bytes]
    directory: str
    call: Callable[[], int] | None


class Watch:
    """What the monitor does for one login.

    session: its id. operations: the monitor's own. terminal: whether the payload gets a terminal.
    greeting: what the terminal shows before the payload's first byte; welcome: the mark of its part that
    is shown once, b"" without. deadlines: limits in time, or None. recording: what is kept of the session, or
    None. reach: (device, inode) of what the session can write on the host, where no recording may lie.
    transfers: see :func:`_transfers`. sessions_max: how many the user may have, or None. registration: what
    the registry says of it. room: bytes in memory for its container, and for all of the user's, or None.
    """

    __slots__ = (
        "deadlines",
        "greeting",
        "operations",
        "reach",
        "recording",
        "registration",
        "room",
        "session",
        "sessions_max",
        "terminal",
        "transfers",
        "welcome",
    )

    session: str
    operations: tuple[Operation, ...]
    terminal: bool
    greeting: bytes
    welcome: bytes
    deadlines: Sessions | None
    recording: Record | None
    reach: frozenset[tuple[int, int]]
    transfers: bytes | None
    sessions_max: int | None
    registration: dict[str, str]
    room: tuple[int, int] | None

    @property
    def accompanied(self) -> bool:
        """Whether the monitor has more to do than to wait and to relay."""
        return not (self.deadlines is None and self.recording is None and self.transfers is None)


class Plan:
    """All that a session will do: the container, what runs in it, what watches over it."""

    __slots__ = ("container", "payload", "watch")

    def __init__(self, container: Container, payload: Payload, watch: Watch) -> None:
        self.container = container
        self.payload = payload
        self.watch = watch

    @property
    def monitor(self) -> tuple[Operation, ...]:
        """The operations of the process that stays outside."""
        return (*self.container.before, *self.watch.operations, *self.container.outside)

    def phases(self) -> dict[str, tuple[Operation, ...]]:
        """Return every operation by its phase, in the order in which they are listed and shown."""
        scope, network, hooks = self.container.scope, self.container.network, self.container.hooks
        payload = self.payload.operations
        return {
            **({} if scope is None else {"limits": (scope, *scope.limits)}),
            **({} if self.container.joins is None else {"networks": (self.container.joins,)}),
            **({} if network is None else {"network": (network,)}),
            "mapping": self.container.mapping,
            "monitor": self.monitor,
            "init": self.container.init,
            **({"payload": payload} if hooks is None else hooks.around(payload)),
        }

    def operations(self) -> tuple[Operation, ...]:
        """Return every operation, in the order of :meth:`phases`."""
        return tuple(operation for phase in self.phases().values() for operation in phase)

    def without(self, *kinds: type[Operation]) -> Plan:
        """Return a copy without the operations of ``kinds``: for the tests, one layer at a time."""
        other = Plan(_copy(self.container), _copy(self.payload), _copy(self.watch))
        for part, phase in (
            *((other.container, phase) for phase in ("before", "mapping", "outside", "init")),
            (other.payload, "operations"),
            (other.watch, "operations"),
        ):
            kept = tuple(op for op in getattr(part, phase) if not isinstance(op, kinds))
            setattr(part, phase, kept)
        return other

    def calling(self, function: Callable[[], int]) -> Plan:
        """Return this plan with ``function`` in place of the program: for ``verify`` and the tests.

        The payload calls it where it would execute the program, behind the same walls, and ends with
        the status that it returns. No request, policy or variable leads here: a function is no text.
        Hooks, which have effects of their own, are left out.
        """
        other = self.without()
        if other.container.hooks is not None:
            other.container.hooks.take_out(other)
        other.payload.call = function
        return other


def _copy(part: Part) -> Part:
    other = type(part)()
    for name in part.__slots__:
        setattr(other, name, getattr(part, name))
    return other


def make(
    request: Request, account: Account, policy: Policy, host: Host, given: Mapping[bytes, bytes]
) -> Plan:
    """Plan the session. ``given`` is the environment that the caller handed to the login shell.

    policy: an expanded one (``Policy.expanded``).

    Raises Refusal when the policy does not allow the request, or itself cannot be carried out.
    """
    admit(account, policy)
    request = request.under(policy.access.command)
    _require_terminal(request, policy, host)
    refuse_lost_key(request, policy, account.name, given)
    if host.home is not None:
        rules.require_apart(policy, host.home.path, account.home)
    who = insider.choose(account, policy, host)
    watch = _watch(request, policy, host, given, who)
    payload = _payload(request, policy, host, given, who)
    container = _container(request, account, policy, host, who)
    if container.scope is not None:
        container.scope.complete(container, payload, host)
    return Plan(container, payload, watch)


def _container(request: Request, account: Account, policy: Policy, host: Host, who: Insider) -> Container:
    made = Container()
    made.name, made.shared = host.session, False
    made.per, made.digest = policy.container_per, _digest(policy, host)
    made.linger = policy.linger if policy.container_per == "user" else -1.0
    made.grace = policy.stop_grace_period
    made.image = host.image
    made.choice = policy.image if policy.values["images"] else ""
    made.namespaces = _namespaces(policy)
    made.served = host.served
    made.scope = _scope(request, policy, host)
    made.network = None if host.private is None else _network(policy, host.private, who)
    made.hooks = None
    if policy.hooks:
        from .hooks import plan

        made.hooks = plan(policy, account, who.home)
    made.before = walls.around_sessions(policy, host)
    made.joins, made.mapping = _ids_and_networks(host, who)
    made.outside = (identity.HideFromTracers("monitor"),)
    hostname = _hostname(account, policy, host, made.digest)
    own_network = made.namespaces & namespaces.CLONE_NEWNET
    generated = _generated(account, host, who, hostname)
    made.init = (
        *who.mapping(account),
        identity.DieWithParent(signals.SIGKILL, "pid 1"),
        identity.NewSessionKeyring(),
        identity.ForbidNestedNamespaces(),
        identity.NumberProcesses(host.last_pid),
        identity.SetHostname(hostname, "hostname"),
        *((network.LoopbackUp(), network.LimitBuffers(wide=made.network is not None)) if own_network else ()),
        *(() if made.network is None else made.network.making),
        *tree.build(policy, host, who, generated),
        # As late as it can be: the rest needs rights that pid 1 gives up.
        *(() if made.scope is None else made.scope.entering),
        *(() if made.network is None else made.network.entering),
        *(() if made.joins is None else made.joins.entering),
        *(() if made.hooks is None else made.hooks.entering),
        *walls.room_for_descriptors(host, ranged=who.ranged),
        confinement.DropBoundingSet(host.last_capability, who.capabilities),
        # Root of a range needs its capabilities back at setuid(2); everybody else must not get any.
        *(() if who.capabilities else (confinement.LockSecurebits(pings=bool(made.network or made.joins)),)),
        *who.become_payload(),
        confinement.SetCapabilities(who.capabilities),
        confinement.NoNewPrivileges(),
        *walls.around_container(policy, host.landlock),
        confinement.LoadFilter("of pid 1", host.init_bpf),
    )
    return made


def _ids_and_networks(host: Host, who: Insider) -> tuple[JoinNetworks | None, tuple[Operation, ...]]:
    """Return what takes a prepared network, and what maps a range of ids from outside."""
    if host.networks is None:
        return None, who.mapping_outside()
    from .operations.joining import JoinNetworks

    return JoinNetworks(host.networks), who.mapping_outside(through=True)


def _scope(request: Request, policy: Policy, host: Host) -> Scope | None:
    if policy.limits is None:
        return None
    from .scopes import choose

    return choose(request, policy, policy.limits, host)


def _network(policy: Policy, observed: Observed, who: Insider) -> Forwarding:
    from .private import Forwarding

    return Forwarding(policy, observed, who)


def _generated(account: Account, host: Host, who: Insider, hostname: str) -> dict[str, bytes]:
    """Return the files of /etc that are made for the session: name -> content."""
    listed = who.listed(account, host.image)
    return {
        "passwd": accounts.passwd(host.image, listed.name, listed.uid, listed.gid, listed.home, host.shell),
        "group": accounts.group(host.image, listed.group, listed.gid),
        "hosts": accounts.hosts(hostname),
        "hostname": hostname.encode() + b"\n",
        "nsswitch.conf": accounts.NSSWITCH,
        "resolv.conf": host.resolv_conf,
    }


def _payload(
    request: Request,
    policy: Policy,
    host: Host,
    given: Mapping[bytes, bytes],
    who: Insider,
) -> Payload:
    made = Payload()
    made.call, made.directory = None, who.home
    if host.image.working_directory and not request.transfers:
        made.directory = host.image.working_directory
    made.environment = environment.make(
        request,
        policy,
        host.image,
        given,
        name=who.name,
        home=who.home,
        shell=host.shell,
        terminal=host.terminal,
    )
    chooser = Chooser(policy, host, made.environment[b"PATH"].decode(), given)
    made.program = chooser.choose(request)
    made.environment.update(made.program.environment)
    if host.agent is not None:
        made.environment[b"SSH_AUTH_SOCK"] = tree.AGENT.encode()
    files = walls.around_files(policy, host.landlock, home=who.home, whole_system=who.ranged)
    if host.devices is not None:
        files = host.devices.restrict(files)
        host.devices.set(made.environment)
    made.operations = (
        *files,
        # Not pid 1's: what it has open grows with the logins that share the container.
        *walls.around_process(policy, host),
        confinement.LoadFilter(policy.seccomp.profile, host.bpf, "seccomp", host.set_id_bits),
        # After the filter: of two refusals the kernel takes, and records, the later one's.
        *((confinement.RecordViolations(host.recorder, "seccomp"),) if host.recorder else ()),
    )
    return made


def _watch(
    request: Request,
    policy: Policy,
    host: Host,
    given: Mapping[bytes, bytes],
    who: Insider,
) -> Watch:
    made = Watch()
    made.session = host.session
    made.operations = (identity.DieWithParent(signals.PARENT_DIED, "monitor"),)
    made.terminal = host.terminal
    made.sessions_max = policy.sessions.max
    made.registration = {**registration(request, given), "image": host.image.name}
    made.room = None
    if policy.storage_opt.total is not None:
        made.room = (rules.in_memory(policy), policy.storage_opt.total)
        # A shared container says for itself what it takes.
        made.registration["storage"] = (
            str(rules.in_memory(policy)) if policy.container_per == "session" else "0"
        )
    made.greeting, made.welcome = b"", b""
    if request.kind == "login" and host.interactive:
        made.greeting, made.welcome = greeting.compose(
            policy, home=who.home, hushed=host.hushed, known=host.welcomed
        )
    made.deadlines = _deadlines(policy, host)
    made.recording = _recording(policy, host)
    made.reach = frozenset()
    if made.recording is not None and made.recording.to == "user_directory":
        made.reach = frozenset(source.identity for source in host.writable(policy))
    made.transfers = _transfers(request, policy)
    return made


def admit(account: Account, policy: Policy) -> None:
    """Raise Refusal for an account that may ask for nothing."""
    if not policy.access.login:
        raise Refusal("this account is suspended", "access.login is false", policy.access.message, "access")
    unsafe = rules.POWERFUL_GROUPS.keys() & account.groups
    if unsafe:
        raise Refusal(
            f"cannot contain {account.name}",
            f"a member of {', '.join(sorted(unsafe))} can become root on the host",
            f"an administrator removes the user from it: gpasswd -d {account.name} {min(unsafe)}",
            "account",
        )


def _require_terminal(request: Request, policy: Policy, host: Host) -> None:
    """Refuse a shell or a command that nobody could see; other kinds have rules of their own."""
    required = policy.access.terminal == "required"
    if required and request.kind in ("login", "command") and not host.interactive:
        raise Refusal(
            "this account needs a terminal",
            "access.terminal is required",
            "; ".join(part for part in ("ask for one: ssh -t", policy.access.message) if part),
            "access",
        )


def _deadlines(policy: Policy, host: Host) -> Sessions | None:
    """Return the limits in time that this session has; nobody sees traffic without a terminal."""
    limits = policy.sessions
    if host.opening is not None and host.opening.closing is not None:
        from .hours import Timed

        return Timed(limits, host.opening.closing)
    idle = limits.idle_timeout is not None and host.terminal
    return limits if idle or limits.max_duration is not None else None


def _transfers(request: Request, policy: Policy) -> bytes | None:
    """Return the command whose transfers are recorded, b"" for sftp; None where none are."""
    if policy.record.transfers == "none" or request.kind == "login":
        return None
    return b"" if request.kind == "sftp" else request.command


def _recording(policy: Policy, host: Host) -> Record | None:
    record = policy.record
    if not (record.terminal and host.terminal):
        return None
    if record.to == "user_directory":
        rules.require_recordings_apart(record.directory, [source.path for source in host.writable(policy)])
    return record


def _hostname(account: Account, policy: Policy, host: Host, container: bytes) -> str:
    """Return the host name inside.

    Where all logins share one container, ``%i`` is the same for every container that is made the same way:
    there is one of them at a time, and it should see that the locks of the one before it are stale.
    """
    if policy.container_per != "user":
        return policy.hostname
    name = blake2b(container, digest_size=len(host.session) // 2).hexdigest()
    return specifiers.expand(policy.values["hostname"], specifier_values(account, name))


def _digest(policy: Policy, host: Host) -> bytes:
    """Return what distinguishes containers that may not be shared: made from other policies or parts."""
    if policy.container_per == "session":
        return b""
    parts = blake2b(policy.digest.encode(), digest_size=16)
    root = host.image.root if host.range is None else host.range.root
    for part in (__version__, host.image.name, host.image.digest, root):
        parts.update(part.encode("utf-8", "surrogateescape") + b"\0")
    parts.update(host.bpf)
    return parts.hexdigest().encode()


def registration(request: Request, given: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return what the registry says of a session from its first moment: hints for the administrator."""
    return {
        "kind": request.kind,
        "command": paths.fsdecode(request.command),
        "client": paths.fsdecode(given.get(b"SSH_CONNECTION", b"")).partition(" ")[0],
    }


def _namespaces(policy: Policy) -> int:
    if policy.network_mode == "host" or policy.networks:
        return namespaces.ALL_BUT_NETWORK
    return namespaces.ALL_BUT_NETWORK | namespaces.CLONE_NEWNET

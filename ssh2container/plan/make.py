"""The planner: request, account, policy and host in, a complete plan out. Pure: it touches nothing."""

from __future__ import annotations

from _blake2 import blake2b

from ssh2container import __version__, paths
from ssh2container.errors import Refusal
from ssh2container.kernel import namespaces
from ssh2container.policy import rules, specifiers

from . import accounts, environment, greeting, insider, tree, walls
from .host import specifier_values
from .operations import confinement, identity, limits, network
from .program import Chooser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ssh2container.policy.policy import Policy, Record, Sessions

    from .account import Account
    from .host import Host
    from .image import Image
    from .operations import Operation
    from .program import Program
    from .request import Request

UNSAFE_GROUPS = frozenset(
    ("adm", "disk", "docker", "incus-admin", "libvirt", "lxd", "shadow", "sudo", "wheel")
)
"""Groups that are as good as root. A group that is not mapped shows as nogroup inside and still
grants access to whatever the policy binds."""
PHASES = ("mapping", "monitor", "init", "payload")
"""The parts of a plan that consist of operations."""
_PARENT_DIED, _SIGKILL = 64, 9


class Plan:
    """All that a session will do, in order.

    session: its id. namespaces: flags of clone(2). image: the one it runs on.
    mapping: operations outside that pid 1 waits for. monitor: those of the process that stays outside.
    init: those of pid 1 before it starts the payload; it ends them without rights. payload: the last
    ones before the program.
    program: what is executed; environment, directory: with which. terminal: whether the payload
    gets a terminal of its own. grace: seconds between asking the payload to end and ending it.
    greeting: what the terminal shows before the payload's first byte; welcome: the mark of its part that
    is shown once, b"" without. deadlines: limits in time, or
    None. recording: what is kept of the session, or None. transfers: see :func:`_transfers`.
    call: None. :meth:`calling` makes plans with a function in place of the program.
    container_per: "session", or what shares one container; container: names the way it was made, a
    login with another joins another; linger: seconds that it outlives its last login, -1 for as long
    as the connection; shared: whether pid 1 waits for logins (see :meth:`of_container`).
    sessions_max: how many the user may have, or None. registration: what the registry says of it.
    """

    __slots__ = (
        "call",
        "container",
        "container_per",
        "deadlines",
        "directory",
        "environment",
        "grace",
        "greeting",
        "image",
        "init",
        "linger",
        "mapping",
        "monitor",
        "namespaces",
        "payload",
        "program",
        "recording",
        "registration",
        "session",
        "sessions_max",
        "shared",
        "terminal",
        "transfers",
        "welcome",
    )

    session: str
    image: Image
    namespaces: int
    mapping: tuple[Operation, ...]
    monitor: tuple[Operation, ...]
    init: tuple[Operation, ...]
    payload: tuple[Operation, ...]
    program: Program
    environment: dict[bytes, bytes]
    directory: str
    terminal: bool
    grace: float
    greeting: bytes
    welcome: bytes
    deadlines: Sessions | None
    recording: Record | None
    transfers: bytes | None
    call: Callable[[], int] | None
    container_per: str
    container: bytes
    linger: float
    shared: bool
    sessions_max: int | None
    registration: dict[str, str]

    @property
    def accompanied(self) -> bool:
        """Whether the monitor has more to do than to wait and to relay."""
        return not (self.deadlines is None and self.recording is None and self.transfers is None)

    def operations(self) -> tuple[Operation, ...]:
        """Return every operation, in the order in which they are listed and shown."""
        return tuple(operation for phase in PHASES for operation in getattr(self, phase))

    def without(self, *kinds: type[Operation]) -> Plan:
        """Return this plan without the operations of ``kinds``: for the tests, one layer at a time."""
        other = Plan()
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        for phase in PHASES:
            kept = tuple(op for op in getattr(self, phase) if not isinstance(op, kinds))
            setattr(other, phase, kept)
        return other

    def calling(self, function: Callable[[], int]) -> Plan:
        """Return this plan with ``function`` in place of the program: for ``verify`` and the tests.

        The payload calls it where it would execute the program, behind the same walls, and ends with
        the status that it returns. No request, policy or variable leads here: a function is no text.
        """
        other = self.without()
        other.call = function
        return other

    def of_container(self, name: str) -> Plan:
        """Return the plan of the container alone: its pid 1 starts no program and waits for logins."""
        other = self.without()
        other.session, other.shared, other.terminal = name, True, False
        # Its owner belongs to no login.
        other.monitor = tuple(op for op in self.monitor if not isinstance(op, identity.DieWithParent))
        return other


def make(
    request: Request, account: Account, policy: Policy, host: Host, given: Mapping[bytes, bytes]
) -> Plan:
    """Plan the session. ``given`` is the environment that the caller handed to the login shell.

    Raises Refusal when the policy does not allow the request, or itself cannot be carried out.
    """
    _admit(account, policy)
    if host.home is not None:
        rules.require_apart(policy, host.home.path, account.home)
    who = insider.choose(account, policy, host)
    home = who.home
    shell = host.shell
    values = specifier_values(account, host.session)
    hostname = specifiers.expand(policy.hostname, values)
    plan = Plan()
    plan.call = None
    plan.shared = False
    plan.container_per = policy.container_per
    plan.container = _container(policy, host)
    plan.linger = policy.linger if policy.container_per == "user" else -1.0
    plan.sessions_max = policy.sessions.max
    plan.registration = _registration(request, host, given)
    plan.session = host.session
    plan.image = host.image
    plan.terminal = host.terminal
    plan.grace = policy.stop_grace_period
    plan.greeting, plan.welcome = b"", b""
    if request.kind == "login" and host.interactive:
        plan.greeting, plan.welcome = greeting.compose(
            policy, values, home=home, hushed=host.hushed, known=host.welcomed
        )
    plan.deadlines = _deadlines(policy, host)
    plan.recording = _recording(policy, host, values)
    plan.transfers = _transfers(request, policy)
    plan.directory = home
    if host.image.working_directory and not request.transfers:
        plan.directory = host.image.working_directory
    plan.environment = environment.make(
        request,
        policy,
        host.image,
        given,
        name=who.name,
        home=home,
        shell=shell,
        terminal=host.terminal,
    )
    chooser = Chooser(policy, host.image, plan.environment[b"PATH"].decode(), values, host.tools)
    plan.program = chooser.choose(request)
    plan.environment.update(plan.program.environment)
    if host.agent is not None:
        plan.environment[b"SSH_AUTH_SOCK"] = tree.AGENT.encode()
    plan.namespaces = _namespaces(policy)
    plan.mapping = who.mapping_outside()
    plan.monitor = (identity.DieWithParent(_PARENT_DIED, "monitor"), identity.HideFromTracers("monitor"))
    listed = who.listed(account, host.image)
    generated = {
        "passwd": accounts.passwd(host.image, listed.name, listed.uid, listed.gid, listed.home, shell),
        "group": accounts.group(host.image, listed.group, listed.gid),
        "hosts": accounts.hosts(hostname),
        "hostname": hostname.encode() + b"\n",
        "nsswitch.conf": accounts.NSSWITCH,
        "resolv.conf": host.resolv_conf,
    }
    plan.init = (
        *who.mapping(account),
        identity.DieWithParent(_SIGKILL, "pid 1"),
        identity.NewSessionKeyring(),
        identity.ForbidNestedNamespaces(),
        identity.SetHostname(hostname, "hostname"),
        *((network.LoopbackUp(),) if plan.namespaces & namespaces.CLONE_NEWNET else ()),
        *tree.build(policy, host, who, generated, values),
        confinement.DropBoundingSet(host.last_capability, who.capabilities),
        # Root of a range needs its capabilities back at setuid(2); everybody else must not get any.
        *(() if who.capabilities else (confinement.LockSecurebits(),)),
        *who.become_payload(),
        confinement.SetCapabilities(who.capabilities),
        confinement.NoNewPrivileges(),
        confinement.LoadFilter("of pid 1", host.init_bpf),
    )
    plan.payload = (
        *walls.around_files(policy, host.landlock, home=home, values=values, whole_system=who.ranged),
        # Not pid 1's: what it has open grows with the logins that share the container.
        *_limits(policy),
        confinement.LoadFilter(policy.seccomp.profile, host.bpf, "seccomp"),
        # After the filter: of two refusals the kernel takes, and records, the later one's.
        *((confinement.RecordViolations(host.recorder, "seccomp"),) if host.recorder else ()),
    )
    return plan


def _admit(account: Account, policy: Policy) -> None:
    if not policy.access.login:
        raise Refusal("this account is suspended", "access.login is false", policy.access.message, "access")
    unsafe = UNSAFE_GROUPS.intersection(account.groups)
    if unsafe:
        raise Refusal(
            f"cannot contain {account.name}",
            f"a member of {', '.join(sorted(unsafe))} can become root on the host",
            f"an administrator removes the user from it: gpasswd -d {account.name} {min(unsafe)}",
            "account",
        )


def _deadlines(policy: Policy, host: Host) -> Sessions | None:
    """Return the limits in time that this session has; nobody sees traffic without a terminal."""
    limits = policy.sessions
    idle = limits.idle_timeout is not None and host.terminal
    return limits if idle or limits.max_duration is not None else None


def _transfers(request: Request, policy: Policy) -> bytes | None:
    """Return the command whose transfers are recorded, b"" for sftp; None where none are."""
    if policy.record.transfers == "none" or request.kind == "login":
        return None
    return b"" if request.kind == "sftp" else request.command


def _recording(policy: Policy, host: Host, values: Mapping[str, str]) -> Record | None:
    record = policy.record
    if not (record.terminal and host.terminal):
        return None
    directory = specifiers.expand(record.directory, values)
    return type(record)(
        record.terminal, record.input, record.to, directory, record.transfers, record.on_failure
    )


def _container(policy: Policy, host: Host) -> bytes:
    """Return what distinguishes containers that may not be shared: made from other policies or parts."""
    if policy.container_per == "session":
        return b""
    parts = blake2b(policy.digest.encode(), digest_size=16)
    for part in (__version__, host.image.digest, host.image.root):
        parts.update(part.encode("utf-8", "surrogateescape") + b"\0")
    parts.update(host.bpf)
    return parts.hexdigest().encode()


def _registration(request: Request, host: Host, given: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return what the registry of live sessions says of this one; hints for the administrator."""
    return {
        "kind": request.kind,
        "command": paths.fsdecode(request.command),
        "image": host.image.name,
        "client": paths.fsdecode(given.get(b"SSH_CONNECTION", b"")).partition(" ")[0],
    }


def _namespaces(policy: Policy) -> int:
    flags = (
        namespaces.CLONE_NEWUSER
        | namespaces.CLONE_NEWNS
        | namespaces.CLONE_NEWPID
        | namespaces.CLONE_NEWIPC
        | namespaces.CLONE_NEWUTS
        | namespaces.CLONE_NEWCGROUP
    )
    if policy.network_mode != "host":
        flags |= namespaces.CLONE_NEWNET
    return flags


def _limits(policy: Policy) -> list[Operation]:
    # A core limit of 0 does not stop a core handler that is a program (core(5)); 1 does.
    chosen = {"core": (1, 1), **policy.ulimits}
    if chosen["core"] == (0, 0):
        chosen["core"] = (1, 1)
    return [
        limits.SetLimit(name, soft, hard, "ulimits." + name if name in policy.ulimits else "")
        for name, (soft, hard) in sorted(chosen.items())
    ]

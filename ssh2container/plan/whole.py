"""A whole system in the container: the image's own init as its process 1, on the person's terminal.

Imported only for a policy with ``boot``. Sources: systemd's Container Interface
(https://systemd.io/CONTAINER_INTERFACE), systemd(1) (Signals), openrc-init(8), init(8) of sysvinit, and
busybox's init/init.c.
"""

from __future__ import annotations

import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import mounts, signals

from . import tools
from .limits import Scope
from .operations import confinement
from .operations import filesystem as fs
from .operations.filesystem import BASE, ROOT
from .operations.limits import SetLimit
from .operations.whole import EndApart, EnterSystem, MakeConsole, MountGroups, OutliveMonitor, StartApart
from .program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

    from .host import Host
    from .image import Image
    from .limits import Bound
    from .make import Container, Payload, Plan
    from .operations import Operation

USUAL = ("/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/init")
"""Where an image has its init; what comes first, and else what the image itself starts."""
CONTAINER = b"ssh2container"
"""The variable ``container``, by which a system knows that it is in one."""
_SIGRTMIN = 34
_STOP = {
    "systemd": _SIGRTMIN + 3,
    "busybox": signals.SIGUSR2,
    "init": signals.SIGINT,
    "openrc-init": signals.SIGTERM,
    "runit-init": signals.SIGCONT,
}
"""File that the init is -> what asks it to switch the machine off, or nearest to that: sysvinit is told that
the three keys were pressed, which by Debian's inittab restarts, after all services have been ended."""
_IN_MEMORY = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
_PLACE = BASE + "/system"
_UNMASKED = 0o022
_LOG, _LOG_OF_SYSTEMD = "/run/log", "/run/systemd/journal/dev-log"
"""Where /dev/log leads: journald listens at the second (systemd-journald.service(8)); busybox's syslogd
follows the link."""
_OF_SSH = (b"SSH_CLIENT", b"SSH_CONNECTION", b"SSH_TTY", b"SSH_AUTH_SOCK")


def cannot_start(why: str) -> Refusal:
    """Return what a login is refused with whose system finds no control groups to divide."""
    return Refusal(
        "cannot start a whole system", why, "look what is missing: ssh2containerctl doctor USER", "system"
    )


class SystemScope(Scope):
    """The scope of a whole system: without one it has no control groups to divide.

    start: starts its process 1. entry: how our pid 1 gets into it. program, environment: what that process 1
    executes, with what. kind: the name of the file that the init is, "" where nobody knows.
    """

    __slots__ = ("entry", "environment", "kind", "program", "start")
    divided = True
    why = "a system divides its control groups, which it has none of without a scope"

    def __init__(self, name: str, limits: tuple[Bound, ...], program: Program, kind: str, stop: int) -> None:
        super().__init__(name, limits, is_required=True)
        self.program = program
        self.environment: dict[bytes, bytes] = {}
        self.kind = kind
        self.entry = EnterSystem()
        self.start = StartApart(stop)

    def describe(self) -> str:
        """Say what is asked for, and what is made of it."""
        return super().describe() + "; divide that into one group for the system and one for our pid 1"

    def refusal(self, why: str) -> Refusal:
        """Return what a login is refused with that cannot have it."""
        return cannot_start(why)

    @property
    def words(self) -> str:
        """The limits, for a record."""
        return super().words or "a scope for a whole system"

    @property
    def entering(self) -> tuple[Operation, ...]:
        """What process 1 does about it."""
        return (self.entry,)

    @property
    def init(self) -> str:
        """The init that is looked for first."""
        return self.program.attempts[0][0]

    def rehearsed(self, plan: Plan) -> list[Plan]:
        """Return plans that make the same without a manager: of the init, and of what enters it, if any."""
        starting, entering = (
            plan.without(EnterSystem, MountGroups, StartApart, EndApart, OutliveMonitor) for _ in range(2)
        )
        starting.payload.program = self.program
        return [starting] if plan.container.per == "session" else [starting, entering]

    def complete(self, container: Container, payload: Payload, host: Host) -> None:
        """Make ``container`` that of a system. Raises Refusal where nobody would see its console."""
        if container.per == "session" and not host.interactive:
            raise Refusal(
                "this account is a whole system, which needs a terminal",
                "it starts on the terminal of a login (boot)",
                "ask for one: ssh -t",
                "access",
            )
        self.environment = _environment(payload.environment)
        container.init = tuple(_with_system(container, self))

    @property
    def directory(self) -> str:
        """Where its program starts."""
        return "/"


def scope(policy: Policy, asked: tuple[Bound, ...], host: Host) -> SystemScope:
    """Return the scope of a whole system, with what is executed in it."""
    inits, kind = host.range.init if host.range is not None else ((), "")
    program = Program([(path, (paths.fsencode(path),)) for path in inits], umask=_UNMASKED)
    stop = policy.values["stop_signal"] or _STOP.get(kind, signals.SIGTERM)
    return SystemScope(host.session, asked, program, kind, stop)


def observe(policy: Policy, image: Image) -> tuple[tuple[str, ...], str]:
    """Return the places of the init, and the name of the file that the first one leads to, "" for none."""
    wanted = policy.values["boot"]
    inits = (*USUAL, *(one for one in image.command[:1] if one[:1] == "/")) if wanted is True else (wanted,)
    place = os.open(image.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in inits:
            try:
                found = mounts.open_path(path, mounts.RESOLVE_IN_ROOT, directory=place)
            except OSError:
                continue
            try:
                return inits, paths.basename(os.readlink(f"/proc/self/fd/{found}"))
            finally:
                os.close(found)
    finally:
        os.close(place)
    return inits, ""


def _environment(given: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the init's environment: what is the person's own is for whoever logs in."""
    own = (b"HOME", b"USER", b"LOGNAME", b"SHELL", *_OF_SSH)
    return {b"container": CONTAINER, **{key: value for key, value in given.items() if key not in own}}


def _with_system(container: Container, scope: SystemScope) -> list[Operation]:
    """Return the operations of pid 1 with those of the system where each belongs."""
    # What waits for the monitor comes before there are two who could take its word.
    early = [*scope.entering, *(container.network.entering if container.network is not None else ())]
    rest = [one for one in container.init if one not in early]
    places = _places()
    result: list[Operation] = []
    in_proc = False
    for one in rest:
        if isinstance(one, fs.MakeMountsPrivate):
            result += early
        if isinstance(one, fs.Mount) and one.kind == "proc":
            result += (_log(scope.kind), MakeConsole(), OutliveMonitor(), scope.start)
            in_proc = True
        elif in_proc and isinstance(one, SetLimit | confinement.DropBoundingSet):
            result.append(EndApart())
            in_proc = False
        result.append(one)
        if isinstance(one, fs.Mount) and one.kind == "overlay":
            result += places
    return result


def _log(kind: str) -> Operation:
    """Return what leads programs to the log of the system, whose own entries /dev does not take."""
    target = _LOG_OF_SYSTEMD if kind == "systemd" else _LOG
    return fs.MakeTree("the place of the system's log", ((BASE + "/dev/log", None, target),))


def _places() -> list[Operation]:
    run, lock, sys = (f"{_PLACE}/{name}" for name in ("run", "lock", "sys"))
    entries = [
        (path, mode, None)
        for path, mode in (
            (_PLACE, 0o755),
            (run, 0o755),
            (run + "/lock", 0o755),
            (lock, 0o1777),
            (sys, 0o755),
            (sys + "/fs", 0o755),
            (sys + "/fs/cgroup", 0o755),
        )
    ]
    entries += [(run + path.removeprefix("/run"), 0o755, None) for path in (paths.RUNTIME, tools.INSIDE)]
    return [
        fs.MakeTree("the directories that a system wants in memory", tuple(entries)),
        fs.BindTree(run, ROOT + "/run", _IN_MEMORY),
        fs.BindTree(lock, ROOT + "/run/lock", _IN_MEMORY | mounts.ATTR_NOEXEC),
        # No sysfs: it would show the host's hardware, and a system in a container leaves it alone.
        fs.BindTree(sys, ROOT + "/sys", _IN_MEMORY | mounts.ATTR_NOEXEC | mounts.ATTR_RDONLY),
        MountGroups(),
    ]

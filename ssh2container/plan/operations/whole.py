"""What makes a whole system of a container: its own process 1, control groups and console.

Sources: systemd's Container Interface (https://systemd.io/CONTAINER_INTERFACE), cgroups(7) and the kernel's
Documentation/admin-guide/cgroup-v2.rst (Namespace, Delegation Containment), pid_namespaces(7), pts(4).
Imported only for a policy with ``boot``.
"""

from __future__ import annotations

import posix as os

from ssh2container.kernel import mounts, process
from ssh2container.kernel.namespaces import CLONE_NEWCGROUP
from ssh2container.paths import CGROUPS

from . import Operation, steps
from .filesystem import BASE, ROOT, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script, Slot

SYSTEM, LOGINS, ASIDE = "system", "logins", "supervisor"
"""Below the scope: the system, in it who logs in beside its console, and beside it our pid 1."""
_GROUPS, _ASIDE, _LOGINS = "the system's control groups", "the group aside", "the group of logins"
_MASTER, _SLAVE = "the console", "the console's other side"
TIOCSPTLCK = 0x40045431
_AT_FDCWD = mounts.AT_FDCWD
_KEY = "boot"


def _open(script: Script, path: str, flags: int, name: str, at: str = "") -> Slot:
    slot = script.named(name)
    how = (flags | os.O_CLOEXEC).to_bytes(8, "little") + bytes(16)
    script.call("openat2", _AT_FDCWD, path, how, len(how), result=slot, at=at or path)
    return slot


class _OfSystem(Operation):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_KEY)


class EnterSystem(_OfSystem):
    """Wait until process 1 is in the system's control group, and make that the root of what it sees.

    path: the scope's, below :data:`.paths.CGROUPS`; known when the manager has made it.
    """

    __slots__ = ("path",)
    step = "system"
    why = "the system divides the control groups below its own, and sees none above it"
    remedies = {2: "the scope has gone", 13: "the scope is not the user's: ssh2containerctl doctor"}

    def __init__(self) -> None:
        super().__init__()
        self.path = ""

    def describe(self) -> str:
        return "wait until it is in a control group of the system's own, and make that the root that it sees"

    def write(self, script: Script) -> None:
        script.await_word()
        scope = CGROUPS + self.path
        # Opened in the host's view: into a group by what was opened here leads a way that no view closes.
        _open(script, f"{scope}/{ASIDE}/cgroup.procs", os.O_WRONLY, _ASIDE)
        _open(script, f"{scope}/{SYSTEM}/{LOGINS}/cgroup.procs", os.O_WRONLY, _LOGINS)
        script.call("unshare", CLONE_NEWCGROUP)


class MountGroups(_OfSystem):
    """Mount the system's own control groups."""

    __slots__ = ()
    step = "groups"
    why = EnterSystem.why
    remedies = Mount.remedies

    @property
    def calls(self) -> tuple[str, ...]:
        return ("mount",)

    def describe(self) -> str:
        return f"mount the system's own control groups on {CGROUPS}"

    def write(self, script: Script) -> None:
        flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
        steps.mount(script, "cgroup2", ROOT + CGROUPS, flags, "")


class MakeConsole(_OfSystem):
    """Open the first terminal of the session's own and put it on /dev/console."""

    __slots__ = ()
    step = "console"
    why = "what the system shows goes to the person's terminal, and to no console of the host"

    @property
    def calls(self) -> tuple[str, ...]:
        return ("mount",)

    def describe(self) -> str:
        return "open a terminal of the session's own as /dev/console"

    def write(self, script: Script) -> None:
        script.file(BASE + "/dev/console", 0o600, b"")
        terminal = os.O_RDWR | os.O_NOCTTY
        master = _open(script, ROOT + "/dev/pts/ptmx", terminal, _MASTER)
        script.call("ioctl", master, TIOCSPTLCK, bytes(4))
        # A new instance numbers from 0 (pts(4)).
        slave = _open(script, ROOT + "/dev/pts/0", terminal, _SLAVE)
        steps.bind(script, ROOT + "/dev/pts/0", ROOT + "/dev/console")
        script.console(master, slave)


class StartApart(_OfSystem):
    """Start process 1 of the system, in pids below those of our own pid 1, which stays outside of it.

    stop_signal: what asks the system to end. request: its program, as ``run.order`` packs it, known when the
    container is started.
    """

    __slots__ = ("request", "stop_signal")
    step = "system"
    why = "nothing in the system reaches who looks after its end, and the kernel tells how it ended"
    remedies = {28: "user.max_pid_namespaces is used up: ssh2containerctl doctor"}

    def __init__(self, stop_signal: int) -> None:
        super().__init__()
        self.stop_signal = stop_signal
        self.request = b""

    def describe(self) -> str:
        return (
            "start process 1 of the system in pids of its own; there, give the control groups to root inside"
            " and do what follows"
        )

    def write(self, script: Script) -> None:
        groups = _open(script, ROOT + CGROUPS, os.O_RDONLY | os.O_DIRECTORY, _GROUPS)
        # Wherever the login came from: a working directory would keep the host's tree.
        script.call("chdir", "/")
        script.split(self.stop_signal, script.named(_ASIDE), script.named(_LOGINS), groups, self.request)
        # Not before our pid 1 can clear them away: what is root's inside the user's manager cannot remove.
        script.give(ROOT + CGROUPS, 0, 0)


class EndApart(_OfSystem):
    """From here on the two processes do the same: give up their rights."""

    __slots__ = ()
    step = "system"
    why = "who logs in to the system is started by our pid 1, and must have no more rights than the system"

    def describe(self) -> str:
        return "have our pid 1 go on, which does what follows, too"

    def write(self, script: Script) -> None:
        script.made()


class OutliveMonitor(_OfSystem):
    """Do not die with the monitor: see that it is gone, kill the system, and remove its control groups."""

    __slots__ = ()
    step = "system"
    why = "control groups that the system made belong to ids that nobody outside may act for"

    @property
    def calls(self) -> tuple[str, ...]:
        return ("prctl",)

    def describe(self) -> str:
        return "have our pid 1 end the system itself when the monitor is gone, and clear away after it"

    def write(self, script: Script) -> None:
        script.call("prctl", process.PR_SET_PDEATHSIG, 0, 0, 0, 0)
        # The monitor may have died before: with no system there is nothing yet that only we could remove.
        script.expect_monitor()

"""A whole system from outside: dividing its scope, and what its endings mean to the person.

Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst (Delegation, No Internal Process Constraint) and
reboot(2) (Behavior inside PID namespaces). Imported only for a policy with ``boot``.
"""

from __future__ import annotations

import posix as os
import select

from ssh2container import paths
from ssh2container.errors import EXIT_OURS
from ssh2container.kernel import process, signals
from ssh2container.plan.operations.whole import ASIDE, LOGINS, SYSTEM
from ssh2container.plan.whole import cannot_start

from . import order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from ssh2container.plan.make import Plan
    from ssh2container.plan.whole import SystemScope

    from .packets import End
    from .terminal import Relay

_MOST_GROUPS, _DEEPEST = b"2000", b"32"
"""So many control groups a system may have below its own, and so deep: each costs the kernel memory."""
RESTART = -1
"""What :func:`ending` says in place of an exit status where the system wants to start again."""
REBOOT = "reboot"
"""How a session ended that starts again."""
CLEARING_S = 10.0
"""How long pid 1 may take to end the system and to remove its control groups: some tenths of a second where
there are as many as may be, and more where the scope's limit leaves it a small part of a processor."""


def prepare(scope: SystemScope) -> None:
    """Give the scope what pid 1 is to execute, before its order is written."""
    scope.start.request = order.request_of(scope, b"")


def divide(scope: SystemScope, path: str, pid: int) -> None:
    """Make the groups below the scope at ``path`` and move ``pid`` into the system's. Raises Refusal."""
    above = paths.CGROUPS + path
    try:
        for name in (ASIDE, SYSTEM, f"{SYSTEM}/{LOGINS}"):
            os.mkdir(f"{above}/{name}", 0o755)
        _write(f"{above}/{SYSTEM}/cgroup.procs", b"%d" % pid)
        _write(above + "/cgroup.max.descendants", _MOST_GROUPS)
        _write(above + "/cgroup.max.depth", _DEEPEST)
    except OSError as error:
        raise cannot_start(f"its scope cannot be divided: {error.strerror} ({path})") from None
    # What the system may hand on to its services; without a controller they go on unlimited.
    for controller in process.read_file(above + "/cgroup.controllers").split():
        try:
            _write(above + "/cgroup.subtree_control", b"+" + controller)
        except OSError:
            pass  # it cannot be had here; the scope's own limits hold all the same
    scope.entry.path = path


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def ending(status: int, init: str) -> tuple[int, str]:
    """Return the exit status for how a system ended, and the line that says so; :data:`RESTART` is no status.

    status: wait status of its process 1. init: what that was.
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signals.SIGINT:
            return 0, "the system has been switched off"
        if number == signals.SIGHUP:
            return RESTART, "the system starts again"
        return EXIT_OURS, f"the system has ended: its init {init} was killed by signal {number}"
    code = os.WEXITSTATUS(status)
    if not code:
        return 0, "the system has ended"
    return code, f"the system has ended: its init {init} gave up with status {code}"


def tell(plan: Plan, status: int, reason: str, relay: Relay | None, *, may_restart: bool) -> tuple[int, str]:
    """Say to the person how their system ended; return the wait status and the reason of the session.

    status: of the system's process 1. reason: the session's so far. may_restart: whether nobody outside has
    asked the system to end, to which some answer by a restart.
    """
    code, line = ending(status, plan.container.scope.init)  # type: ignore[union-attr]
    if code == RESTART:
        code = 0
        if may_restart and reason == "exit":
            reason = REBOOT
        else:
            line = ending(0, "")[1]
    if relay is not None and not relay.hung_up:
        relay.drained()  # the system's last words come first
        relay.tell(line)
    return code << 8, reason


def let_clear_away(end: End, pidfd: int) -> None:
    """Wait, not for ever, until pid 1 has ended the system and removed its control groups: only it can."""
    end.close()
    gone = select.poll()
    gone.register(pidfd, select.POLLIN)
    gone.poll(CLEARING_S * 1000)


def start_again(arguments: Sequence[bytes], environment: Mapping[bytes, bytes]) -> NoReturn:
    """Be a new login on the same terminal, as sshd would start it: what it obeys is the policy as it is now.

    Standard error is the client's terminal; standard input and output were let go of.
    """
    os.set_blocking(2, True)
    for number in (0, 1):
        os.dup2(2, number)
    # What the first login did to itself does not outlast the exec, but that nobody may look into it.
    shell = paths.LOGIN_SHELL
    os.execve(shell, [paths.fsencode(shell), *arguments], dict(environment))

"""Starting the container: one clone, from a process that never leaves the host's namespaces."""

from __future__ import annotations

import errno

from ssh2container.errors import SessionError
from ssh2container.kernel import namespaces
from ssh2container.plan.operations import State, perform
from ssh2container.plan.operations.identity import MapRange
from ssh2container.record import registry

from . import channel, init
from .monitor import Monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from ssh2container.plan.make import Plan

_REMEDIES = {
    errno.EPERM: "unprivileged user namespaces are forbidden on this host"
    " (kernel.unprivileged_userns_clone, AppArmor or a container around it): ssh2containerctl doctor",
    errno.ENOSPC: "user.max_user_namespaces is used up or 0: ssh2containerctl doctor",
    errno.EINVAL: "the kernel lacks a kind of namespace: ssh2containerctl doctor",
    errno.EAGAIN: "the user's processes have reached their limit (ulimit -u)",
}


def launch(plan: Plan) -> Monitor:
    """Start pid 1 on ``plan`` and return the monitor that waits for it. Raises SessionError."""
    sharing = plan.container_per != "session" and plan.call is None
    state = State()
    perform(plan.monitor[:1], state)
    entry = registry.enter(plan.session, plan.sessions_max, needed=sharing)
    try:
        if sharing:
            from . import joining

            monitor = joining.join(plan, state)
        else:
            monitor = Monitor(plan, *clone(plan, state, entry))
    except BaseException:
        if entry is not None:
            entry.leave()
        raise
    if entry is not None:
        monitor.entry = entry
        entry.write(plan.registration)
    return monitor


def clone(plan: Plan, state: State, entry: registry.Entry | None) -> tuple[int, int, _socket.socket]:
    """Start pid 1 and return its pid, its pidfd and our end of the channel to it.

    entry: where it listens for those who want another program run inside. Raises SessionError.
    """
    listener = None if entry is None else entry.listen()
    ours, theirs = channel.pair()
    try:
        pid, pidfd = namespaces.clone(plan.namespaces)
    except OSError as error:
        number = error.errno or 0
        raise SessionError(
            "cannot create the container's namespaces",
            error.strerror or "",
            _REMEDIES.get(number, ""),
            "namespaces",
            number,
        ) from None
    if pid == 0:
        init.run(plan, theirs, listener)
    theirs.close()
    if listener is not None:
        listener.close()
    # Not before the clone: a child of a process that is not dumpable cannot write its own maps.
    state.pid = pid
    perform(plan.monitor[1:], state)
    if any(isinstance(operation, MapRange) for operation in plan.monitor):
        ours.send(channel.GO)
    return pid, pidfd, ours

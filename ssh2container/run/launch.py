"""Starting the container: one clone, from a process that never leaves the host's namespaces."""

from __future__ import annotations

import errno

from ssh2container.errors import SessionError
from ssh2container.kernel import namespaces
from ssh2container.plan.operations import State, perform

from . import channel, init
from .monitor import Monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    state = State()
    perform(plan.monitor[:1], state)
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
        init.run(plan, theirs)
    theirs.close()
    # Not before the clone: a child of a process that is not dumpable cannot write its own maps.
    perform(plan.monitor[1:], state)
    return Monitor(plan, pid, pidfd, ours)

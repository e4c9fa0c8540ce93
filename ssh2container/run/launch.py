"""Starting the container: one program in new namespaces, from a process that never leaves the host's."""

from __future__ import annotations

import errno
import posix as os

from ssh2container.errors import EXIT_OURS, SessionError
from ssh2container.kernel import namespaces, sockets
from ssh2container.plan.operations import perform
from ssh2container.record import registry

from . import channel, order

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import NoReturn

    from ssh2container.kernel.script import Script
    from ssh2container.plan.make import Plan

    from .monitor import Monitor

_REMEDIES = {
    errno.EPERM: "unprivileged user namespaces are forbidden on this host"
    " (kernel.unprivileged_userns_clone, AppArmor or a container around it): ssh2containerctl doctor",
    errno.ENOSPC: "user.max_user_namespaces is used up or 0: ssh2containerctl doctor",
    errno.EINVAL: "the kernel lacks a kind of namespace: ssh2containerctl doctor",
    errno.EAGAIN: "the user's processes have reached their limit (ulimit -u)",
}


def launch(plan: Plan, write: Callable[[Plan, bytes, int], None] = order.write) -> Monitor:
    """Start pid 1 on ``plan`` and return the monitor that waits for it. Raises SessionError.

    write: writes the file that pid 1 reads.
    """
    sharing = plan.container_per != "session" and plan.call is None
    entry = registry.enter(plan.session, plan.sessions_max, needed=sharing)
    try:
        if sharing:
            from . import joining

            monitor = joining.join(plan)
        else:
            started = start(plan, entry, write)
            # Not before: pid 1 makes the container meanwhile.
            from .monitor import Monitor

            monitor = Monitor(plan, *started)
    except BaseException:
        if entry is not None:
            entry.leave()
        raise
    if entry is not None:
        monitor.entry = entry
        entry.write(plan.registration)
    return monitor


def start(
    plan: Plan, entry: registry.Entry | None, write: Callable[[Plan, bytes, int], None] = order.write
) -> tuple[int, int, _socket.socket]:
    """Start pid 1 and return its pid, its pidfd and our end of the channel to it.

    entry: where it listens for those who want another program run inside. Raises SessionError.
    """
    listener = -1 if entry is None else entry.listen()
    ours, theirs = sockets.pair()
    file = order.new()
    opening = order.opening(plan)
    given = (theirs, file, listener)
    try:
        if plan.call is None:
            pid, pidfd = namespaces.spawn(plan.namespaces, given, opening, waits=bool(plan.mapping))
        else:
            pid, pidfd = namespaces.clone(plan.namespaces)
            if pid == 0:
                _call(plan.call, given, opening)
    except OSError as error:
        number = error.errno or 0
        raise SessionError(
            "cannot create the container's namespaces",
            error.strerror or "",
            _REMEDIES.get(number, ""),
            "namespaces",
            number,
        ) from None
    os.close(theirs)
    if listener >= 0:
        os.close(listener)
    if plan.mapping:
        perform(plan.mapping, pid)
        _tell(ours, channel.GO)
    # Meanwhile pid 1 has been starting.
    like = b""
    if plan.terminal:
        from . import terminal

        like = terminal.likeness()
    write(plan, like, file)
    _tell(ours, channel.ORDER)
    os.close(file)
    # Not before: pid 1 makes the container meanwhile. And a child of a process that is not dumpable
    # cannot write its own maps.
    perform(plan.monitor)
    import _socket

    return pid, pidfd, _socket.socket(fileno=ours)


def _tell(end: int, message: bytes) -> None:
    try:
        os.write(end, message)
    except OSError:
        pass  # it has ended: what it said of that comes over the channel


def _call(function: Callable[[], int], given: tuple[int, int, int], opening: Script) -> NoReturn:
    """In a copy of this process: be pid 1, and in its payload run ``function`` in place of a program."""
    status = EXIT_OURS
    try:
        namespaces.contain(given, opening)
        status = function()
    finally:
        os._exit(status)

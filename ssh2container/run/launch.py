"""Starting the container: one program in new namespaces, from a process that never leaves the host's."""

from __future__ import annotations

import errno
import posix as os

from ssh2container.errors import EXIT_OURS, SessionError
from ssh2container.kernel import namespaces
from ssh2container.plan.operations import perform
from ssh2container.plan.operations.identity import MapRange
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


def launch(plan: Plan, write: Callable[[Plan, bytes], int] = order.write) -> Monitor:
    """Start pid 1 on ``plan`` and return the monitor that waits for it. Raises SessionError.

    write: makes the file that pid 1 reads.
    """
    sharing = plan.container_per != "session" and plan.call is None
    perform(plan.monitor[:1])
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
    plan: Plan, entry: registry.Entry | None, write: Callable[[Plan, bytes], int] = order.write
) -> tuple[int, int, _socket.socket]:
    """Start pid 1 and return its pid, its pidfd and our end of the channel to it.

    entry: where it listens for those who want another program run inside. Raises SessionError.
    """
    listener = None if entry is None else entry.listen()
    ours, theirs = channel.pair()
    waited_for = any(isinstance(operation, MapRange) for operation in plan.monitor)
    opening = order.opening(plan)
    given = (theirs.fileno(), -1 if listener is None else listener.fileno())
    try:
        if plan.call is None:
            pid, pidfd = namespaces.spawn(plan.namespaces, given, opening, waits=waited_for)
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
    theirs.close()
    if listener is not None:
        listener.close()
    # Not before: a child of a process that is not dumpable cannot write its own maps.
    perform(plan.monitor[1:], pid)
    if waited_for:
        try:
            ours.send(channel.GO)
        except OSError:
            pass  # as below
    # Meanwhile pid 1 has been starting.
    like = b""
    if plan.terminal:
        from . import terminal

        like = terminal.likeness()
    told = write(plan, like)
    try:
        channel.send_descriptor(ours, channel.ORDER, told)
    except OSError:
        pass  # it has ended: what it said of that comes over the channel
    os.close(told)
    return pid, pidfd, ours


def _call(function: Callable[[], int], given: tuple[int, int], opening: Script) -> NoReturn:
    """In a copy of this process: be pid 1, and in its payload run ``function`` in place of a program."""
    status = EXIT_OURS
    try:
        namespaces.contain(given, opening)
        status = function()
    finally:
        os._exit(status)

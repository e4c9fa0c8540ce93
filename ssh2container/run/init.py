"""pid 1 of the container: makes it, then looks after its payloads (:mod:`.members`).

From :func:`run` on nothing returns and nothing is imported: after the pivot an import would read
the image's files.
"""

from __future__ import annotations

import os
import select

from ssh2container.errors import EXIT_OURS
from ssh2container.kernel import process
from ssh2container.plan.operations import State, perform

from . import channel, terminal
from .members import Members

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from ssh2container.plan.make import Plan


def run(plan: Plan, monitor: _socket.socket, listener: _socket.socket | None) -> NoReturn:
    """Carry out the plan's ``init`` operations, start the payload and stay until it ends.

    monitor: the channel to the monitor, or to the owner of a shared container, which starts without
    a payload. listener: where others may ask for one, or None.
    """
    try:
        kept = (monitor.fileno(),) if listener is None else (monitor.fileno(), listener.fileno())
        process.close_all_but(kept)
        os.setsid()
        _set_up(plan, monitor)
        members = Members(plan, monitor, listener)
        if plan.shared:
            members.attend_shared()
        members.attend_session(terminal.open_inside(monitor, terminal.likeness()) if plan.terminal else -1)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the monitor must hear of it
        try:
            monitor.send(channel.pack_error(error))
        except OSError:
            pass  # the monitor is gone: there is nobody to tell
    os._exit(EXIT_OURS)


def _set_up(plan: Plan, monitor: _socket.socket) -> None:
    """Make the container around this process."""

    def wait() -> None:
        if channel.receive(monitor)[0] != channel.GO:
            os._exit(EXIT_OURS)

    state = State(wait=wait)
    first, rest = plan.init[:1], plan.init[1:]
    perform(first, state)
    # The monitor may have died before the kernel was told to watch it.
    if _is_gone(monitor):
        os._exit(EXIT_OURS)
    perform(rest, state)


def _is_gone(monitor: _socket.socket) -> bool:
    poll = select.poll()
    poll.register(monitor.fileno(), select.POLLIN)
    return any(events & select.POLLHUP for _, events in poll.poll(0))

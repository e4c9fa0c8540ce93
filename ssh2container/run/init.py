"""pid 1 of the container: makes it, starts the payload, reaps, forwards, reports.

From :func:`run` on nothing returns and nothing is imported: after the pivot an import would read
the image's files.
"""

from __future__ import annotations

import os
import select

from ssh2container.errors import EXIT_OURS
from ssh2container.kernel import process
from ssh2container.plan.operations import State, perform

from . import channel, payload, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import signal
    from typing import NoReturn

    from ssh2container.plan.make import Plan
else:
    import _signal as signal  # what signal wraps; that one imports enum (12 ms)


def run(plan: Plan, monitor: _socket.socket) -> NoReturn:
    """Carry out the plan's ``init`` operations, start the payload and stay until it ends."""
    try:
        process.close_all_but((monitor.fileno(),))
        os.setsid()
        child, leader = _set_up(plan, monitor)
        _report_start(monitor, leader)
        _attend(monitor, child)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the monitor must hear of it
        try:
            monitor.send(channel.pack_error(error))
        except OSError:
            pass  # the monitor is gone: there is nobody to tell
    os._exit(EXIT_OURS)


def _set_up(plan: Plan, monitor: _socket.socket) -> tuple[int, int]:
    """Make the container and start the payload: its pid and the descriptor that tells of its exec."""
    state = State()
    first, rest = plan.init[:1], plan.init[1:]
    perform(first, state)
    # The monitor may have died before the kernel was told to watch it.
    if _is_gone(monitor):
        os._exit(EXIT_OURS)
    perform(rest, state)
    slave = terminal.open_inside(monitor) if plan.terminal else -1
    told, tells = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        payload.run(plan, tells, slave)
    os.close(tells)
    if slave >= 0:
        os.close(slave)
    process.replace_standard_descriptors()
    return child, told


def _is_gone(monitor: _socket.socket) -> bool:
    poll = select.poll()
    poll.register(monitor.fileno(), select.POLLIN)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def _report_start(monitor: _socket.socket, told: int) -> None:
    """Wait until the payload's program runs, or pass on why it does not."""
    pieces = []
    while piece := os.read(told, 65536):
        pieces.append(piece)
    os.close(told)
    monitor.send(b"".join(pieces) or channel.STARTED)
    if pieces:
        os._exit(EXIT_OURS)


def _attend(monitor: _socket.socket, child: int) -> NoReturn:
    """Reap every orphan, pass on the monitor's signals, end when the payload or the monitor does."""
    signals = process.signal_descriptor((signal.SIGCHLD,))
    poll = select.poll()
    poll.register(monitor.fileno(), select.POLLIN)
    poll.register(signals, select.POLLIN)
    _reap(monitor, child)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == signals:
                process.read_signals(signals)
                _reap(monitor, child)
                continue
            kind, content, _ = channel.receive(monitor)
            if kind != channel.SIGNAL:
                os._exit(EXIT_OURS)  # the monitor is gone; the kernel ends whatever is left in here
            try:
                os.killpg(child, content[0])
            except ProcessLookupError:
                pass


def _reap(monitor: _socket.socket, child: int) -> None:
    """Collect all that ended; the payload's status is the session's."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended == 0:
            return
        if ended == child:
            monitor.send(channel.STATUS + status.to_bytes(4, "little"))
            os._exit(0)

"""The monitor: the process outside that waits, relays, and ends the way the payload ended."""

from __future__ import annotations

import os
import select
import time

from ssh2container.errors import SessionError
from ssh2container.kernel import process

from . import channel
from .terminal import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import signal
    from typing import NoReturn

    from ssh2container.plan.make import Plan
else:
    import _signal as signal  # what signal wraps; that one imports enum (12 ms)

PARENT_DIED = 64
"""The signal by which the kernel tells that sshd's process is gone: no client can send it."""
_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
)
_HANG_UP_GRACE_S = 0.5
"""How long the payload may take over SIGHUP, say to save its history, when its client is gone."""


class Outcome:
    """How a session ended.

    status: raw wait status of the payload. reason: "exit", "hangup" when the client went away.
    """

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason

    @property
    def exit_code(self) -> int | None:
        """The payload's exit status, None when a signal ended it."""
        return os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else None

    @property
    def signal(self) -> int | None:
        """The signal that ended the payload, None when it exited."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None

    def leave(self) -> NoReturn:
        """End this process the way the payload ended, at once: no interpreter shutdown (4 ms)."""
        if self.signal is not None:
            process.die_by_signal(self.signal)
            os._exit(128 + self.signal)
        os._exit(self.exit_code or 0)


class Monitor:
    """Waits for one container.

    plan: what was launched. pid, pidfd: its pid 1. end: our end of the channel to it.
    """

    def __init__(self, plan: Plan, pid: int, pidfd: int, end: _socket.socket) -> None:
        self._plan = plan
        self._pid = pid
        self._pidfd = pidfd
        self._end = end
        self._poll = select.epoll()
        self._signals = process.signal_descriptor((*_FORWARDED, signal.SIGWINCH, PARENT_DIED))
        self._relay: Relay | None = None
        self._status: int | None = None
        self._deadline = 0.0
        self._reason = "exit"
        self._poll.register(end.fileno(), select.EPOLLIN)
        self._poll.register(self._signals, select.EPOLLIN)

    def wait(self) -> Outcome:
        """Stay until the container is gone; nothing of it is left when this returns or raises.

        Raises the SessionError of the step that failed.
        """
        try:
            while self._turn():
                pass
        finally:
            self._end_container()
            if self._relay is not None:
                self._relay.drain()
                self._relay.restore()
        if self._status is None and self._reason == "exit":
            raise SessionError(
                "the container ended without a word",
                "its first process was killed, perhaps for want of memory",
                step="wait",
            )
        hung_up = signal.SIGHUP
        return Outcome(hung_up if self._status is None else self._status, self._reason)

    def _turn(self) -> bool:
        """Wait for one round of events and act on them; False when the session is over."""
        remaining = -1.0
        if self._deadline:
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                return False
        for descriptor, events in self._poll.poll(remaining):
            if descriptor == self._end.fileno():
                if not self._hear():
                    return False
            elif descriptor == self._signals:
                for number in process.read_signals(self._signals):
                    self._on_signal(number)
            elif self._relay is not None and descriptor in (self._relay.outer, self._relay.master):
                self._relay.handle(descriptor, events)
                if self._relay.hung_up:
                    self._hang_up()
            elif events & (select.EPOLLERR | select.EPOLLHUP):
                self._hang_up()
        return True

    def _hear(self) -> bool:
        kind, content, attached = channel.receive(self._end)
        if kind == channel.ERROR:
            raise channel.unpack_error(content)
        if kind == channel.TERMINAL:
            self._relay = Relay(self._poll, attached)
        elif kind == channel.STARTED:
            self._let_go()
        elif kind == channel.STATUS:
            self._status = int.from_bytes(content, "little")
        return kind not in (channel.STATUS, b"")

    def _let_go(self) -> None:
        """Leave the client's descriptors to the payload, but be told when the client hangs up.

        A registration holds no reference: when the payload closes its standard output, the client
        sees the end at once although it is still watched here (epoll(7), Questions and answers).
        """
        if self._relay is None:
            for descriptor in (1, 2):
                try:
                    self._poll.register(descriptor, select.EPOLLET)
                except (PermissionError, FileExistsError):
                    pass  # a regular file, which cannot hang up
        process.replace_standard_descriptors()

    def _on_signal(self, number: int) -> None:
        if number == PARENT_DIED:
            self._hang_up()
        elif number == signal.SIGWINCH:
            if self._relay is not None:
                self._relay.resize()
        else:
            self._send_signal(number)

    def _hang_up(self) -> None:
        """Tell the payload that its client is gone, and end it soon whatever it makes of that."""
        if not self._deadline:
            self._reason = "hangup"
            self._send_signal(signal.SIGHUP)
            self._deadline = time.monotonic() + min(_HANG_UP_GRACE_S, self._plan.grace)
        if self._relay is not None and self._relay.hung_up:
            self._relay.abandon()

    def _send_signal(self, number: int) -> None:
        try:
            self._end.send(channel.SIGNAL + bytes((number,)))
        except OSError:
            pass  # pid 1 is gone: the next message from the channel says so

    def _end_container(self) -> None:
        """Kill pid 1, and with it everything in the container; wait until the kernel is done."""
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self._pid, 0)

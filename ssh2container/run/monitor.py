"""The monitor: the process outside that waits, relays, and ends the way the payload ended."""

from __future__ import annotations

import gc
import posix as os
import select
import time

from ssh2container.errors import SessionError
from ssh2container.kernel import _syscall, process, signals
from ssh2container.record import registry

from . import channel, order, packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from ssh2container.plan.make import Plan
    from ssh2container.record.registry import Entry

    from .companions import Companions
    from .terminal import Relay

PARENT_DIED = 64
"""The signal by which the kernel tells that sshd's process is gone: no client can send it."""
VIEW = 63
"""The signal by which root asks for a view of the terminal (:mod:`.views`): no client can send it either."""
_FORWARDED = (
    signals.SIGHUP,
    signals.SIGINT,
    signals.SIGQUIT,
    signals.SIGTERM,
    signals.SIGUSR1,
    signals.SIGUSR2,
    signals.SIGALRM,
)
_HANG_UP_GRACE_S = 0.5
"""How long the payload may take over SIGHUP, say to save its history, when its client is gone."""
_DRAIN_S = 1.0
"""How long a client that reads nothing is waited for when its session was ended."""
_NEVER = float("inf")


class Outcome:
    """How a session ended.

    status: raw wait status of the payload. reason: "exit", "hangup" when the client went away,
    "idle_timeout", "max_duration", or "recording" when it failed.
    traffic: bytes typed and shown on the terminal, None where there was none.
    """

    __slots__ = ("reason", "status", "traffic")

    def __init__(self, status: int, reason: str, traffic: tuple[int, int] | None = None) -> None:
        self.status = status
        self.reason = reason
        self.traffic = traffic

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
    entry: the session's place in the registry, given back at the end.
    """

    def __init__(self, plan: Plan, pid: int, pidfd: int, end: _socket.socket) -> None:
        self._plan = plan
        self._pid = pid
        self._pidfd = pidfd
        self._end = end
        self._poll = select.epoll()
        self._signals = signals.descriptor((*_FORWARDED, signals.SIGWINCH, PARENT_DIED, VIEW))
        self._relay: Relay | None = None
        self._companions: Companions | None = None
        self._status: int | None = None
        self._deadline = 0.0
        self._reason = "exit"
        self.entry: Entry | None = None
        self._poll.register(end.fileno(), select.EPOLLIN)
        self._poll.register(self._signals, select.EPOLLIN)

    def wait(self, companions: Companions | None = None) -> Outcome:
        """Stay until the container is gone; nothing of it is left when this returns or raises.

        companions: the plan's deadlines and recorder. Raises the SessionError of the step that failed.
        """
        self._companions = companions
        # The entry script disabled it. What exists is left alone.
        gc.freeze()
        gc.enable()
        _syscall.trim()
        try:
            while self._turn():
                pass
        finally:
            self._end_container()
            if self.entry is not None:
                self.entry.leave()
            if self._relay is not None:
                ended = self._reason != "exit"
                self._relay.drain(_DRAIN_S if ended else None)
                self._relay.restore(reset=ended or self._was_killed())
                os.dup2(self._relay.outer, 2)  # for the line of an error
            if companions is not None:
                companions.finish(self._status)
        if self._status is None and self._reason == "exit":
            raise self._sudden_end()
        if self._reason == "hangup" and self._status == 0:
            self._reason = "exit"  # a client that had all that it wanted
        killed = signals.SIGHUP if self._reason == "hangup" else signals.SIGKILL
        traffic = None if self._relay is None else self._relay.traffic
        return Outcome(killed if self._status is None else self._status, self._reason, traffic)

    def _turn(self) -> bool:
        """Wait for one round of events and act on them; False when the session is over."""
        for descriptor, events in self._poll.poll(self._remaining()):
            if descriptor == self._end.fileno():
                if not self._hear():
                    return False
            elif descriptor == self._signals:
                for number in signals.read(self._signals):
                    self._on_signal(number)
            elif self._relay is not None and descriptor in (self._relay.outer, self._relay.master):
                self._relay.handle(descriptor, events)
                if self._relay.hung_up:
                    self._hang_up()
            elif self._companions is not None and self._companions.owns(descriptor):
                self._companions.handle(events)
            elif events & (select.EPOLLERR | select.EPOLLHUP):
                self._hang_up()
        if self._companions is not None:
            self._companions.look()
            if self._companions.ending and self._reason == "exit":
                self._ask_to_end(self._companions.ending)
        return not self._deadline or time.monotonic() < self._deadline

    def _remaining(self) -> float:
        """Return the seconds until something is due, -1 when nothing is."""
        due = self._deadline or _NEVER
        if self._companions is not None:
            due = min(due, self._companions.due)
        return -1.0 if due == _NEVER else max(0.0, due - time.monotonic())

    def _hear(self) -> bool:
        kind, content, attached = packets.receive(self._end)
        if kind == channel.ERROR:
            raise channel.unpack_error(content)
        if kind == channel.FAILED:
            raise order.error_of(self._plan, content)
        if kind == channel.TERMINAL:
            from .terminal import Relay

            self._relay = Relay(self._poll, attached, self._plan.greeting)
            if self._plan.welcome:
                registry.note(registry.WELCOMED, self._plan.welcome)
            if self._companions is not None:
                self._companions.attach(self._poll, self._relay, self._plan.greeting)
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
        if self._companions is not None:
            self._companions.let_go(self._poll)
        if self._relay is None:
            for descriptor in (1, 2):
                try:
                    self._poll.register(descriptor, select.EPOLLET)
                except (PermissionError, FileExistsError):
                    pass  # a regular file, which cannot hang up
        process.replace_standard_descriptors((2,) if self._speaks() and self._relay is None else ())

    def _speaks(self) -> bool:
        """Tell whether there may be something to say on standard error where there is no terminal."""
        return self._companions is not None and self._companions.speaks

    def _was_killed(self) -> bool:
        """Tell whether the payload had no chance to leave its terminal in order."""
        return self._status is None or (
            os.WIFSIGNALED(self._status) and os.WTERMSIG(self._status) == signals.SIGKILL
        )

    def _sudden_end(self) -> SessionError:
        """Return what to say when the container is gone and nobody knows how the payload ended."""
        why = "its first process was killed, perhaps for want of memory"
        return SessionError("the container ended without a word", why, step="wait")

    def _on_signal(self, number: int) -> None:
        if number == PARENT_DIED:
            self._hang_up()
        elif number == signals.SIGWINCH:
            if self._relay is not None:
                self._relay.resize()
        elif number == VIEW:
            if self._relay is not None:
                self._relay.view(self._plan.session)
        elif number == signals.SIGHUP and self._relay is not None and self._relay.is_lost():
            self._hang_up()  # the kernel's word for it, as we lead the session of that terminal
        else:
            self._send_signal(number)

    def _hang_up(self) -> None:
        """Tell the payload that its client is gone, and end it soon whatever it makes of that."""
        if self._reason != "hangup":
            self._reason = "hangup"
            if self._relay is None:
                self._send_signal(signals.SIGHUP)
            soon = time.monotonic() + min(_HANG_UP_GRACE_S, self._plan.grace)
            self._deadline = min(self._deadline or _NEVER, soon)
        if self._relay is not None:
            self._relay.abandon()

    def _ask_to_end(self, reason: str) -> None:
        """Ask the payload to end; after the grace period of the policy it is killed."""
        self._reason = reason
        for number in (signals.SIGHUP, signals.SIGTERM, signals.SIGCONT):
            self._send_signal(number)
        self._deadline = time.monotonic() + self._plan.grace

    def _send_signal(self, number: int) -> None:
        try:
            self._end.send(channel.SIGNAL + bytes((number,)))
        except OSError:
            pass  # pid 1 is gone: the next message from the channel says so

    def _end_container(self) -> None:
        """Kill pid 1, and with it everything in the container; wait until the kernel is done."""
        try:
            signals.send(self._pidfd, signals.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self._pid, 0)

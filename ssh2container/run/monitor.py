# Longer than 300 lines: one loop with its state; every login imports all of it.
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
    from collections.abc import Mapping
    from typing import NoReturn

    from ssh2container.plan.make import Plan

    from .cgroup import Cgroup
    from .companions import Companions
    from .forwarding import Forwarder
    from .networks import Way
    from .terminal import Relay

VIEW = 63
"""The signal by which root asks for a view of the terminal (:mod:`.views`): no client can send it either."""
WORD = 62
"""The signal by which root has something to say to the client (:mod:`.words`)."""
_FORWARDED = (
    signals.SIGHUP,
    signals.SIGINT,
    signals.SIGQUIT,
    signals.SIGTERM,
    signals.SIGUSR1,
    signals.SIGUSR2,
    signals.SIGALRM,
)
ENDING = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM, signals.PARENT_DIED)
"""Those that end a session of which nothing is left but what its client has not read yet."""
_HANG_UP_GRACE_S = 0.5
"""How long the payload may take over SIGHUP, say to save its history, when its client is gone."""
START_S = 20.0
"""How long a container may take to start where that depends on somebody who serves a source."""
_DYING_S = 2.0
"""How long a container that cannot be killed is waited for once this process is to end."""
_COLLECTING_S = 0.6
"""How long pid 1 may take to kill and collect all that runs: a little more than it takes (members.c)."""
_DRAIN_S = 1.0
"""How long a client that reads nothing is waited for when its session was ended."""
_NEVER = float("inf")


class Outcome:
    """How a session ended.

    status: raw wait status of the payload. reason: "exit", "hangup" when the client went away,
    "idle_timeout", "max_duration", "recording" when it failed, "oom" when memory ran out for the payload, or
    "reboot" when a whole system starts again.
    traffic: bytes typed and shown on the terminal, None where there was none. usage: for the record, what it
    used. ran_at: when its program was executed, of time.monotonic(); 0.0 where none was.
    """

    __slots__ = ("ran_at", "reason", "status", "traffic", "usage")

    def __init__(
        self,
        status: int,
        reason: str,
        traffic: tuple[int, int] | None = None,
        usage: dict[str, str] | None = None,
        ran_at: float = 0.0,
    ) -> None:
        self.usage = usage or {}
        self.ran_at = ran_at
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
        registry.own.leave()
        if self.signal is not None:
            process.die_by_signal(self.signal)
            os._exit(128 + self.signal)
        os._exit(self.exit_code or 0)


class Monitor:
    """Waits for one container.

    plan: what was launched. pid, pidfd: its pid 1. end: our end of the channel to it.
    companions: the plan's deadlines and recorder, or None. cgroup: what the session is counted in, or None
    without limits. way: what leads out of its network, or None where nothing does.
    """

    _is_ended_by_us = False
    """Whether a whole system was asked to end: then it does not start again, whatever it makes of that."""
    _ran_at = 0.0
    """When the payload's program was executed, of time.monotonic(); 0.0 before."""
    _spent: Mapping[str, str] = {}
    """For the record, what all that ran has used; nothing before it has been collected."""

    def __init__(
        self,
        plan: Plan,
        pid: int,
        pidfd: int,
        end: packets.End,
        cgroup: Cgroup | None = None,
        way: Forwarder | Way | None = None,
    ) -> None:
        self._plan = plan
        self.cgroup = cgroup
        self.way = way
        self._usage: dict[str, str] = {}
        self._pid = pid
        self._pidfd = pidfd
        self._end = end
        self._poll = select.epoll()
        self._signals = signals.descriptor((*_FORWARDED, signals.SIGWINCH, signals.PARENT_DIED, VIEW, WORD))
        self._relay: Relay | None = None
        self.companions: Companions | None = None
        self._status: int | None = None
        self._deadline = 0.0
        self._starts_by = time.monotonic() + START_S if plan.container.served else 0.0
        self._asked_to_end = False
        self._reason = "exit"
        self._errors: tuple[int, int] | None = None
        self._poll.register(end.fileno(), select.EPOLLIN)
        self._poll.register(self._signals, select.EPOLLIN)
        if way is not None and way.status >= 0:
            self._poll.register(way.status, select.EPOLLIN)

    def wait(self) -> Outcome:
        """Stay until the container is gone; nothing of it is left when this returns or raises.

        Raises the SessionError of the step that failed.
        """
        # The entry script disabled it. What exists is left alone.
        gc.freeze()
        gc.enable()
        _syscall.trim()
        try:
            while self._turn():
                pass
        finally:
            if self.cgroup is not None:
                self._account(self.cgroup)
            self._end_container()
            if self.way is not None:
                self.way.end()
            if self._relay is not None:
                self._see_off(self._relay)
                self._relay.restore(reset=self._reason != "exit" or self._was_killed())
                os.dup2(self._relay.outer, 2)  # for the line of an error
            elif self._plan.watch.terminal:
                from . import terminal

                terminal.give_back()
            if self.companions is not None:
                self.companions.finish(self._status)
        if self._status is None and self._reason == "exit":
            raise self._sudden_end()
        if self._reason == "hangup" and self._status == 0:
            self._reason = "exit"  # a client that had all that it wanted
        killed = signals.SIGHUP if self._reason == "hangup" else signals.SIGKILL
        traffic = None if self._relay is None else self._relay.traffic
        status = killed if self._status is None else self._status
        if self._reason == "exit" and self._was_killed() and self._usage.get("oom_kills", "0") != "0":
            self._reason = "oom"
        return Outcome(status, self._reason, traffic, {**self._spent, **self._usage}, self._ran_at)

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
            elif not self._attend(descriptor, events) and events & (select.EPOLLERR | select.EPOLLHUP):
                self._hang_up()
        self._require_a_start()
        if self.companions is not None:
            self.companions.look()
            if self.companions.ending and self._reason == "exit":
                self._ask_to_end(self.companions.ending)
        return not self._deadline or time.monotonic() < self._deadline

    def _attend(self, descriptor: int, events: int) -> bool:
        """Act on what the poll told of what goes along with the session; False where it was not of that."""
        if self.companions is not None and self.companions.owns(descriptor):
            self.companions.handle(events)
        elif self.cgroup is not None and descriptor == self.cgroup.events:
            self.cgroup.tell_of_kills(self._relay)
        elif self.way is not None and descriptor == self.way.status:
            if not self.way.hear():
                self._poll.unregister(descriptor)
                self.way.bury()
                if self._relay is not None:
                    self._relay.tell("the network of this session has failed; all else goes on")
        else:
            return False
        return True

    def _require_a_start(self) -> None:
        """Raise the error of a container that does not start, for want of whom it takes a source from."""
        if self._starts_by and time.monotonic() >= self._starts_by:
            from ssh2container.kernel import answering

            raise answering.not_answering(self._plan.container.served, START_S)

    def _remaining(self) -> float:
        """Return the seconds until something is due, -1 when nothing is."""
        due = min(self._deadline or _NEVER, self._starts_by or _NEVER)
        if self.companions is not None:
            due = min(due, self.companions.due)
        return -1.0 if due == _NEVER else max(0.0, due - time.monotonic())

    def _hear(self) -> bool:
        kind, content, attached = packets.receive(self._end)
        if kind == channel.ERROR:
            raise channel.unpack_error(content)
        if kind == channel.FAILED:
            raise order.error_of(self._plan, content)
        if kind == channel.TERMINAL:
            from .terminal import Relay

            self._relay = Relay(self._poll, attached, self._plan.watch.greeting)
            if self._plan.watch.welcome:
                registry.note(registry.WELCOMED, self._plan.watch.welcome)
            if self.companions is not None:
                self.companions.attach(self._poll, self._relay, self._plan.watch.greeting)
        elif kind == channel.STARTED:
            self._starts_by, self._asked_to_end, self._ran_at = 0.0, False, time.monotonic()
            self._let_go()
        elif kind == channel.STATUS:
            self._status = int.from_bytes(content, "little")
            if self._is_system:
                from . import whole

                again = not self._is_ended_by_us
                told = whole.tell(self._plan, self._status, self._reason, self._relay, may_restart=again)
                self._status, self._reason = told
        return kind not in (channel.STATUS, b"")

    def _let_go(self) -> None:
        """Leave the client's descriptors to the payload, but be told when the client hangs up.

        A registration holds no reference: when the payload closes its standard output, the client
        sees the end at once although it is still watched here (epoll(7), Questions and answers).
        """
        if self.companions is not None:
            self.companions.let_go(self._poll)
        if self.cgroup is not None and self.cgroup.events >= 0:
            self._poll.register(self.cgroup.events, select.EPOLLPRI)
        if self._relay is None:
            status = os.fstat(2)
            self._errors = status.st_dev, status.st_ino
            for descriptor in (1, 2):
                try:
                    self._poll.register(descriptor, select.EPOLLET)
                except (PermissionError, FileExistsError):
                    pass  # a regular file, which cannot hang up
        process.replace_standard_descriptors((2,) if self._speaks() and self._relay is None else ())

    def _speaks(self) -> bool:
        """Tell whether there may be something to say on standard error where there is no terminal."""
        return self.cgroup is not None or (self.companions is not None and self.companions.speaks)

    def _account(self, cgroup: Cgroup) -> None:
        """Read what was used, before the group goes with the last process in it."""
        self._usage = cgroup.usage()
        if self._was_killed():
            cgroup.tell_of_kills(self._relay, is_final=True)
        cgroup.close()

    def _was_killed(self) -> bool:
        """Tell whether the payload had no chance to leave its terminal in order."""
        return self._status is None or (
            os.WIFSIGNALED(self._status) and os.WTERMSIG(self._status) == signals.SIGKILL
        )

    def _sudden_end(self) -> SessionError:
        """Return what to say when the container is gone and nobody knows how the payload ended."""
        why = "its first process was killed, perhaps because memory ran out"
        return SessionError("the container ended without reporting a status", why, step="wait")

    def _on_signal(self, number: int) -> None:
        if number in ENDING and self._starts_by:
            # Nobody may be there yet to whom it could be passed on.
            self._asked_to_end = True
            self._starts_by = min(self._starts_by, time.monotonic() + _DYING_S)
        if number == signals.PARENT_DIED:
            self._hang_up()
        elif number == signals.SIGWINCH:
            if self._relay is not None:
                self._relay.resize()
        elif number == VIEW:
            if self._relay is not None:
                self._relay.view(self._plan.watch.session)
        elif number == WORD:
            self._convey()
        elif number == signals.SIGHUP and self._relay is not None and self._relay.is_lost():
            self._hang_up()  # the kernel's word for it, as we lead the session of that terminal
        else:
            self._send_signal(number)

    def _convey(self) -> None:
        """Pass on what root has to say; a session does not end for want of it."""
        try:
            from . import words
        except ImportError:
            return  # this version is gone since the session began
        words.convey(self._plan.watch.session, self._relay, self._pid, self._errors)

    @property
    def _is_system(self) -> bool:
        """Whether what runs is a whole system, which ends in an order of its own."""
        scope = self._plan.container.scope
        return scope is not None and scope.divided

    def _grace(self) -> float:
        """Return how long what runs may take to end; a system that takes longer is killed by pid 1."""
        grace = self._plan.container.grace
        if not self._is_system:
            return grace
        from . import whole

        return grace + whole.CLEARING_S

    def _hang_up(self) -> None:
        """Tell the payload that its client is gone, and end it soon whatever it makes of that."""
        if self._reason != "hangup":
            self._reason = "hangup"
            if self._relay is None:
                self._send_signal(signals.SIGHUP)
            soon = time.monotonic() + min(_HANG_UP_GRACE_S, self._plan.container.grace)
            if self._is_system:
                self._send_signal(signals.SIGHUP)
                soon = time.monotonic() + self._grace()
            self._deadline = min(self._deadline or _NEVER, soon)
        if self._relay is not None and self._is_system:
            self._relay.lose()
        elif self._relay is not None:
            self._relay.abandon()

    def _ask_to_end(self, reason: str) -> None:
        """Ask the payload to end; after the grace period of the policy it is killed."""
        self._reason = reason
        for number in (signals.SIGHUP, signals.SIGTERM, signals.SIGCONT):
            self._send_signal(number)
        self._deadline = time.monotonic() + self._grace()

    def _see_off(self, relay: Relay) -> None:
        """Show what the payload left in its terminal, to a client that may have stopped reading.

        One whose session was ended has a moment. Any other has as long as it is there, as on any host, unless
        its session's time is over or somebody ends it: the session is not over before this process is.
        """
        if self._reason != "exit":
            self._deadline = time.monotonic() + _DRAIN_S
        taking = select.poll()
        taking.register(relay.outer, select.POLLOUT)
        taking.register(self._signals, select.POLLIN)
        while (
            not self._asked_to_end
            and not relay.drained()
            and not (self._deadline and time.monotonic() >= self._deadline)
        ):
            remaining = self._remaining()
            taking.poll(None if remaining < 0 else remaining * 1000)
            self._note_request_to_end()
            if self.companions is not None:
                self.companions.look()
                if self.companions.ending and self._reason == "exit":
                    self._reason = self.companions.ending
                    return

    def _note_request_to_end(self) -> None:
        """Take the signals that came when there is no payload any more to pass them on to."""
        if any(number in ENDING for number in signals.read(self._signals)):
            self._asked_to_end = True

    def _send_signal(self, number: int) -> None:
        message = channel.SIGNAL + bytes((number,))
        if self._is_system:
            if number not in ENDING:
                return
            self._is_ended_by_us = True
            message = channel.END
        try:
            self._end.send(message)
        except OSError:
            pass  # pid 1 is gone: the next message from the channel says so

    def _end_container(self) -> None:
        """Kill pid 1, and with it everything in the container; wait until the kernel is done.

        What waits for a file server that hangs may never be: whoever asks us to end then, or a start that
        took too long, leaves it behind as one that the kernel has been told to kill.
        """
        if self._is_system:
            from . import whole

            whole.let_clear_away(self._end, self._pidfd)
        elif self._status is None and self._ran_at:
            self._let_collect()
        try:
            signals.send(self._pidfd, signals.SIGKILL)
        except ProcessLookupError:
            pass
        gone = select.poll()
        gone.register(self._pidfd, select.POLLIN)
        gone.register(self._signals, select.POLLIN)
        overdue = self._starts_by and time.monotonic() >= self._starts_by
        end = time.monotonic() + _DYING_S if self._asked_to_end or overdue else _NEVER
        while not any(descriptor == self._pidfd for descriptor, _ in gone.poll(_milliseconds(end))):
            self._note_request_to_end()
            if time.monotonic() >= end:
                return
            if self._asked_to_end and end == _NEVER:
                end = time.monotonic() + _DYING_S
        try:
            # Imported while the kernel takes the container down.
            from . import spent
        except ImportError:
            os.waitpid(self._pid, 0)  # this version is gone since the session began
        else:
            self._spent = spent.collect(self._pid)

    def _let_collect(self) -> None:
        """Kill the payload, and have pid 1 collect it and what it leaves, so that what they used is known."""
        self._send_signal(signals.SIGKILL)
        gone = select.poll()
        gone.register(self._pidfd, select.POLLIN)
        gone.poll(_COLLECTING_S * 1000)


def _milliseconds(end: float) -> float | None:
    """Return how long poll(2) is to wait until ``end``, of time.monotonic()."""
    return None if end == _NEVER else max(0.0, end - time.monotonic()) * 1000

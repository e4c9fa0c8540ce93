"""What goes along with a session where its plan asks for it: limits in time, records of what it does.

Imported only for such a plan, before the container is made: nothing is imported once a payload runs.
"""

from __future__ import annotations

import posix as os
import select
import time

from ssh2container import paths
from ssh2container.errors import SessionError
from ssh2container.kernel.offering import offer
from ssh2container.plan.sources import that_answer
from ssh2container.record import destination, transfers

from .deadlines import Deadlines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.plan.make import Plan
    from ssh2container.record.audit import Session
    from ssh2container.record.recorder import Recorder

    from .monitor import Monitor
    from .terminal import Relay

NEVER = float("inf")


class Companions:
    """The deadlines, the recorder and the list of transfers of one session, each of them or None.

    ending: why the session has to end, or "".
    """

    def __init__(self, plan: Plan, log: Session) -> None:
        """Open the recording. Raises SessionError when there has to be one and cannot be."""
        self._plan = plan
        self._log = log
        self._relay: Relay | None = None
        self._poll: select.epoll | None = None
        self._registered = self._writing = False
        self._deadlines: Deadlines | None = None
        self._recorder: Recorder | None = None
        self._transfers: transfers.Transfers | None = None
        self._started = time.monotonic()
        self.ending = ""
        if plan.watch.deadlines is not None:
            self._deadlines = Deadlines(plan.watch.deadlines, time.monotonic(), terminal=plan.watch.terminal)
        if plan.watch.recording is not None:
            try:
                if plan.watch.recording.to != "collector":
                    that_answer((plan.watch.recording.directory,))
                self._recorder = destination.start(
                    plan.watch.recording, plan.watch.session, log, plan.watch.reach
                )
            except SessionError as error:
                if plan.watch.recording.on_failure == "end_session":
                    raise
                log.write("recording-failed", warning=True, reason=str(error))

    def launch(self, start: Callable[[], Monitor]) -> Monitor:
        """Start the session with the standard error that its program is to have."""
        if self._plan.watch.transfers == b"":
            self._transfers = transfers.Transfers(self._log)
        try:
            return start()
        except BaseException:
            if self._transfers is not None:
                self._transfers.restore()
            if self._recorder is not None:
                self._recorder.finish("")  # it has not begun: nothing is left of it
            raise

    @property
    def speaks(self) -> bool:
        """Whether the monitor needs standard error where there is no terminal."""
        return self._deadlines is not None

    def owns(self, descriptor: int) -> bool:
        """Tell whether :meth:`handle` is for ``descriptor``."""
        if self._transfers is not None and descriptor == self._transfers.descriptor:
            return True
        return self._recorder is not None and self._registered and descriptor == self._recorder.descriptor

    @property
    def due(self) -> float:
        """When :meth:`look` has something to do at the earliest, of time.monotonic()."""
        due = NEVER if self._deadlines is None or self.ending else self._deadlines.due
        return due if self._recorder is None else min(due, self._recorder.due)

    def let_go(self, poll: select.epoll) -> None:
        """Take part in what the monitor waits for, now that the program runs."""
        if self._transfers is not None:
            self._transfers.restore()
            poll.register(self._transfers.descriptor, select.EPOLLIN)
            self._poll = poll

    def attach(self, poll: select.epoll, relay: Relay, shown: bytes) -> None:
        """Go along with the payload's terminal from its first byte; ``shown`` was there before it."""
        from . import terminal

        self._relay = relay
        self._poll = poll
        recorder = self._recorder
        if recorder is None:
            return
        environment = self._plan.payload.environment
        given = {name: paths.fsdecode(environment.get(name.encode(), b"")) for name in ("TERM", "SHELL")}
        columns, rows = relay.size
        recorder.begin(columns or 80, rows or 24, f"session {self._plan.watch.session}", given)
        recorder.output((shown,))
        ahead = terminal.typed_ahead()
        if recorder.wants_input and ahead:
            recorder.input(ahead)
        relay.recorder = recorder
        poll.register(recorder.descriptor, select.EPOLLIN | select.EPOLLRDHUP)
        self._registered = True

    def handle(self, events: int) -> None:
        """Act on what the poll told about the recording's keeper, or about sftp-server."""
        if self._transfers is not None:
            if not self._transfers.read() and self._poll is not None:
                self._poll.unregister(self._transfers.descriptor)
            return
        recorder, now = self._recorder, time.monotonic()
        if recorder is None:
            return
        if events & ~select.EPOLLOUT:
            recorder.hear()
        recorder.flush(now)

    def look(self) -> None:
        """Do what is due; call it after every round of events."""
        now = time.monotonic()
        if self._recorder is not None:
            self._look_after_recorder(self._recorder, now)
        if self._deadlines is not None and now >= self._deadlines.due and not self.ending:
            active = now if self._relay is None else self._relay.active
            notice = self._deadlines.look(now, active)
            if notice is not None:
                self._tell(notice.text, final=notice.final)
                self._log.write(
                    "limit",
                    reason=notice.reason,
                    phase="end" if notice.final else "warning",
                    text=notice.text,
                )
                if notice.final:
                    self.ending = notice.reason

    def finish(self, status: int | None) -> None:
        """Complete what is recorded. status: the payload's raw wait status, None when there is none."""
        if self._transfers is not None:
            self._transfers.finish()
        elif self._plan.watch.transfers:
            transfers.of_command(self._plan.watch.transfers, self._log, time.monotonic() - self._started)
        if self._recorder is not None:
            self._recorder.finish("" if status is None else str(os.waitstatus_to_exitcode(status)))

    def _look_after_recorder(self, recorder: Recorder, now: float) -> None:
        if now >= recorder.due:
            recorder.look(now)
        if recorder.failure:
            self._drop(recorder)
            return
        if self._registered and self._poll is not None and self._writing != recorder.blocked:
            self._writing = recorder.blocked
            writing = select.EPOLLOUT if self._writing else 0
            self._poll.modify(recorder.descriptor, select.EPOLLIN | select.EPOLLRDHUP | writing)
        if self._relay is not None and self._relay.held and not recorder.full:
            self._relay.flush()

    def _drop(self, recorder: Recorder) -> None:
        """Give up a recording that failed, and the session with it where the policy says so."""
        if self._registered and self._poll is not None:
            self._poll.unregister(recorder.descriptor)
        recorder.abandon()
        self._recorder = None
        if self._relay is not None:
            self._relay.recorder = None
            self._relay.flush()
        if self._plan.watch.recording is not None and self._plan.watch.recording.on_failure == "end_session":
            self._tell(f"this session ends now: it cannot be recorded: {recorder.failure}", final=True)
            self.ending = self.ending or "recording"

    def _tell(self, text: str, *, final: bool) -> None:
        if self._relay is not None:
            self._relay.tell(text, final=final)
            return
        # The payload writes there, too, and nobody has to read: that must not hold a deadline up.
        offer(2, f"ssh2container: {text}\n".encode("utf-8", "backslashreplace"))

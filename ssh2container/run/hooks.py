"""The hooks of a container, from the process that waits for it.

Those outside are run by an attendant (:mod:`.attendant`), those inside by process 1, which tells of them.
Imported only for a plan that has hooks, before a payload runs.
"""

from __future__ import annotations

import posix as os
import select

from ssh2container import paths
from ssh2container.errors import EXIT_OURS, SessionError
from ssh2container.kernel import answering, ends, signals
from ssh2container.plan.hooks import LEFT, failure, words

from . import attendant, channel, packets
from .monitor import ENDING, START_S, Monitor
from .words import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.plan.hooks import Hooks
    from ssh2container.plan.make import Container
    from ssh2container.record.audit import Session

    from .monitor import Outcome

_GIVE_UP = (signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)
"""Those that end the wait for the last hooks, which go on by themselves."""


class _Own:
    """What this process has: one container's hooks at most."""

    log: Session | None = None
    attendant: Attendant | None = None


def prepare(log: Session) -> None:
    """Have hooks recorded in ``log``."""
    # Now: the last ones may run when this version is gone.
    from ssh2container.record import authentication, logs  # noqa: F401

    _Own.log = log


class Attendant:
    """The attendant of one container (:mod:`.attendant`), from this side."""

    def __init__(
        self, hooks: Hooks, container: Container, init: tuple[int, int], lock: int, log: Session
    ) -> None:
        """Start it. init: pid and pidfd of process 1. lock: of the session's entry in the registry, or -1."""
        self._log = log
        # What it would leave if it were killed comes here.
        attendant.become_reaper()
        self._before = frozenset(map(int, children(os.getpid())))
        self._end, theirs = packets.pair()
        self._pid = os.fork()
        if self._pid == 0:
            attendant.run(hooks, container.name, init, theirs, lock, log)
        theirs.close()

    def place(self, container: Container) -> None:
        """Have it, and all that it starts, limited as the session is, in a scope of its own. Raises Refusal.

        Not in the session's: what runs there could have it killed by using up the memory.
        """
        if container.scope is None:
            return
        from .scope import Placing

        found = Placing(container.scope, f"{container.name}-hooks", self._pid).settle()
        if found.why:
            self._log.note(f"hooks go on without limits that the policy asks for: {found.why}")
        found.close()

    def create(self, asked: int) -> None:
        """Run the hooks before. Raises Refusal for one that failed, SessionError where ``asked`` to end."""
        self._end.send(attendant.CREATE)
        ready = select.poll()
        for descriptor in (self._end.fileno(), asked):
            ready.register(descriptor, select.POLLIN)
        if not any(descriptor == self._end.fileno() for descriptor, _ in ready.poll()):
            raise _ended()
        kind, content, _ = packets.receive(self._end)
        if kind == channel.ERROR:
            raise channel.unpack_error(content)
        if kind != attendant.DONE:
            attendant.end_all(self._before)
            raise SessionError(
                "cannot run the policy's hooks", "the process that runs them was killed", step="hook"
            )

    def stop(self, status: str, asked: int = -1, *, patient: bool = True) -> None:
        """Have the hooks after run, which see ``status``, and wait for them.

        asked: a descriptor of signals, some of which end the wait. patient: whether there is one at all.
        """
        try:
            self._end.send(attendant.STOP + status.encode())
        except OSError:
            pass  # it was killed: the end of file says so
        ready = select.poll()
        ready.register(self._end.fileno(), select.POLLIN)
        if asked >= 0:
            ready.register(asked, select.POLLIN)
        while patient:
            if any(descriptor == self._end.fileno() for descriptor, _ in ready.poll()):
                self.bury(expected=packets.receive(self._end)[0] == attendant.DONE)
                return
            patient = not any(number in _GIVE_UP for number in signals.read(asked))

    def bury(self, *, expected: bool = True) -> None:
        """Collect it. expected: not so where it was killed, and perhaps left something."""
        self._end.close()
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass  # it was killed, and has been collected
        if not expected:
            attendant.end_all(self._before)
            self._log.note("the hooks of poststop did not all run: the process that runs them was killed")


def create(container: Container, end: ends.End, init: tuple[int, int], lock: int) -> bool:
    """Run the hooks outside that come before the payload, once process 1 has made the container.

    end: the channel to it. init, lock: as for :class:`Attendant`. False where there is nothing to run, or
    where process 1 says something else, which whoever waits for it will hear. Raises SessionError; the hooks
    after have run then, too.
    """
    hooks, log = container.hooks, _Own.log
    if hooks is None or log is None or not hooks.outside:
        return False
    asked = signals.descriptor(ENDING)
    try:
        if not _is_made(container, end, asked):
            return False
        own = Attendant(hooks, container, init, lock, log)
        try:
            own.place(container)
            own.create(asked)
        except BaseException as error:
            signals.send(init[1], signals.SIGKILL)
            if hooks.stop:
                own.stop(_status_of(error))
            else:
                own.bury()
            raise
    finally:
        os.close(asked)
    if hooks.stop:
        _Own.attendant = own
    else:
        own.bury()
    return True


def stop(status: str, asked: int = -1, *, patient: bool = True) -> None:
    """Run the hooks outside that come after the container; see :meth:`Attendant.stop`."""
    own, _Own.attendant = _Own.attendant, None
    if own is not None:
        own.stop(status, asked, patient=patient)


def hear(container: Container, end: packets.End) -> bool:
    """Take in what process 1 says of a hook inside. Raises the Refusal of one that failed.

    False where it says something else, which is left to read.
    """
    hooks = container.hooks
    if hooks is None or not _says(end, channel.HOOK):
        return False
    _, content, _ = packets.receive(end)
    operation = hooks.start[int.from_bytes(content[:4], "little")]
    kind, number = content[4], int.from_bytes(content[5:9], "little", signed=True)
    why = words(operation.hook, kind, number)
    if _Own.log is not None:
        _Own.log.write(
            "hook",
            warning=bool(why),
            stage=operation.hook.stage,
            path=operation.hook.path,
            reason=why,
            text=paths.fsdecode(content[9:]).strip(),
        )
    if why and (operation.hook.counts or kind == LEFT):
        raise failure(operation, kind, number)
    return True


class Hooked(Monitor):
    """The monitor of a container with hooks."""

    def wait(self) -> Outcome:
        """As of every monitor; the hooks after have run when this returns or raises."""
        if self._starts_by and self._plan.container.hooks is not None:
            self._starts_by += self._plan.container.hooks.inside_s
        try:
            outcome = super().wait()
        except BaseException as error:
            stop(_status_of(error), self._signals, patient=not self._asked_to_end)
            raise
        code = outcome.exit_code
        status = str(128 + (outcome.signal or 0) if code is None else code)
        stop(status, self._signals, patient=not self._asked_to_end)
        return outcome

    def _hear(self) -> bool:
        return hear(self._plan.container, self._end) or super()._hear()


def _status_of(error: BaseException) -> str:
    return str(error.status if isinstance(error, SessionError) else EXIT_OURS)


def _is_made(container: Container, end: ends.End, asked: int) -> bool:
    """Wait for process 1 to say so; False where it says something else, which is left to read."""
    ready = select.poll()
    for descriptor in (end.fileno(), asked):
        ready.register(descriptor, select.POLLIN)
    found = ready.poll(START_S * 1000 if container.served else None)
    if not found:
        raise answering.not_answering(container.served, START_S)
    if not any(descriptor == end.fileno() for descriptor, _ in found):
        raise _ended()
    if not _says(end, channel.WAITING):
        return False
    packets.receive(end)
    return True


def _says(end: packets.End, kind: bytes) -> bool:
    try:
        return end.recvmsg(1, 0, ends.MSG_PEEK)[0] == kind
    except ConnectionResetError:
        return False


def _ended() -> SessionError:
    return SessionError(
        "cannot go on with the session", "it was to end before its hooks had run", step="hook"
    )

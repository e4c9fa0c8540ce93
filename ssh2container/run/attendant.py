"""The attendant: the process outside that runs the hooks of one container, and outlives who waits for it.

A copy of that process, in a session of its own, with nothing of the client's. It sees the end of the other
side as the end of file, so that the hooks after a container run however its monitor ended. Whatever a hook
starts and leaves is its child in the end (PR_SET_CHILD_SUBREAPER), and no_new_privs keeps all of it within
its reach: so nothing of a hook stays (prctl(2), proc_pid_task(5), posix_spawn(3)).
"""

from __future__ import annotations

import posix as os
import select
import time

from ssh2container import paths
from ssh2container.errors import SessionError
from ssh2container.kernel import libc, process, signals
from ssh2container.plan.hooks import EXITED, LATE, LEFT, NOT_RUN, failure, words
from ssh2container.plan.operations.confinement import PR_SET_NO_NEW_PRIVS
from ssh2container.plan.operations.limits import RESOURCES

from . import channel, packets
from .words import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from ssh2container.plan.hooks import Hooks
    from ssh2container.plan.operations.hooks import RunHook
    from ssh2container.record.audit import Session

CREATE, STOP, DONE = b"C", b"S", b"D"
"""Run the hooks before, or those after, behind which the exit status follows; they have run."""
NAME = "ssh2c-hooks"
"""By which lists of processes tell it from who waits for the container."""
_PR_SET_CHILD_SUBREAPER = 36
_MASK = 0o022
_LONGEST_SAID = 1000
"""Bytes of a hook's standard error that are recorded; all of it is read."""
_BURYING_S = 2.0
"""How long what was killed may take to be gone."""
_PAUSE_MS = 50


def run(
    hooks: Hooks, session: str, init: tuple[int, int], end: _socket.socket, lock: int, log: Session
) -> NoReturn:
    """In a child: be the attendant.

    session: the name of the container. init: pid and pidfd of its process 1. end: to who waits for it.
    lock: of the entry in the registry, or -1: the session counts as long as its hooks run.
    """
    try:
        os.setsid()
        os.chdir("/")
        os.umask(_MASK)
        become_reaper()
        libc.syscall("prctl", process.PR_SET_NAME, NAME.encode() + b"\0", 0, 0, 0)
        libc.syscall("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # The soft limit is that of the user's sessions, which could otherwise keep hooks from running.
        _, hard = process.get_limit(RESOURCES["nproc"])
        process.set_limit(RESOURCES["nproc"], hard, hard)
        process.replace_standard_descriptors()
        process.close_all_but((end.fileno(), init[1], lock))
        _Attendant(hooks, session, init, end, log).attend()
    except BaseException as error:  # noqa: BLE001 - whatever it is, who waits must hear of it
        try:
            end.send(channel.pack_error(error))
        except OSError:
            pass  # nobody waits any more
    os._exit(0)


class _Attendant:
    def __init__(
        self, hooks: Hooks, session: str, init: tuple[int, int], end: _socket.socket, log: Session
    ) -> None:
        self._hooks = hooks
        self._session = session
        self._init, self._pidfd = init
        self._end = end
        self._log = log

    def attend(self) -> None:
        if packets.receive(self._end)[0] != CREATE:
            return  # it was not to be
        try:
            self._create()
        except SessionError as error:  # of the log, where the site requires its records
            self._tell(channel.pack_error(error))
        if not self._hooks.stop:
            return
        _, status, _ = packets.receive(self._end)
        gone = select.poll()
        gone.register(self._pidfd, select.POLLIN)
        gone.poll()
        for operation in self._hooks.stop:
            try:
                self._run(operation, status.decode("ascii", "replace"))
            except SessionError:
                pass  # as above: the session is over, and the next one tidies up all the same
        self._tell(DONE)

    def _create(self) -> None:
        for operation in self._hooks.create:
            ended = self._run(operation, watched=True)
            if ended is None:
                return
            if words(operation.hook, *ended) and (operation.hook.counts or ended[0] == LEFT):
                self._tell(channel.pack_error(failure(operation, *ended)))
                return
        self._tell(DONE)

    def _tell(self, message: bytes) -> None:
        try:
            self._end.send(message)
        except OSError:
            pass  # nobody waits any more, and the hooks after run all the same

    def _run(self, operation: RunHook, status: str = "", *, watched: bool = False) -> tuple[int, int] | None:
        """Run a hook, end all that is left of it, record it; return how it ended, and the number of that.

        watched: it ends, and this returns None, when nobody waits for it any more.
        """
        began = time.monotonic()
        ended, said = self._ended(operation, status, watched=watched)
        self._log.write(
            "hook",
            warning=ended is None or bool(words(operation.hook, *ended)),
            stage=operation.hook.stage,
            path=operation.hook.path,
            reason="who waited for it was killed" if ended is None else words(operation.hook, *ended),
            duration=f"{time.monotonic() - began:.3f}",
            text=paths.fsdecode(said).strip(),
        )
        return ended

    def _ended(
        self, operation: RunHook, status: str, *, watched: bool
    ) -> tuple[tuple[int, int] | None, bytes]:
        hook = operation.hook
        errors, writes = os.pipe2(os.O_CLOEXEC)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, writes, 2),
        ]
        environment = self._hooks.environment(hook, self._session, self._init, status)
        try:
            pid = os.posix_spawn(
                hook.path, hook.args, environment, file_actions=actions, setsid=True, setsigmask=()
            )
        except OSError as error:
            os.close(errors)
            return (NOT_RUN, error.errno or 0), b""
        finally:
            os.close(writes)
        going = _Going(pid, errors)
        ended = going.await_end(hook.timeout, self._end if watched else None)
        if not end_all():
            ended = LEFT, 0
        return ended, going.close()


class _Going:
    """A hook that runs. errors: the other side of its standard error."""

    def __init__(self, pid: int, errors: int) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._errors = errors
        self._said = b""
        self._poll = select.poll()
        self._poll.register(self._pidfd, select.POLLIN)
        self._poll.register(errors, select.POLLIN)
        os.set_blocking(errors, False)

    def await_end(self, longest_s: float, other: _socket.socket | None) -> tuple[int, int] | None:
        """Return how it ended, LATE where it has not; None where the other side did, which says nothing."""
        until = time.monotonic() + longest_s
        if other is not None:
            self._poll.register(other, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            for descriptor, _ in self._poll.poll(left * 1000):
                if descriptor == self._pidfd:
                    return EXITED, os.waitpid(self._pid, 0)[1]
                if descriptor != self._errors:
                    return None
                if not self._read():
                    self._poll.unregister(self._errors)
        return LATE, 0

    def close(self) -> bytes:
        """Let go of it; return the beginning of what it said."""
        while self._read():
            pass
        os.close(self._pidfd)
        os.close(self._errors)
        return self._said

    def _read(self) -> bool:
        try:
            piece = os.read(self._errors, 1 << 16)
        except BlockingIOError:
            return False
        self._said = (self._said + piece)[:_LONGEST_SAID]
        return bool(piece)


def become_reaper() -> None:
    """Take in what descendants leave behind (PR_SET_CHILD_SUBREAPER)."""
    libc.syscall("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all(spared: frozenset[int] = frozenset()) -> bool:
    """Kill every child of this process but ``spared``, and what comes to it from them until there is no more.

    False where something is left after some seconds.
    """
    changed = signals.descriptor((signals.SIGCHLD,))
    poll = select.poll()
    poll.register(changed, select.POLLIN)
    until = time.monotonic() + _BURYING_S
    try:
        while time.monotonic() < until:
            left = [child for child in map(int, children(os.getpid())) if child not in spared]
            for child in left:
                os.kill(child, signals.SIGKILL)
            if not _remain(left, everything=not spared):
                return True
            poll.poll(_PAUSE_MS)
            signals.read(changed)
    finally:
        os.close(changed)
    return False


def _remain(pids: list[int], *, everything: bool) -> bool:
    """Collect those that have ended; tell whether there may be more. everything: not only of ``pids``.

    The list of children may leave some out while others come and go (proc_pid_task(5)): where nobody is
    spared, the kernel's word that there are none counts.
    """
    if not everything:
        for pid in pids:
            os.waitpid(pid, os.WNOHANG)
        return bool(pids)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True

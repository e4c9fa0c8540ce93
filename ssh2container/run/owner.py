"""The owner of a shared container: the process outside whose life is the container's.

It belongs to no login: a session of its own, no parent that waits, nothing of any client's. When
it dies, by whatever signal, the kernel ends the container with it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import posix as os
import select
import time

from ssh2container.errors import SessionError
from ssh2container.kernel import process, signals
from ssh2container.record import audit, registry

from . import channel, order, packets, spent
from .monitor import START_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from ssh2container.plan.make import Container, Payload, Plan
    from ssh2container.plan.operations import Operation
    from ssh2container.policy.hours import Closing

    from .forwarding import Forwarder
    from .launch import Started
    from .networks import Way

    Start = Callable[[Container, Payload, registry.Entry, Iterable[Operation]], Started]
    """``launch.start``."""

_ENDS_IT = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)
_MARGIN_S = 2.0
"""How much longer than its grace pid 1 may take before it is killed."""


def start(plan: Plan, directory: str, name: str, start_init: Start) -> None:
    """Make a container with an owner, registered as ``name`` and its id; return when it takes logins in.

    Called with the directory locked. Raises SessionError.
    """
    ours, theirs = packets.pair()
    connection = os.pidfd_open(os.getppid()) if plan.container.per == "connection" else -1
    child = os.fork()
    if child == 0:
        _run(plan, theirs, directory, name, connection, start_init)
    theirs.close()
    if connection >= 0:
        os.close(connection)
    os.waitpid(child, 0)
    kind, content, _ = packets.receive(ours)
    ours.close()
    if kind == channel.ERROR:
        raise channel.unpack_error(content)
    if kind != channel.STARTED:
        raise SessionError("cannot make the user's container", "its owner was killed", step="owner")


def _run(
    plan: Plan, login: _socket.socket, directory: str, name: str, connection: int, start_init: Start
) -> NoReturn:
    """In a child: become the owner."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        process.replace_standard_descriptors()
        kept = (login.fileno(),) if connection < 0 else (login.fileno(), connection)
        process.close_all_but(kept)
        container = os.urandom(5).hex()
        plan.watch.registration |= {"container": container, "command": ""}
        if plan.watch.room is not None:
            plan.watch.registration["storage"] = str(plan.watch.room[0])
        entry = registry.Entry(directory, name + container, plan.watch.registration)
        entry.admit()
        plan.container.share(container)
        Owner(plan, entry, connection).run(login, start_init)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the login must hear of it
        try:
            login.send(channel.pack_error(error))
        except OSError:
            pass  # the container was made, or nobody waits for it any more
    os._exit(0)


class Owner:
    """Waits for one shared container. connection: pidfd of the process that it may not outlive, or -1."""

    def __init__(self, plan: Plan, entry: registry.Entry, connection: int) -> None:
        self._plan = plan
        self._entry = entry
        self._connection = connection
        self._deadline = 0.0
        limits = plan.watch.deadlines
        self._closing = None if limits is None else limits.closing
        self._starts_by = time.monotonic() + START_S if plan.container.served else 0.0
        if self._starts_by and plan.container.hooks is not None:
            self._starts_by += plan.container.hooks.before_s

    def run(self, login: _socket.socket, start_init: Start) -> None:
        """Make the container, tell the login, stay until the container is gone. Raises SessionError."""
        began = time.monotonic()
        log = audit.Session({})
        log.know(session="", container=self._plan.container.name, image=self._plan.container.image.name)
        if self._plan.container.hooks is not None:
            from . import hooks

            hooks.prepare(log)
        try:
            pid, pidfd, end, cgroup, way = start_init(
                self._plan.container, self._plan.payload, self._entry, self._plan.container.outside
            )
            if cgroup is not None:
                self._plan.watch.registration["cgroup"] = cgroup.path
                self._entry.write(self._plan.watch.registration)
                if cgroup.why:
                    log.note(f"its limits do not all hold: {cgroup.why}")
            if way is not None:
                way.record_in(log)
            if self._plan.container.joins is not None:
                from . import networks

                # For the records of those who join.
                self._plan.watch.registration |= networks.facts()
                self._entry.write(self._plan.watch.registration)
            try:
                self._attend(end, login, log, way)
            finally:
                counted = {} if cgroup is None else cgroup.usage()
                if self._plan.container.scope is not None and self._plan.container.scope.divided:
                    from . import whole

                    whole.let_clear_away(end, pidfd)
                try:
                    signals.send(pidfd, signals.SIGKILL)
                except ProcessLookupError:
                    pass
                log.know(**{**self._bury(pid, pidfd), **counted})
                if way is not None:
                    way.end()
                if self._plan.container.hooks is not None:
                    hooks.stop("")
                log.write("container-close", duration=f"{time.monotonic() - began:.3f}")
        finally:
            self._entry.leave()

    def _attend(
        self, end: packets.End, login: _socket.socket, log: audit.Session, way: Forwarder | Way | None
    ) -> None:
        network = -1 if way is None else way.status
        asked = signals.descriptor(_ENDS_IT)
        poll = select.poll()
        for descriptor in (end.fileno(), asked):
            poll.register(descriptor, select.POLLIN)
        if network >= 0:
            poll.register(network, select.POLLIN)
        if self._connection >= 0:
            poll.register(self._connection, select.POLLIN)
        while True:
            remaining = self._remaining()
            if remaining is not None and remaining <= 0:
                return
            if self._closing is not None and not self._deadline:
                remaining = self._until_closing(self._closing, end, remaining)
            for descriptor, _ in poll.poll(remaining):
                if descriptor == end.fileno():
                    if not self._hear(end, login, log):
                        return
                    continue
                if descriptor == network and way is not None:
                    _hear_of_network(way, poll)
                    continue
                if descriptor == asked:
                    signals.read(asked)
                else:
                    poll.unregister(descriptor)
                self._ask_to_end(end)

    def _until_closing(self, closing: Closing, end: packets.End, remaining: float | None) -> float:
        """Return the milliseconds to wait at most; have the container end where its account has closed.

        The logins' monitors ask their programs to end first, and give them their time.
        """
        left = closing.left() + self._plan.container.grace
        if left <= 0:
            self._ask_to_end(end)
        left = min(max(left, 0.0), closing.AGAIN_S) * 1000
        return left if remaining is None else min(left, remaining)

    def _ask_to_end(self, end: packets.End) -> None:
        """Have pid 1 end what is inside; it is killed where that takes longer than it may."""
        _tell(end, channel.END)
        self._deadline = self._deadline or time.monotonic() + self._plan.container.grace + _MARGIN_S

    def _hear(self, end: packets.End, login: _socket.socket, log: audit.Session) -> bool:
        """Act on what pid 1 says; False when it is gone. Raises SessionError."""
        if self._plan.container.hooks is not None:
            from . import hooks

            if hooks.hear(self._plan.container, end):
                return True
        if not self._has_started(end):
            return False
        log.write("container-open")
        _tell(login)
        return True

    def _has_started(self, end: packets.End) -> bool:
        """Take in what pid 1 says; False when it is gone. Raises SessionError."""
        kind, content, _ = packets.receive(end)
        if kind == channel.ERROR:
            raise channel.unpack_error(content)
        if kind == channel.FAILED:
            raise order.error_of(self._plan, content)
        self._starts_by = 0.0
        return kind == channel.STARTED

    def _remaining(self) -> float | None:
        """Return the milliseconds until something is due, None when nothing is. Raises SessionError."""
        due = self._deadline or self._starts_by
        if not due:
            return None
        left = due - time.monotonic()
        if left <= 0 and self._starts_by:
            from ssh2container.kernel import answering

            raise answering.not_answering(self._plan.container.served, START_S)
        return left * 1000

    def _bury(self, pid: int, pidfd: int) -> dict[str, str]:
        """Wait for what was killed and return what it has used; what hangs may never end."""
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        if ended.poll(_MARGIN_S * 1000 if self._starts_by else None):
            return spent.collect(pid)
        return {}


def _hear_of_network(way: Forwarder | Way, poll: select.poll) -> None:
    if not way.hear():
        poll.unregister(way.status)
        way.bury()


def _tell(whom: packets.End, message: bytes = channel.STARTED) -> None:
    try:
        whom.send(message)
    except OSError:
        pass  # it is gone; what comes next says so
    if message == channel.STARTED:
        whom.close()

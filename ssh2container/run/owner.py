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

from . import channel, order, packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from ssh2container.plan.make import Plan

_ENDS_IT = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)
_MARGIN_S = 2.0
"""How much longer than its grace pid 1 may take before it is killed."""


def start(plan: Plan, directory: str, name: str) -> None:
    """Make a container with an owner, registered as ``name`` and its id; return when it takes logins in.

    Called with the directory locked. Raises SessionError.
    """
    ours, theirs = packets.pair()
    connection = os.pidfd_open(os.getppid()) if plan.container_per == "connection" else -1
    child = os.fork()
    if child == 0:
        _run(plan, theirs, directory, name, connection)
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


def _run(plan: Plan, login: _socket.socket, directory: str, name: str, connection: int) -> NoReturn:
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
        entry = registry.Entry(directory, name + container)
        Owner(plan.of_container(container), entry, connection).run(login)
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

    def run(self, login: _socket.socket) -> None:
        """Make the container, tell the login, stay until the container is gone. Raises SessionError."""
        from .launch import start as start_init

        began = time.monotonic()
        log = audit.Session({})
        log.know(session="", container=self._plan.session, image=self._plan.image.name)
        try:
            pid, pidfd, end = start_init(self._plan, self._entry)
            self._entry.write({**self._plan.registration, "container": self._plan.session, "command": ""})
            try:
                self._attend(end, login, log)
            finally:
                try:
                    signals.send(pidfd, signals.SIGKILL)
                except ProcessLookupError:
                    pass
                os.waitpid(pid, 0)
                log.write("container-close", duration=f"{time.monotonic() - began:.3f}")
        finally:
            self._entry.leave()

    def _attend(self, end: _socket.socket, login: _socket.socket, log: audit.Session) -> None:
        asked = signals.descriptor(_ENDS_IT)
        poll = select.poll()
        for descriptor in (end.fileno(), asked):
            poll.register(descriptor, select.POLLIN)
        if self._connection >= 0:
            poll.register(self._connection, select.POLLIN)
        while True:
            remaining = None
            if self._deadline:
                remaining = int((self._deadline - time.monotonic()) * 1000)
                if remaining <= 0:
                    return
            for descriptor, _ in poll.poll(remaining):
                if descriptor == end.fileno():
                    kind, content, _ = packets.receive(end)
                    if kind == channel.ERROR:
                        raise channel.unpack_error(content)
                    if kind == channel.FAILED:
                        raise order.error_of(self._plan, content)
                    if kind != channel.STARTED:
                        return
                    log.write("container-open")
                    _tell(login)
                    continue
                if descriptor == asked:
                    signals.read(asked)
                else:
                    poll.unregister(descriptor)
                _tell(end, channel.END)
                self._deadline = self._deadline or time.monotonic() + self._plan.grace + _MARGIN_S


def _tell(whom: _socket.socket, message: bytes = channel.STARTED) -> None:
    try:
        whom.send(message)
    except OSError:
        pass  # it is gone; what comes next says so
    if message == channel.STARTED:
        whom.close()

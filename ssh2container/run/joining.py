"""Joining a container that logins share (``container_per``), or having it made first.

The user's directory is locked from the look for a container to its answer: two first logins make one
container, and a login that meets the end of the last one makes the next.
"""

from __future__ import annotations

import _socket
import errno
import posix as os
import time
from _blake2 import blake2b

from ssh2container import paths
from ssh2container.errors import Refusal, SessionError
from ssh2container.plan.operations import perform
from ssh2container.record import registry

from . import channel, order, owner, packets, terminal
from .monitor import Monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssh2container.plan.make import Plan

    from .cgroup import Cgroup
    from .owner import Start

_PATIENCE_S = 10.0
"""How long a pid 1 may take to answer: one that is stopped must not stop a login."""
_ATTEMPTS = 50
"""Each failed one means that a container ended just then."""
_ENDING_S = 2.0
"""So long a login waits for a container that is about to end, where there may be no more."""
_PAUSE_S = 0.01
_GONE = (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)


class Joined(Monitor):
    """The monitor of a login whose container belongs to an owner."""

    def __init__(self, plan: Plan, end: _socket.socket, cgroup: Cgroup | None) -> None:
        super().__init__(plan, 0, -1, end, cgroup)
        self._connection = end

    @property
    def _is_system(self) -> bool:
        # The system is its owner's: what joins it is a program like any other.
        return False

    def _speaks(self) -> bool:
        # A container that others end, too, is worth a line whenever that happens.
        return True

    def _sudden_end(self) -> SessionError:
        return SessionError(
            "the container that your sessions share has ended",
            "an administrator ended it, or its owner was killed",
            "log in again to get a new one",
            "wait",
        )

    def _end_container(self) -> None:
        """Let go: pid 1 ends the payload of a login that is gone, and nothing else."""
        self._connection.close()


def join(plan: Plan, start: Start) -> Monitor:
    """Return the monitor of a login in the container that ``plan`` shares. Raises SessionError.

    start: starts the pid 1 of one that has to be made (``launch.start``).
    """
    directory = registry.runtime_directory()
    if directory is None:
        raise Refusal("cannot find the runtime directory", "it has just been removed", step="join")
    name = f"{registry.CONTAINER}{_key(plan)}-"
    try:
        # Whoever makes a container holds it while hooks run.
        hooks = plan.container.hooks
        with registry.Lock(directory, 0.0 if hooks is None else hooks.before_s):
            end, container = _find_or_make(plan, directory, name, start)
        perform(plan.monitor)
        cgroup = None
        if plan.container.scope is not None:
            from .cgroup import of_container

            cgroup = of_container(plan.container.scope, container, f"{directory}/{name}{container}")
        if registry.own.entry is not None:
            registry.own.entry.write({**plan.watch.registration, "container": container})
        standard = [number for number in (0, 1, 2) if not (plan.watch.terminal and os.isatty(number))]
        like = terminal.take_over() if plan.watch.terminal else b""
        ask(end, order.request_of(plan.payload, like), standard)
    except OSError as error:
        why = error.strerror or "its pid 1 does not answer"
        raise SessionError("cannot join the user's container", why, "", "join", error.errno or 0) from None
    joined = Joined(plan, end, cgroup)
    if plan.container.joins is not None:
        from . import networks

        joined.way = networks.of_container(f"{directory}/{name}{container}")
    return joined


def _key(plan: Plan) -> str:
    """Return what names the container within the user's directory.

    Each image of several has one of its own: a login with another would end the one that it finds.
    """
    image = paths.fsencode(plan.container.choice)
    if plan.container.per == "user":
        return "user" if not image else blake2b(image, digest_size=8).hexdigest()
    # The process of sshd that our login is a child of serves one connection, with all its sessions.
    connection = plan.payload.environment.get(b"SSH_CONNECTION", b"")
    return blake2b(b"%d %s %s" % (os.getppid(), connection, image), digest_size=8).hexdigest()


def _find_or_make(plan: Plan, directory: str, name: str, start: Start) -> tuple[_socket.socket, str]:
    for _ in range(_ATTEMPTS):
        for found in os.listdir(directory):
            if found.startswith(name) and found.endswith(registry.SOCKET):
                answer = greet(f"{directory}/{found}", plan.container.digest)
                if answer is not None:
                    return answer
                entry = found.removesuffix(registry.SOCKET)
                if not registry.is_live(f"{directory}/{entry}"):
                    registry.remove(directory, entry)
        _require_container(plan, directory)
        owner.start(plan, directory, name, start)
    raise SessionError("cannot join the user's container", "each new one ended at once", "try again", "join")


def _require_container(plan: Plan, directory: str) -> None:
    """Raise Refusal where the user may not have one more shared container.

    A login that comes right after another's end meets a container that is about to end: it is waited for.
    """
    deadline = time.monotonic() + _ENDING_S
    while True:
        names = [name for name in os.listdir(directory) if registry.is_entry(name)]
        live = [
            name
            for name in names
            if name.startswith(registry.CONTAINER) and registry.is_live(f"{directory}/{name}")
        ]
        try:
            _require_one_more(plan, directory, names, len(live))
        except Refusal:
            if time.monotonic() > deadline or not any(_ends(f"{directory}/{name}") for name in live):
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _require_one_more(plan: Plan, directory: str, names: list[str], live: int) -> None:
    """Raise Refusal where as many containers are ``live`` as may be, or too little memory is left.

    A connection may keep one when its sessions have ended, which count no longer: there are no more than
    sessions. Sessions need no memory of their own here, so those that have said nothing yet count for none.
    """
    most = plan.watch.sessions_max
    if most is not None and live >= most:
        raise Refusal(
            "too many containers",
            f"{live} of at most {most} (sessions.max) have not ended",
            "close the connections that keep them first",
            "sessions",
        )
    if plan.watch.room is not None:
        registry.require_room(directory, names, *plan.watch.room, shared=True)


def _ends(path: str) -> bool:
    """Tell whether the container whose entry is at ``path`` takes nobody in any more."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    end.setblocking(False)
    try:
        end.connect(path + registry.SOCKET)
    except OSError as error:
        return error.errno in _GONE
    finally:
        end.close()
    return False


def greet(place: str, container: bytes) -> tuple[_socket.socket, str] | None:
    """Return a connection to the pid 1 that listens at ``place`` and its container's id.

    container: the digest of the one that is meant, b"" for any. None where it takes nobody in.
    Raises OSError.
    """
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    end.settimeout(_PATIENCE_S)
    try:
        end.connect(place)
        end.send(channel.HELLO + channel.VERSION + container)
        kind, content, _ = packets.receive(end)
    except OSError as error:
        end.close()
        if error.errno in _GONE:
            return None
        raise
    if kind == channel.ADMITTED:
        end.settimeout(None)
        return end, content.decode("ascii", "replace")
    end.close()
    return None


def ask(end: _socket.socket, request: bytes, standard: Iterable[int]) -> None:
    """Ask pid 1 to run a program; the answers are those that a monitor gets. Raises OSError.

    request: of ``order.request``. standard: those of our own 0-2 that the program gets.
    """
    # In a file: a command alone may be longer than a packet.
    file = order.seal(request)
    try:
        packets.send_descriptor(end, channel.REQUEST + bytes(standard), file, *standard)
    finally:
        os.close(file)

"""Joining a container that logins share (``container_per``), or having it made first.

The user's directory is locked from the look for a container to its answer: two first logins make one
container, and a login that meets the end of the last one makes the next.
"""

from __future__ import annotations

import _socket
import errno
import posix as os
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

_PATIENCE_S = 10.0
"""How long a pid 1 may take to answer: one that is stopped must not stop a login."""
_ATTEMPTS = 50
"""Each failed one means that a container ended just then."""
_GONE = (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)


class Joined(Monitor):
    """The monitor of a login whose container belongs to an owner."""

    def __init__(self, plan: Plan, end: _socket.socket) -> None:
        super().__init__(plan, 0, -1, end)
        self._connection = end

    def _speaks(self) -> bool:
        # A container that others end, too, is worth a line whenever that happens.
        return True

    def _sudden_end(self) -> SessionError:
        return SessionError(
            "the container that your sessions share has ended",
            "an administrator ended it, or its owner was killed",
            "log in again: that makes another",
            "wait",
        )

    def _end_container(self) -> None:
        """Let go: pid 1 ends the payload of a login that is gone, and nothing else."""
        self._connection.close()


def join(plan: Plan) -> Monitor:
    """Return the monitor of a login in the container that ``plan`` shares. Raises SessionError."""
    directory = registry.runtime_directory()
    if directory is None:
        raise Refusal("cannot find the runtime directory", "it has just been removed", step="join")
    name = f"{registry.CONTAINER}{_key(plan)}-"
    try:
        with registry.Lock(directory):
            end, container = _find_or_make(plan, directory, name)
        perform(plan.monitor)
        plan.registration["container"] = container
        standard = [number for number in (0, 1, 2) if not (plan.terminal and os.isatty(number))]
        like = terminal.likeness() if plan.terminal else b""
        umask = b"" if plan.program.umask is None else b"%d" % plan.program.umask
        attempts = [[paths.fsencode(path), *arguments] for path, arguments in plan.program.attempts]
        ask(end, like, paths.fsencode(plan.directory), umask, plan.environment, attempts, standard)
    except OSError as error:
        why = error.strerror or "its pid 1 does not answer"
        raise SessionError("cannot join the user's container", why, "", "join", error.errno or 0) from None
    return Joined(plan, end)


def _key(plan: Plan) -> str:
    """Return what names the container within the user's directory."""
    if plan.container_per == "user":
        return "user"
    # The process of sshd that our login is a child of serves one connection, with all its sessions.
    connection = plan.environment.get(b"SSH_CONNECTION", b"")
    return blake2b(b"%d %s" % (os.getppid(), connection), digest_size=8).hexdigest()


def _find_or_make(plan: Plan, directory: str, name: str) -> tuple[_socket.socket, str]:
    for _ in range(_ATTEMPTS):
        for found in os.listdir(directory):
            if found.startswith(name) and found.endswith(registry.SOCKET):
                answer = greet(f"{directory}/{found}", plan.container)
                if answer is not None:
                    return answer
                entry = found.removesuffix(registry.SOCKET)
                if not registry.is_live(f"{directory}/{entry}"):
                    registry.remove(directory, entry)
        owner.start(plan, directory, name)
    raise SessionError(
        "cannot join the user's container", "each one that was made ended at once", "try again", "join"
    )


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


def ask(
    end: _socket.socket,
    like: bytes,
    directory: bytes,
    umask: bytes,
    environment: dict[bytes, bytes],
    attempts: Iterable[Iterable[bytes]],
    standard: Iterable[int],
) -> None:
    """Ask pid 1 to run a program; the answers are those that a monitor gets. Raises OSError.

    like: of ``terminal.likeness``, or b"" for no terminal. directory, umask: b"" for the container's
    own; with a directory, ``environment`` is complete. attempts: program and arguments, each in turn;
    none is a shell. standard: those of our own 0-2 that the program gets.
    """
    # In a file: a command alone may be longer than a packet.
    file = order.seal(order.request(like, directory, umask, environment, attempts))
    try:
        packets.send_descriptor(end, channel.REQUEST + bytes(standard), file, *standard)
    finally:
        os.close(file)

"""Running a command in a live session: its pid 1 forks it, behind the same walls as the session's own.

Two processes work here. One is the user: it talks to pid 1 over the session's socket. The other is
the administrator: it holds the terminal, or the pipes, and never hands them over; the command has other
pipes, or a terminal that is in nobody's reach: what is typed there is not for the session's own processes,
which could open one of the container's. What it shows on our terminal is only what draws.
"""

from __future__ import annotations

import json
import os
import select
import socket
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import impersonate, kernel
from ssh2container.admin.terminal import pairs, relays
from ssh2container.errors import NotFound, Refusal, SessionError
from ssh2container.record import registry
from ssh2container.run import channel, joining, order, packets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ssh2container.admin.sessions.live import Live


_LONGEST_LINE = 65536
_KINDS = {"NotFound": NotFound, "Refusal": Refusal}


def run(live: Live, words: Sequence[str], *, interactive: bool) -> int:
    """Run ``words``, or a shell, in the container of ``live`` and return its raw wait status.

    interactive: give it a terminal, and ours to it while it runs. Raises SessionError.
    """
    ours, theirs = _terminal() if interactive else _pipes()
    environment = {b"TERM": os.environb.get(b"TERM", b"dumb")} if interactive else {}
    try:
        agent = enter(live, words, theirs, environment)
    finally:
        for descriptor in {*theirs}:
            os.close(descriptor)
    try:
        command = Command(agent.end)
        relay = relays.Terminal(command, ours[0]) if interactive else relays.Pipes(command, ours)
        return relay.run()
    finally:
        agent.finish()


def enter(
    live: Live, words: Sequence[str], theirs: Sequence[int], environment: dict[bytes, bytes]
) -> impersonate.Agent:
    """Have ``words``, or a shell, run in the container of ``live``, and return who tells of it.

    theirs: the command's descriptors 0 to 2. environment: in addition to the container's.
    Raises SessionError.
    """
    owner = live.container or live
    shared = not live.hint.is_container and live.hint.fields.get("container")
    if shared and live.container is None:
        raise SessionError(f"cannot join session {live.id}", "its container has no owner any more")
    if not owner.hint.directory:
        raise SessionError(
            f"cannot join session {live.id}",
            "it is not in the registry, where its pid 1 would listen",
            f"end it, if need be: ssh2containerctl kill {live.id}",
        )
    place = f"{owner.hint.directory}/{owner.hint.name}{registry.SOCKET}"

    def act(end: socket.socket) -> None:
        for number, descriptor in enumerate(theirs):
            os.dup2(descriptor, number)
        for descriptor in {*theirs}:
            os.close(descriptor)
        _speak_with_init(end, place, owner, (environment, [os.fsencode(w) for w in words]))

    return impersonate.Agent(live.who, act, keep=(*theirs, owner.pidfd))


class Command(relays.Program):
    """The command, by the agent's word: what it says is data, however it came to say it."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._heard = b""
        self.descriptor = agent.fileno()

    def hear(self) -> bool:
        """Take the agent's words. Raises the SessionError that it tells."""
        data = self._agent.recv(_LONGEST_LINE)
        if not data:
            return False
        self._heard += data
        if len(self._heard) > _LONGEST_LINE:
            raise SessionError("the session's answer has an invalid format")
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
                raise SessionError("the session's answer has an invalid format") from None
        return True

    def _take(self, message: dict[str, Any]) -> None:
        if "error" in message:
            kind = _KINDS.get(message["error"], SessionError)
            raise kind(str(message["line"]))
        self.status = int(message["status"]) & 0xFFFF

    def signal(self, number: int) -> None:
        """Have the command's process group signalled."""
        self._agent.send(bytes((number,)))


def _terminal() -> tuple[list[int], list[int]]:
    """Return our side of a terminal and, three times, the command's."""
    master, slave = pairs.open_pair(0)
    return [master], [slave] * 3


def _pipes() -> tuple[list[int], list[int]]:
    """Return our ends and the command's of three pipes."""
    (r0, w0), (r1, w1), (r2, w2) = os.pipe(), os.pipe(), os.pipe()
    return [w0, r1, r2], [r0, w1, w2]


def _speak_with_init(
    end: socket.socket, place: str, owner: Live, wanted: tuple[dict[bytes, bytes], list[bytes]]
) -> None:
    """As the user: ask pid 1, and pass on what it answers as lines of JSON."""
    environment, words = wanted
    try:
        init = _greet(place, owner)
        attempts = [[words[0], *words]] if words else []
        joining.ask(init, order.request(b"", b"", b"", environment, attempts), (0, 1, 2))
        null = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)  # else the pipes would never end
        _pass_on(end, init)
    except (SessionError, OSError) as error:
        _say(end, {"error": type(error).__name__, "line": str(error)})


def _greet(place: str, owner: Live) -> Any:  # noqa: ANN401 - socket's C base class
    """Return a connection to the pid 1 whose listener ``owner`` has made. Raises SessionError, OSError."""
    answer = joining.greet(place, b"")
    if answer is None:
        raise SessionError("cannot join the session", "it has just ended, or takes nobody in any more")
    init, _ = answer
    pid = int.from_bytes(init.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
    if pid != owner.monitor.pid:
        raise SessionError("cannot join the session", f"process {pid} listens in its place")
    if kernel.ended(owner.pidfd):
        raise SessionError("cannot join the session", "it has just ended")
    return init


def _pass_on(end: socket.socket, init: Any) -> None:  # noqa: ANN401 - socket's C base class
    while True:
        for ready in select.select([end, init], [], [])[0]:
            if ready is end:
                number = end.recv(1)
                if not number:
                    return
                init.send(channel.SIGNAL + number)
                continue
            kind, content, attached = packets.receive(init)
            if attached >= 0:
                os.close(attached)  # nobody has asked for any
            if kind == channel.ERROR:
                error = channel.unpack_error(content)
                _say(end, {"error": type(error).__name__, "line": str(error)})
            elif kind == channel.STATUS:
                _say(end, {"status": int.from_bytes(content[:4], "little")})
            elif kind not in (channel.STARTED, b""):
                _say(end, {"error": "SessionError", "line": "the session's answer has an invalid format"})
                return
            if kind in (channel.ERROR, channel.STATUS, b""):
                return


def _say(end: socket.socket, message: dict[str, object]) -> None:
    end.sendall(json.dumps(message).encode("ascii") + b"\n")

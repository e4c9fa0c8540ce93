"""Running a command in a live session: its pid 1 forks it, behind the same walls as the session's own.

Two processes work here. One is the user: it talks to pid 1 over the session's socket. The other is
the administrator: it holds the terminal, or the pipes, and never hands them over; the command has a
terminal of the container's own, or other pipes. What it shows on our terminal is only what draws.
"""

from __future__ import annotations

import json
import os
import select
import socket

from ssh2container.admin import impersonate
from ssh2container.admin.sessions import relays
from ssh2container.errors import SessionError
from ssh2container.record import registry
from ssh2container.run import channel, joining, packets, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ssh2container.admin.sessions.live import Live


def run(live: Live, words: Sequence[str], *, interactive: bool) -> int:
    """Run ``words``, or a shell, in the container of ``live`` and return its raw wait status.

    interactive: give it a terminal, and ours to it while it runs. Raises SessionError.
    """
    owner = live.container or live
    shared = not live.hint.is_container and live.hint.fields.get("container")
    if shared and live.container is None:
        raise SessionError(f"cannot join session {live.id}", "its container has no owner any more")
    place = f"{registry.DIRECTORY}/{owner.who.uid}/{owner.hint.name}{registry.SOCKET}"
    like = terminal.likeness(0) if interactive else b""
    ours, theirs = ([], []) if interactive else _pipes()
    environment = {b"TERM": os.environb.get(b"TERM", b"dumb")} if interactive else {}

    def act(end: socket.socket) -> None:
        if theirs:
            for number, descriptor in enumerate(theirs):
                os.dup2(descriptor, number)
                os.close(descriptor)
        _speak_with_init(end, place, owner.monitor.pid, (like, environment, [os.fsencode(w) for w in words]))

    agent = impersonate.Agent(live.who, act, keep=theirs)
    try:
        for descriptor in theirs:
            os.close(descriptor)
        relay = relays.Terminal(agent.end) if interactive else relays.Pipes(agent.end, ours)
        return relay.run()
    finally:
        agent.finish()


def _pipes() -> tuple[list[int], list[int]]:
    """Return our ends and the command's of three pipes."""
    (r0, w0), (r1, w1), (r2, w2) = os.pipe(), os.pipe(), os.pipe()
    return [w0, r1, r2], [r0, w1, w2]


def _speak_with_init(
    end: socket.socket, place: str, owner: int, wanted: tuple[bytes, dict[bytes, bytes], list[bytes]]
) -> None:
    """As the user: ask pid 1, and pass on what it answers as lines of JSON."""
    like, environment, words = wanted
    try:
        init = _greet(place, owner)
        attempts = [[words[0], *words]] if words else []
        joining.ask(init, like, b"", b"", environment, attempts, () if like else (0, 1, 2))
        if not like:
            null = os.open("/dev/null", os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)  # else the pipes would never end
        _pass_on(end, init)
    except (SessionError, OSError) as error:
        _say(end, {"error": type(error).__name__, "line": str(error)})


def _greet(place: str, owner: int) -> Any:  # noqa: ANN401 - socket's C base class
    """Return a connection to the pid 1 whose listener ``owner`` has made. Raises SessionError, OSError."""
    answer = joining.greet(place, b"")
    if answer is None:
        raise SessionError("cannot join the session", "it has just ended, or takes nobody in any more")
    init, _ = answer
    pid = int.from_bytes(init.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
    if pid != owner:
        raise SessionError("cannot join the session", f"process {pid} listens in its place")
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
            if kind == channel.TERMINAL and attached >= 0:
                socket.send_fds(end, [b'{"terminal": true}\n'], [attached])
                os.close(attached)
            elif kind == channel.ERROR:
                error = channel.unpack_error(content)
                _say(end, {"error": type(error).__name__, "line": str(error)})
            elif kind == channel.STATUS:
                _say(end, {"status": int.from_bytes(content[:4], "little")})
            elif kind not in (channel.STARTED, b""):
                _say(end, {"error": "SessionError", "line": "the session's answer makes no sense"})
                return
            if kind in (channel.ERROR, channel.STATUS, b""):
                return


def _say(end: socket.socket, message: dict[str, object]) -> None:
    end.sendall(json.dumps(message).encode("ascii") + b"\n")

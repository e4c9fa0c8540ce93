"""A read-only view of a live session's terminal, for root.

The session's monitor connects to us (``run.views``, ``admin.sessions.calling``). What it sends is what the
terminal shows; nothing that we could send is read.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import socket

from ssh2container.admin.recordings.screen import ENOUGH, Screen
from ssh2container.admin.sessions import calling, ending
from ssh2container.admin.sessions.live import Listing, find
from ssh2container.errors import SessionError
from ssh2container.run import monitor, views

_CHUNK = 1 << 16
_ANSWER_S = 5.0


def watch(session: str) -> None:
    """Show the session's terminal until it ends or the viewer has seen enough.

    Raises SessionError when there is no such session, or it has no terminal.
    """
    sessions = Listing()
    try:
        live = find(sessions, session)
        with calling.listening(live, views.PLACE) as listener:
            ending.record(live, "watch")
            ending.signal_monitor(live, (monitor.VIEW,))
            try:
                connection = calling.answer(listener, live, _ANSWER_S, "watch")
            except calling.Strangers as others:
                why = str(others) or "it has no terminal"
                raise SessionError(f"cannot watch session {live.id}", why, "", "watch") from None
            except KeyboardInterrupt:
                return
        with connection, Screen() as screen:
            _show(connection, screen)
    finally:
        sessions.close()


def _show(connection: socket.socket, screen: Screen) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    watched: list[socket.socket | int] = [connection]
    if screen.keyboard >= 0:
        watched.append(screen.keyboard)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            ready = select.select(watched, [], [])[0]
            if screen.keyboard in ready and os.read(screen.keyboard, 1) in ENOUGH:
                return
            if connection in ready:
                try:
                    data = connection.recv(_CHUNK)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return
                screen.show(decoder.decode(data))

"""A read-only view of a live session's terminal, for root.

We listen in root's own directory and ask the session's monitor to connect (``run.views``). What it sends
is what the terminal shows; nothing that we could send is read.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import socket

from ssh2container.admin.replay.display import Display
from ssh2container.admin.replay.screen import ENOUGH, Screen
from ssh2container.admin.sessions import ending
from ssh2container.admin.sessions.live import Listing, find
from ssh2container.errors import SessionError
from ssh2container.run import monitor, views

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 16
_ANSWER_S = 5.0


def watch(session: str) -> None:
    """Show the session's terminal until it ends or the viewer has seen enough.

    Raises SessionError when there is no such session, or it has no terminal.
    """
    with _listen(session) as listener:
        sessions = Listing()
        try:
            live = find(sessions, session)
            ending.record(live, "watch")
            ending.signal_monitor(live, (monitor.VIEW,))
        finally:
            sessions.close()
        listener.settimeout(_ANSWER_S)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            raise SessionError(f"cannot watch session {session}", "it has no terminal", "", "watch") from None
        except KeyboardInterrupt:
            return
    with connection, Screen() as screen:
        _show(connection, screen)


@contextlib.contextmanager
def _listen(session: str) -> Iterator[socket.socket]:
    path = views.PLACE + session
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - the monitor has the user's uid; it sees ours by SO_PEERCRED
        listener.listen(1)
        yield listener
    except PermissionError:
        raise SessionError(
            f"cannot listen at {path}", "only root may watch", "run it as root", "watch"
        ) from None
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            os.unlink(path)


def _show(connection: socket.socket, screen: Screen) -> None:
    display = Display(screen.resize)
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
                screen.show(display.feed(decoder.decode(data)))

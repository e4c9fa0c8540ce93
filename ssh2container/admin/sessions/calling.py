"""Having a session's monitor call root: a socket to which nobody else can get an answer.

We listen in root's own directory and ask the monitor, by a signal, to connect. The socket is the
user's, so that nobody else can connect, and of the user's processes only the monitor is listened to:
others would say what they like.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import ending, kernel
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.sessions.live import Live

_WAITING = 64
_LOGGED = 8
"""So many of those who are turned away are named in the audit trail."""


class Strangers(Exception):
    """Nobody has called who was meant; the text says who else has, "" for none."""


@contextlib.contextmanager
def listening(live: Live, place: str) -> Iterator[socket.socket]:
    """Listen for ``live`` at ``place`` and its id. Raises SessionError."""
    path = place + live.id
    with contextlib.suppress(FileNotFoundError, PermissionError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        os.chown(path, live.who.uid, -1, follow_symlinks=False)
        listener.listen(_WAITING)
        yield listener
    except PermissionError:
        raise SessionError(f"cannot listen at {path}", "only root may", "run it as root", "call") from None
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            os.unlink(path)


def answer(listener: socket.socket, live: Live, patience_s: float, verb: str) -> socket.socket:
    """Return the monitor's connection. verb: what it is for, in the audit trail. Raises Strangers."""
    end = time.monotonic() + patience_s
    others: set[str] = set()
    with contextlib.suppress(TimeoutError):
        while (left := end - time.monotonic()) > 0:
            listener.settimeout(left)
            connection, _ = listener.accept()
            pid, uid = peer(connection)
            # It has not ended until now, so no other process can have had its number.
            if (pid, uid) == (live.monitor.pid, live.who.uid) and not kernel.ended(live.pidfd):
                connection.settimeout(None)
                return connection
            connection.close()
            if len(others) < _LOGGED and f"{pid}/{uid}" not in others:
                others.add(f"{pid}/{uid}")
                text = f"process {pid} of uid {uid} has connected in place of the monitor {live.monitor.pid}"
                ending.record(live, f"{verb}-refused", warning=True, text=text)
    raise Strangers(
        f"{len(others)} other processes answered in its place; the audit trail names them" if others else ""
    )


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return the pid and the uid of who has connected (SO_PEERCRED, unix(7))."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid

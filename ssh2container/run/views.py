"""Views of a session's terminal for administrators: copies of what it shows, and nothing goes back.

``ssh2containerctl watch`` listens at a socket in root's own directory and asks the monitor, by
:data:`.monitor.VIEW`, to connect. Who listens is known by its uid (SO_PEERCRED, unix(7)): nobody but root can
see a session this way.
"""

from __future__ import annotations

import _socket

from ssh2container import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PLACE = paths.RUNTIME + "/watch-"
"""The session's id follows. The directory is root's."""
_KEPT = 1 << 16
"""How much of what was shown before a view is repeated to it, so that it starts with a screen."""
_PIECES = 17
"""So many pieces of a busy terminal (4095 bytes) are as much; of one that is not busy there is one piece."""


class Views:
    """All views of one terminal."""

    __slots__ = ("_ends", "_recent")

    def __init__(self, shown: bytes) -> None:
        self._ends: list[_socket.socket] = []
        self._recent = bytearray(shown)

    def output(self, pieces: Sequence[bytes]) -> None:
        """Show ``pieces`` to everybody who watches."""
        for piece in pieces[-_PIECES:]:
            self._recent += piece
        if len(self._recent) > 2 * _KEPT:
            del self._recent[:-_KEPT]
        if self._ends:
            self._send(b"".join(pieces))

    def resize(self, columns: int, rows: int) -> None:
        """Tell everybody who watches the new size, as a terminal is told to change its own."""
        if self._ends:
            self._send(_size(columns, rows))

    def add(self, path: str, columns: int, rows: int) -> None:
        """Connect to ``path``, if root listens there, and repeat what was shown lately."""
        kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        end = _socket.socket(_socket.AF_UNIX, kind)
        try:
            end.connect(path)
            credentials = end.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            if credentials[4:8] == bytes(4):
                end.send(_size(columns, rows) + bytes(self._recent), _socket.MSG_NOSIGNAL)
                self._ends.append(end)
                return
        except OSError:
            pass  # whoever asked is gone, or it was not an administrator
        end.close()

    def _send(self, data: bytes) -> None:
        for end in self._ends[:]:
            try:
                whole = end.send(data, _socket.MSG_NOSIGNAL) == len(data)
            except OSError:
                whole = False
            # A view that cannot follow is ended: it never holds up the session.
            if not whole:
                self._ends.remove(end)
                end.close()


def _size(columns: int, rows: int) -> bytes:
    return b"\x1b[8;%d;%dt" % (rows, columns)

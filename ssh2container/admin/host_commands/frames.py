"""What a session and the service of host commands say to each other (docs/protocol.md).

A frame is its kind in one byte, the length of its content in four bytes, little-endian, and the content. The
other side of it is ``native/inside/command.c``.
"""

from __future__ import annotations

import contextlib
import os

from ssh2container.errors import Refusal, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

REQUEST, INPUT, OUTPUT, ERRORS, STATUS = b"R", b"I", b"O", b"E", b"X"
HEAD, LONGEST = 5, 65536
"""Bytes before the content, and of content at most."""
_PATIENCE_S = 10.0


def frame(kind: bytes, content: bytes) -> bytes:
    """Return one frame."""
    return kind + len(content).to_bytes(4, "little") + content


def said(line: str) -> bytes:
    """Return what shows a line of ours on the session's standard error."""
    return frame(ERRORS, f"ssh2container: {printable(line)}\n".encode("utf-8", "backslashreplace")[:LONGEST])


def ended(status: int) -> bytes:
    """Return what ends the program inside with ``status``."""
    return frame(STATUS, bytes([status]))


def farewell(connection: socket.socket, line: str, status: int) -> None:
    """Say ``line`` and end the program inside, if there is room at once for whoever listens."""
    connection.setblocking(False)
    with contextlib.suppress(OSError):
        connection.send(said(line) + ended(status))


class Frames:
    """The frames that arrive, from the pieces in which they do."""

    def __init__(self) -> None:
        self._came = bytearray()

    def take(self, piece: bytes) -> list[tuple[bytes, bytes]]:
        """Return the frames that are whole now, as (kind, content). Raises Refusal for what is none."""
        self._came += piece
        found = []
        while len(self._came) >= HEAD:
            length = int.from_bytes(self._came[1:HEAD], "little")
            if length > LONGEST or self._came[:1] not in (REQUEST, INPUT):
                raise Refusal("cannot run a command for this session", "what it says is no request")
            if len(self._came) < HEAD + length:
                break
            found.append((bytes(self._came[:1]), bytes(self._came[HEAD : HEAD + length])))
            del self._came[: HEAD + length]
        return found


def words(content: bytes) -> list[str]:
    """Return the words of a request. Raises Refusal for any that is no printable text."""
    *texts, rest = content.split(b"\0")
    found = [os.fsdecode(text) for text in texts]
    # A byte that is not UTF-8 becomes a surrogate, which is not printable.
    if rest or not found or not all(text.isprintable() for text in found):
        why = "its words are not all printable text"
        raise Refusal("cannot run a command for this session", why, "leave out control characters")
    return found


def send_all(connection: socket.socket, content: bytes) -> None:
    """Send the last of what is to be said, to whoever has some seconds for it."""
    connection.settimeout(_PATIENCE_S)
    with contextlib.suppress(OSError):
        connection.sendall(content)

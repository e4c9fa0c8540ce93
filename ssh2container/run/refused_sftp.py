"""What an SFTP client hears whose session does not come about: the reason, in its own protocol.

sshd drops the standard error of a subsystem (session.c, session_set_fds), so a client of SFTP, and scp
over it, would only see that the connection is closed. Each of its requests is answered with a status
message instead (draft-ietf-secsh-filexfer-02, sections 4 and 7); clients show the text of the first one
and give up (docs/clients.md).

Imported when a session of SFTP has been refused, and never else. Nothing is served: no path is looked at.
"""

from __future__ import annotations

import posix as os
import select
import time

_INIT, _VERSION, _STATUS = 1, 2, 101
_PROTOCOL = 3
"""The version that all speak; what OpenSSH's server offers, too."""
PERMISSION_DENIED, FAILURE = 3, 4
"""Codes of a status message (section 7)."""
_LONGEST_PACKET = 256 * 1024
_LONGEST_TEXT = 1000
_MOST_REQUESTS = 64
_HEAD = 4


def answer(reason: str, code: int, patience_s: float) -> None:
    """Answer each request on standard input with ``reason`` until the client goes, as it does then.

    code: one of those above. patience_s: when a client that stays is left. Raises nothing: the process
    ends in any case.
    """
    conversation = _Conversation(0, 1, time.monotonic() + patience_s)
    try:
        for _ in range(_MOST_REQUESTS):
            packet = conversation.receive()
            if packet is None:
                return
            conversation.send(_reply(packet, reason, code))
    except OSError:
        pass  # the client is gone


def _reply(packet: bytes, reason: str, code: int) -> bytes:
    if packet[0] == _INIT:
        return bytes((_VERSION,)) + _PROTOCOL.to_bytes(4, "big")
    request = packet[1:5]
    text = reason.encode("utf-8", "backslashreplace")[:_LONGEST_TEXT]
    return bytes((_STATUS,)) + request + code.to_bytes(4, "big") + _text(text) + _text(b"en")


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class _Conversation:
    """Packets from and to the client, as long as it is not too slow."""

    def __init__(self, source: int, sink: int, end: float) -> None:
        self._source = source
        self._sink = sink
        self._end = end

    def receive(self) -> bytes | None:
        """Return the next packet without its length, None at the end of them all. Raises OSError."""
        head = self._read(_HEAD)
        if len(head) < _HEAD:
            return None
        size = int.from_bytes(head, "big")
        # At least a type and a number; what is longer than any request is no request.
        if not 1 + _HEAD <= size <= _LONGEST_PACKET:
            return None
        packet = self._read(size)
        return packet if len(packet) == size else None

    def send(self, packet: bytes) -> None:
        """Send a packet. Raises OSError."""
        left = _text(packet)
        while left and self._ready(self._sink, select.POLLOUT):
            left = left[os.write(self._sink, left) :]

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and self._ready(self._source, select.POLLIN):
            piece = os.read(self._source, size - len(data))
            if not piece:
                break
            data += piece
        return data

    def _ready(self, descriptor: int, event: int) -> bool:
        waiting = select.poll()
        waiting.register(descriptor, event)
        return bool(waiting.poll(max(0.0, self._end - time.monotonic()) * 1000))

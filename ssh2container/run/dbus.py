"""One call of a method over a D-Bus socket, by hand: what is said; :mod:`.dbus_answer` has what is heard.

A login with limits waits for this module before it can ask, and nobody waits for the other: who is asked is
at work meanwhile. Source: the D-Bus specification, 0.43 ("Message Protocol", "Authentication Protocol").
Imported only for a policy with limits.
"""

from __future__ import annotations

import posix as os
import time

from ssh2container.kernel import sockets
from ssh2container.paths import fsencode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

METHOD_CALL = 1
_NO_AUTO_START = 2
VERSION = 1
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SIGNATURE = 1, 2, 3, 4, 5, 6, 8
"""Codes of the fields of a message's head."""
_ALIGNMENT = {"y": 1, "g": 1, "v": 1, "b": 4, "u": 4, "s": 4, "o": 4, "a": 4, "t": 8, "(": 8}
_SIZE = {"y": 1, "b": 4, "u": 4, "t": 8}
SHORT_S, _LONG_S, _GROWTH = 0.00025, 0.008, 1.25
"""How long to wait for what nobody tells of: at first, and at most; how much longer each time.

It is late by a quarter of what it took, where twice as long each time would be late by up to as much again.
"""
CLOSED = "it closed the connection without an answer"


class Unusable(Exception):
    """Nobody there, or no answer that could be used; the text says why."""


def pack(signature: str, *values: Any) -> bytes:  # noqa: ANN401
    """Return ``values`` as D-Bus writes them, little-endian, one for each complete type of ``signature``.

    Of the types, what a call of ours needs: y b u t s o g v, arrays and structures.
    """
    out = bytearray()
    at = 0
    for value in values:
        at = _put(out, signature, at, value)
    return bytes(out)


def _put(out: bytearray, signature: str, at: int, value: Any) -> int:  # noqa: ANN401
    """Append ``value`` of the type at ``at`` in ``signature``; return where the next type begins."""
    kind = signature[at]
    out += bytes(-len(out) % _ALIGNMENT[kind])
    if kind in _SIZE:
        out += int(value).to_bytes(_SIZE[kind], "little")
    elif kind in "sog":
        text = value.encode()
        out += len(text).to_bytes(1 if kind == "g" else 4, "little") + text + b"\0"
    elif kind == "v":
        inner, content = value
        _put(out, "g", 0, inner)
        _put(out, inner, 0, content)
    elif kind == "(":
        at += 1
        for item in value:
            at = _put(out, signature, at, item)
        if signature[at] != ")":
            raise ValueError(signature)
    else:
        return _put_array(out, signature, at + 1, value)
    return at + 1


def _put_array(out: bytearray, signature: str, at: int, values: Sequence[Any]) -> int:
    place = len(out)
    out += bytes(4)
    out += bytes(-len(out) % _ALIGNMENT[signature[at]])
    begin = len(out)
    for value in values:
        _put(out, signature, at, value)
    out[place : place + 4] = (len(out) - begin).to_bytes(4, "little")
    return _end_of_type(signature, at)


def _end_of_type(signature: str, at: int) -> int:
    while signature[at] == "a":
        at += 1
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(signature[at], 0)
        at += 1
        if not depth:
            return at


def call(
    serial: int, to: str, path: str, method: str, signature: str = "", values: Sequence[Any] = ()
) -> bytes:
    """Return the message that calls ``method``, INTERFACE.MEMBER, of the object ``path`` of ``to``."""
    interface, _, member = method.rpartition(".")
    body = pack(signature, *values)
    fields = [
        (PATH, ("o", path)),
        (INTERFACE, ("s", interface)),
        (MEMBER, ("s", member)),
        (DESTINATION, ("s", to)),
        *([(SIGNATURE, ("g", signature))] if signature else []),
    ]
    order = ord("l")
    head = pack("yyyyuua(yv)", order, METHOD_CALL, _NO_AUTO_START, VERSION, len(body), serial, fields)
    return head + bytes(-len(head) % 8) + body


class Conversation:
    """One connection: what we say goes out at once, the answer is read later.

    path: of the socket. messages: what is called, after the handshake. serial: of the one whose answer
    counts; an error in answer to any ends it. descriptor: of the connection, which is non-blocking.
    """

    def __init__(self, path: str, messages: bytes, serial: int) -> None:
        self.serial = serial
        self._path = fsencode(path)
        # The zero byte carries the credentials of old; the rest need not wait for what the other side says.
        uid = str(os.getuid()).encode().hex().encode()
        self._unsent = b"\0AUTH EXTERNAL " + uid + b"\r\nBEGIN\r\n" + messages
        self._is_connected = False
        self.descriptor = sockets.stream()

    def begin(self) -> bool:
        """Connect and say all; False where too many others wait at the socket. Raises Unusable."""
        try:
            if not self._is_connected:
                sockets.connect(self.descriptor, self._path)
                self._is_connected = True
            self._unsent = self._unsent[sockets.send(self.descriptor, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            raise Unusable(CLOSED if self._is_connected else error.strerror or "no reason given") from None
        return not self._unsent

    def close(self) -> None:
        """Let go of the socket."""
        os.close(self.descriptor)


def pause(until: float, length: float) -> float:
    """Wait ``length`` seconds; return what to wait next, a little more. Raises Unusable past ``until``."""
    time.sleep(min(length, left(until)))
    return min(length * _GROWTH, _LONG_S)


def left(until: float) -> float:
    """Return the seconds until ``until`` of time.monotonic(). Raises Unusable past it."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise Unusable("it does not answer")
    return seconds

"""One call of a method over a D-Bus socket, by hand: messages, the handshake, the answer.

The socket is a uid's own, so whatever comes from it may be hostile: sizes are bounded, an answer that is not
one is an error, and nothing waits past its deadline. Source: the D-Bus specification, 0.43 ("Message
Protocol", "Authentication Protocol"). Imported only for a policy with limits.
"""

from __future__ import annotations

import _socket
import posix as os
import time

from ssh2container.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4
_NO_AUTO_START = 2
_VERSION = 1
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_ALIGNMENT = {"y": 1, "g": 1, "v": 1, "b": 4, "u": 4, "s": 4, "o": 4, "a": 4, "t": 8, "(": 8}
_SIZE = {"y": 1, "b": 4, "u": 4, "t": 8}
_HEAD = 16
"""What every message begins with, up to the length of its fields."""
_LARGEST = 65536
"""Bytes of one message, and of all that is read before the answer: a manager's is below 300."""
_LONGEST_LINE = 512
_LONGEST_REASON = 200
SHORT_S, _LONG_S = 0.0005, 0.008
"""How long to wait for what nobody tells of: at first, and at most."""
_CLOSED = "it closed the connection without an answer"


class Unusable(Exception):
    """Nobody there, or no answer that could be used; the text says why."""


class Declined(Exception):
    """The answer is an error: its name and what it says."""


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
        (_PATH, ("o", path)),
        (_INTERFACE, ("s", interface)),
        (_MEMBER, ("s", member)),
        (_DESTINATION, ("s", to)),
        *([(_SIGNATURE, ("g", signature))] if signature else []),
    ]
    order = ord("l")
    head = pack("yyyyuua(yv)", order, METHOD_CALL, _NO_AUTO_START, _VERSION, len(body), serial, fields)
    return head + bytes(-len(head) % 8) + body


class Message:
    """What came: its kind, the serial that it answers (0: none), an error's name, its first text."""

    __slots__ = ("error", "kind", "serial", "text")

    def __init__(self, kind: int, serial: int, error: str, text: str) -> None:
        self.kind = kind
        self.serial = serial
        self.error = error
        self.text = text


def read_message(data: bytes) -> tuple[Message, int] | None:
    """Return the message that ``data`` begins with and its size; None while it is not whole.

    Raises Unusable for what is none, or too large.
    """
    if len(data) < _HEAD:
        return None
    if data[:1] not in (b"l", b"B") or data[3] != _VERSION:
        raise Unusable("what it answers is not D-Bus")
    order: Literal["little", "big"] = "little" if data[:1] == b"l" else "big"
    length, fields = (int.from_bytes(data[place : place + 4], order) for place in (4, 12))
    begin = _HEAD + fields + (-fields % 8)
    if begin + length > _LARGEST:
        raise Unusable("its answer is too large")
    if len(data) < begin + length:
        return None
    serial, error, signature = 0, "", ""
    reader = _Reader(data[: _HEAD + fields], _HEAD, order)
    while not reader.is_at_end:
        code, value = reader.field()
        if code == _REPLY_SERIAL and type(value) is int:
            serial = value
        elif code == _ERROR_NAME and type(value) is str:
            error = value
        elif code == _SIGNATURE and type(value) is str:
            signature = value
    text = ""
    if signature[:1] == "s":
        text = _Reader(data[begin : begin + length], 0, order).text(4)
    return Message(data[1], serial, error, text), begin + length


class _Reader:
    """Reads basic types one after the other; raises Unusable where they do not fit."""

    def __init__(self, data: bytes, at: int, order: Literal["little", "big"]) -> None:
        self._data = data
        self._at = at
        self._order = order

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._data)

    def field(self) -> tuple[int, int | str]:
        """Return the code and the value of one header field, a structure of a byte and a variant."""
        self._at += -self._at % 8
        code = self._number(1)
        kind = self.text(1)
        if kind == "u":
            return code, self._number(4)
        if kind in ("s", "o", "g"):
            return code, self.text(1 if kind == "g" else 4)
        raise Unusable("its answer has a field of a type that no field has")

    def text(self, size_of_length: int) -> str:
        length = self._number(size_of_length)
        text = self._take(length)
        if self._take(1) != b"\0":
            raise Unusable("a text in its answer has no end")
        return text.decode("utf-8", "replace")

    def _number(self, size: int) -> int:
        self._at += -self._at % size
        return int.from_bytes(self._take(size), self._order)

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise Unusable("its answer is cut off")
        self._at += count
        return taken


class Conversation:
    """One connection: what we say goes out at once, the answer is read later.

    path: of the socket. messages: what is called, after the handshake. serial: of the one whose answer
    counts; an error in answer to any ends it.
    """

    def __init__(self, path: str, messages: bytes, serial: int) -> None:
        self._path = path
        self._serial = serial
        # The zero byte carries the credentials of old; the rest need not wait for what the other side says.
        uid = str(os.getuid()).encode().hex().encode()
        self._unsent = b"\0AUTH EXTERNAL " + uid + b"\r\nBEGIN\r\n" + messages
        self._heard = b""
        self._is_welcome = self._is_connected = False
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def begin(self) -> bool:
        """Connect and say all; False where too many others wait at the socket. Raises Unusable."""
        try:
            if not self._is_connected:
                self._socket.connect(self._path)
                self._is_connected = True
            self._unsent = self._unsent[self._socket.send(self._unsent, _socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            pass
        except OSError as error:
            raise Unusable(_CLOSED if self._is_connected else error.strerror or "no reason given") from None
        return not self._unsent

    def answer(self, until: float) -> None:
        """Wait for the answer, until ``until`` of time.monotonic(). Raises Unusable and Declined."""
        length = SHORT_S
        while not self.begin():
            length = pause(until, length)
        read = 0
        while True:
            if self._understand():
                return
            self._socket.settimeout(_left(until))
            try:
                piece = self._socket.recv(_LARGEST)
            except TimeoutError:
                raise Unusable("it does not answer") from None
            except OSError:
                piece = b""  # reset: it had not read all that was said
            read += len(piece)
            if not piece:
                raise Unusable(_CLOSED)
            if read > _LARGEST:
                raise Unusable("it says much and does not answer")
            self._heard += piece

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _understand(self) -> bool:
        """Take in what was heard so far; tell whether the answer is among it."""
        if not self._is_welcome:
            line, end, rest = self._heard.partition(b"\r\n")
            if not end:
                if len(line) > _LONGEST_LINE:
                    raise Unusable("what it answers is not D-Bus")
                return False
            if line[:3] != b"OK ":
                raise Unusable("it does not take us for the user")
            self._is_welcome, self._heard = True, rest
        while True:
            found = read_message(self._heard)
            if found is None:
                return False
            message, size = found
            self._heard = self._heard[size:]
            if message.kind == ERROR and 0 < message.serial <= self._serial:
                said = f"{message.error}: {message.text}" if message.text else message.error
                raise Declined(printable(said[:_LONGEST_REASON]) or "an error without a name")
            if message.kind == METHOD_RETURN and message.serial == self._serial:
                return True


def pause(until: float, length: float) -> float:
    """Wait ``length`` seconds; return what to wait next, twice that. Raises Unusable past ``until``."""
    time.sleep(min(length, _left(until)))
    return min(2 * length, _LONG_S)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise Unusable("it does not answer")
    return left

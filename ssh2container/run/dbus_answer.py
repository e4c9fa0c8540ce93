"""One call of a method over a D-Bus socket, by hand: the answer to what :mod:`.dbus` says.

The socket is a uid's own, so whatever comes from it may be hostile: sizes are bounded, an answer that is not
one is an error, and nothing waits past its deadline. Imported only for a policy with limits.
"""

from __future__ import annotations

import posix as os
import select

from ssh2container.errors import printable

from .dbus import CLOSED, ERROR_NAME, REPLY_SERIAL, SHORT_S, SIGNATURE, VERSION, Unusable, left, pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from .dbus import Conversation

METHOD_RETURN, ERROR, SIGNAL = 2, 3, 4
_HEAD = 16
"""What every message begins with, up to the length of its fields."""
_LARGEST = 65536
"""Bytes of one message, and of all that is read before the answer: a manager's is below 300."""
_LONGEST_LINE = 512
_LONGEST_REASON = 200


class Declined(Exception):
    """The answer is an error: its name and what it says."""


def await_answer(conversation: Conversation, until: float) -> None:
    """Wait for the answer, until ``until`` of time.monotonic(). Raises Unusable and Declined."""
    length = SHORT_S
    while not conversation.begin():
        length = pause(until, length)
    heard = _Heard(conversation.serial)
    ready = select.poll()
    ready.register(conversation.descriptor, select.POLLIN)
    read = 0
    while not heard.has_answer():
        if not ready.poll(left(until) * 1000):
            continue
        try:
            piece = os.read(conversation.descriptor, _LARGEST)
        except BlockingIOError:
            continue
        except OSError:
            piece = b""  # reset: it had not read all that was said
        read += len(piece)
        if not piece:
            raise Unusable(CLOSED)
        if read > _LARGEST:
            raise Unusable("it says much and does not answer")
        heard.data += piece


class _Heard:
    """What was heard so far, and not yet taken in."""

    def __init__(self, serial: int) -> None:
        self.data = b""
        self._serial = serial
        self._is_welcome = False

    def has_answer(self) -> bool:
        """Take in what was heard; tell whether the answer is among it. Raises Unusable and Declined."""
        if not self._is_welcome:
            line, end, rest = self.data.partition(b"\r\n")
            if not end:
                if len(line) > _LONGEST_LINE:
                    raise Unusable("what it answers is not D-Bus")
                return False
            if line[:3] != b"OK ":
                raise Unusable("it does not take us for the user")
            self._is_welcome, self.data = True, rest
        while True:
            found = read_message(self.data)
            if found is None:
                return False
            message, size = found
            self.data = self.data[size:]
            if message.kind == ERROR and 0 < message.serial <= self._serial:
                said = f"{message.error}: {message.text}" if message.text else message.error
                raise Declined(printable(said[:_LONGEST_REASON]) or "an error without a name")
            if message.kind == METHOD_RETURN and message.serial == self._serial:
                return True


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
    if data[:1] not in (b"l", b"B") or data[3] != VERSION:
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
        if code == REPLY_SERIAL and type(value) is int:
            serial = value
        elif code == ERROR_NAME and type(value) is str:
            error = value
        elif code == SIGNATURE and type(value) is str:
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

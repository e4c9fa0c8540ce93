"""A service manager that speaks just enough D-Bus to be asked for a scope, on a real socket, in any mood."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ssh2container.run import dbus, dbus_answer

Mood = Callable[["Caller"], None]
LINE = b"OK 0123456789abcdef0123456789abcdef\r\n"


class Caller:
    """One connection. said: all that came from it so far."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.said = b""

    def hear(self) -> bytes:
        """Read the handshake and all calls of one write."""
        self.said += self.end.recv(1 << 16)
        return self.said

    def wait(self) -> None:
        """Stay silent until the other side has had enough."""
        while self.end.recv(1 << 16):
            continue


class Manager:
    """Listens at ``path`` until closed, and treats each caller as ``mood`` says. callers: those that came."""

    def __init__(self, path: str, mood: Mood) -> None:
        self._mood = mood
        self.callers: list[Caller] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        os.chmod(path, 0o666)
        self._listener.listen(128)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take nobody in any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                end, _ = self._listener.accept()
            except OSError:
                return
            caller = Caller(end)
            self.callers.append(caller)
            threading.Thread(target=self._treat, args=(caller,), daemon=True).start()

    def _treat(self, caller: Caller) -> None:
        with caller.end:
            try:
                self._mood(caller)
            except OSError:
                pass  # the other side had enough


@contextmanager
def manager(path: str, mood: Mood) -> Iterator[Manager]:
    """Run one for the length of a ``with`` block."""
    made = Manager(path, mood)
    try:
        yield made
    finally:
        made.close()


def reply(serial: int, kind: int = dbus_answer.METHOD_RETURN, error: str = "", text: str = "") -> bytes:
    """A message that answers ``serial``."""
    signature = "s" if text else ""
    fields: list[tuple[int, tuple[str, str | int]]] = [(5, ("u", serial))]
    fields += [(4, ("s", error))] if error else []
    fields += [(8, ("g", signature))] if signature else []
    body = dbus.pack("s", text) if text else b""
    head = dbus.pack("yyyyuua(yv)", ord("l"), kind, 1, 1, len(body), 77, fields)
    return head + bytes(-len(head) % 8) + body


def accepts(caller: Caller) -> None:
    """Answer as the bus and the manager do, and move nobody."""
    caller.hear()
    caller.end.sendall(LINE + reply(1) + reply(0, dbus_answer.SIGNAL) + reply(2))
    caller.wait()


def declines(caller: Caller) -> None:
    """Answer the call with an error."""
    caller.hear()
    denied = "org.freedesktop.DBus.Error.AccessDenied"
    caller.end.sendall(LINE + reply(1) + reply(2, dbus_answer.ERROR, denied, "no \x1b[31mscope"))
    caller.wait()


def hangs(caller: Caller) -> None:
    """Take the call and say nothing."""
    caller.hear()
    caller.wait()


def hangs_after_welcome(caller: Caller) -> None:
    """Say welcome and nothing more."""
    caller.hear()
    caller.end.sendall(LINE)
    caller.wait()


def rejects(caller: Caller) -> None:
    """Take the caller for somebody else."""
    caller.hear()
    caller.end.sendall(b"REJECTED EXTERNAL\r\n")
    caller.wait()


def goes_away(caller: Caller) -> None:
    """Close the connection in place of an answer."""
    caller.hear()


def chatters(caller: Caller) -> None:
    """Say for ever what is no answer."""
    caller.hear()
    caller.end.sendall(LINE)
    while True:
        caller.end.sendall(reply(0, dbus_answer.SIGNAL))


def says(answer: bytes) -> Mood:
    """Answer with these bytes."""

    def mood(caller: Caller) -> None:
        caller.hear()
        caller.end.sendall(answer)
        caller.wait()

    return mood

"""The administrator's side of a command in a session: copies, and nothing else, to and fro.

The command's own descriptors are pipes or a terminal of the container; ours stay ours.
"""

from __future__ import annotations

import array
import codecs
import fcntl
import json
import os
import select
import signal
import socket
import stat
import termios
import tty

from ssh2container.admin.replay.display import Display
from ssh2container.errors import NotFound, Refusal, SessionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 4096
"""As much as a pipe that is ready takes without waiting (pipe(7), PIPE_BUF)."""
_LONGEST_LINE = 65536
_PTMX = os.makedev(5, 2)
_KINDS = {"NotFound": NotFound, "Refusal": Refusal}
_RESET = b"\x1b[0m\x1b(B\x1b[?25h"
"""Colours, letters and the cursor as a shell expects them, wherever the command left them."""
_INSISTING = 3
"""So many signals are meant for us: the command, or who claims to run it, does not answer."""
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Relay:
    """What terminal and pipes have in common: the agent's words, and signals of ours."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._heard = b""
        self._signals = 0
        self._status: int | None = None
        self._poll = select.poll()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(agent, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def run(self) -> int:
        """Relay until the command has ended; return its raw wait status. Raises SessionError."""
        before = signal.set_wakeup_fd(self._waker)
        handlers = {number: signal.signal(number, _ignore) for number in (*_HANDED_ON, signal.SIGWINCH)}
        try:
            while not self._done():
                for descriptor, events in self._poll.poll():
                    if descriptor == self._agent.fileno():
                        self._hear()
                    elif descriptor == self._wake:
                        for number in os.read(self._wake, 64):
                            self._on_signal(number)
                    else:
                        self._copy(descriptor, events)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._restore()
        if self._status is None:
            raise SessionError("the command ended without a word", "its session has ended")
        return self._status

    def _hear(self) -> None:
        """Take the agent's words; what it says is data, however it came to say it."""
        data, descriptors, _, _ = socket.recv_fds(self._agent, _LONGEST_LINE, 1)
        if not data:
            self._poll.unregister(self._agent)
            self._agent_gone()
            return
        self._heard += data
        if len(self._heard) > _LONGEST_LINE:
            raise SessionError("the session's answer makes no sense")
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                kind = _KINDS.get(message["error"], SessionError)
                raise kind(str(message["line"]))
            if "status" in message:
                self._status = int(message["status"]) & 0xFFFF
            elif descriptors:
                self._adopt(descriptors.pop())

    def _on_signal(self, number: int) -> None:
        if number != signal.SIGWINCH:
            self._signals += 1
            if self._signals == _INSISTING:
                raise SessionError("gave up on the command", f"it outlived {_INSISTING} signals")
            self._agent.send(bytes((number,)))

    def _done(self) -> bool:
        raise NotImplementedError

    def _copy(self, descriptor: int, events: int) -> None:
        raise NotImplementedError

    def _agent_gone(self) -> None:
        raise NotImplementedError

    def _adopt(self, descriptor: int) -> None:
        os.close(descriptor)
        raise SessionError("the session offers a terminal that nobody asked for")

    def _restore(self) -> None:
        pass


class Pipes(Relay):
    """Our 0-2 and the command's, byte for byte."""

    def __init__(self, agent: socket.socket, ours: Sequence[int]) -> None:
        super().__init__(agent)
        self._input = ours[0]
        self._outputs = {ours[1]: 1, ours[2]: 2}
        self._data = b""
        for descriptor in self._outputs:
            self._poll.register(descriptor, select.POLLIN)
        self._poll.register(0, select.POLLIN)

    def _done(self) -> bool:
        return not self._outputs and (self._status is not None or self._agent_is_gone)

    _agent_is_gone = False

    def _agent_gone(self) -> None:
        self._agent_is_gone = True

    def _copy(self, descriptor: int, events: int) -> None:
        if descriptor in self._outputs:
            data = os.read(descriptor, _CHUNK)
            if data:
                _write_all(self._outputs[descriptor], data)
            else:
                self._poll.unregister(descriptor)
                del self._outputs[descriptor]
        elif descriptor == 0:
            self._data = os.read(0, _CHUNK)
            self._poll.unregister(0)
            if self._data:
                self._poll.register(self._input, select.POLLOUT)
            else:
                os.close(self._input)
        elif descriptor == self._input:
            self._poll.unregister(self._input)
            if events & select.POLLERR:
                os.close(self._input)  # nobody reads it: no need to read ours
                return
            self._data = self._data[os.write(self._input, self._data) :]
            if self._data:
                self._poll.register(self._input, select.POLLOUT)
            else:
                self._poll.register(0, select.POLLIN)


class Terminal(Relay):
    """Our terminal in raw mode, and the command's through its other side."""

    def __init__(self, agent: socket.socket) -> None:
        super().__init__(agent)
        self._modes = termios.tcgetattr(0)
        self._master = -1
        self._display = Display()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._gone = False

    def _done(self) -> bool:
        return self._gone

    def _agent_gone(self) -> None:
        # What the command wrote last still waits in its terminal.
        if self._master >= 0:
            os.set_blocking(self._master, False)
            while self._show():
                pass
        self._gone = True

    def _adopt(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if self._master >= 0 or not stat.S_ISCHR(found.st_mode) or found.st_rdev != _PTMX:
            raise SessionError("the session offers something that is no terminal")
        self._master = descriptor
        tty.setraw(0)
        self._poll.register(0, select.POLLIN)
        self._poll.register(descriptor, select.POLLIN)

    def _copy(self, descriptor: int, events: int) -> None:
        if descriptor == 0:
            data = os.read(0, _CHUNK)
            if not data or events & (select.POLLHUP | select.POLLERR):
                self._gone = True
            else:
                _write_all(self._master, data)
        elif not self._show():
            self._poll.unregister(self._master)

    def _show(self) -> bool:
        try:
            data = os.read(self._master, _CHUNK)
        except OSError:
            return False
        _write_all(1, self._display.feed(self._decoder.decode(data)).encode())
        return bool(data)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGWINCH and self._master >= 0:
            size = array.array("H", [0] * 4)
            fcntl.ioctl(0, termios.TIOCGWINSZ, size)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        else:
            super()._on_signal(number)

    def _restore(self) -> None:
        if self._master >= 0:
            os.close(self._master)
            _write_all(1, _RESET)
            termios.tcsetattr(0, termios.TCSAFLUSH, self._modes)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _ignore(_number: int, _frame: object) -> None:
    """Be interrupted; the wake-up pipe says by what."""

"""The administrator's side of a program in a session or an image: copies, and nothing else, to and fro.

The program's own descriptors are pipes, or a terminal that is nobody else's; ours stay ours. What reaches
a terminal of ours is only what draws, and at the end the terminal is left as a shell expects it.
"""

from __future__ import annotations

import array
import codecs
import contextlib
import fcntl
import os
import select
import signal
import termios
import tty
from typing import TYPE_CHECKING

from ssh2container.admin.terminal.display import Display
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 4096
"""As much as a pipe that is ready takes without waiting (pipe(7), PIPE_BUF)."""
_INSISTING = 3
"""So many signals are meant for us: the command, or who claims to run it, does not answer."""
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Program:
    """What is relayed. descriptor: readable when there is news. status: raw wait status, None until known."""

    descriptor: int
    status: int | None = None

    def hear(self) -> bool:
        """Take the news; return False when no more comes. Raises SessionError."""
        raise NotImplementedError

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        raise NotImplementedError


class Child(Program):
    """A child of ours. pid: its process id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.descriptor = os.pidfd_open(pid)

    def hear(self) -> bool:
        """Collect it: it has ended."""
        self.status = os.waitpid(self.pid, 0)[1]
        os.close(self.descriptor)
        return False

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        os.kill(self.pid, number)


class Output:
    """One of our descriptors on which something is shown: whole where it is no terminal."""

    def __init__(self, descriptor: int, *, typed: bool = False) -> None:
        self.descriptor = descriptor
        self._display = Display(typed=typed) if os.isatty(descriptor) else None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._used = False

    def show(self, data: bytes) -> None:
        """Show ``data``, as far as it may be."""
        if self._display is not None:
            self._used = self._used or bool(data)
            data = self._display.feed(self._decoder.decode(data)).encode()
        write_all(self.descriptor, data)

    def reset(self) -> None:
        """Leave the terminal in order, where something was shown on one."""
        if self._display is not None and self._used:
            with contextlib.suppress(OSError):  # it may have hung up
                write_all(self.descriptor, self._display.reset().encode())


class Relay:
    """What terminal and pipes have in common: the program's news, and signals of ours."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._signals = 0
        self._poll = select.poll()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(program.descriptor, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def run(self) -> int:
        """Relay until the program has ended; return its raw wait status. Raises SessionError."""
        before = signal.set_wakeup_fd(self._waker)
        handlers = {number: signal.signal(number, _ignore) for number in (*_HANDED_ON, signal.SIGWINCH)}
        try:
            while not self._done():
                for descriptor, events in self._poll.poll():
                    if descriptor == self._program.descriptor:
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
            os.close(self._wake)
            os.close(self._waker)
        if self._program.status is None:
            raise SessionError("the command ended without reporting a status", "its session has ended")
        return self._program.status

    def _hear(self) -> None:
        descriptor = self._program.descriptor
        if not self._program.hear():
            self._poll.unregister(descriptor)
            self._program_gone()

    def _on_signal(self, number: int) -> None:
        if number != signal.SIGWINCH:
            self._signals += 1
            if self._signals == _INSISTING:
                raise SessionError("gave up on the command", f"it survived {_INSISTING} signals")
            self._program.signal(number)

    def _done(self) -> bool:
        raise NotImplementedError

    def _copy(self, descriptor: int, events: int) -> None:
        raise NotImplementedError

    def _program_gone(self) -> None:
        raise NotImplementedError

    def _restore(self) -> None:
        pass


class Pipes(Relay):
    """Our 0-2 and the program's three pipes, of which ``ours`` are our ends."""

    def __init__(self, program: Program, ours: Sequence[int]) -> None:
        super().__init__(program)
        self._input = ours[0]
        self._outputs = {ours[1]: Output(1), ours[2]: Output(2)}
        self._shown = list(self._outputs.values())
        self._data = b""
        self._gone = False
        for descriptor in self._outputs:
            self._poll.register(descriptor, select.POLLIN)
        self._poll.register(0, select.POLLIN)

    def _done(self) -> bool:
        return not self._outputs and (self._program.status is not None or self._gone)

    def _program_gone(self) -> None:
        self._gone = True

    def _copy(self, descriptor: int, events: int) -> None:
        if descriptor in self._outputs:
            data = os.read(descriptor, _CHUNK)
            if data:
                self._outputs[descriptor].show(data)
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

    def _restore(self) -> None:
        for output in self._shown:
            output.reset()


class Terminal(Relay):
    """Our terminal, and the program's through its other side.

    master: that side. keys: whether our standard input is a terminal and the program's, too; it is in raw
    mode meanwhile. shown_on: our descriptor that shows what it shows.
    """

    def __init__(self, program: Program, master: int, *, keys: bool = True, shown_on: int = 1) -> None:
        super().__init__(program)
        self._master = master
        self._keys = keys
        self._modes = termios.tcgetattr(0) if keys else None
        self._output = Output(shown_on, typed=keys)
        self._gone = False
        if keys:
            tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead is for the program
            self._poll.register(0, select.POLLIN)
        self._poll.register(master, select.POLLIN)

    def _done(self) -> bool:
        return self._gone

    def _program_gone(self) -> None:
        # What the program wrote last still waits in its terminal.
        os.set_blocking(self._master, False)
        while self._show():
            pass
        self._gone = True

    def _copy(self, descriptor: int, events: int) -> None:
        if descriptor == 0:
            data = os.read(0, _CHUNK)
            if not data or events & (select.POLLHUP | select.POLLERR):
                self._gone = True
            else:
                write_all(self._master, data)
        elif not self._show():
            self._poll.unregister(self._master)

    def _show(self) -> bool:
        try:
            data = os.read(self._master, _CHUNK)
        except OSError:
            return False
        self._output.show(data)
        return bool(data)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            size = array.array("H", [0] * 4)
            fcntl.ioctl(self._output.descriptor, termios.TIOCGWINSZ, size)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        else:
            super()._on_signal(number)

    def _restore(self) -> None:
        os.close(self._master)
        self._output.reset()
        if self._modes is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSAFLUSH, self._modes)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``."""
    while data:
        data = data[os.write(descriptor, data) :]


def _ignore(_number: int, _frame: object) -> None:
    """Be interrupted; the wake-up pipe says by what."""

"""Running one command of the host, and passing bytes on between it and the session.

The program gets pipes of ours and no descriptor of the session's, and the session none of the program's:
nothing but bytes crosses.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import subprocess
import time

from ssh2container.admin.host_commands import frames
from ssh2container.admin.sessions import impersonate
from ssh2container.errors import EXIT_OURS, EXIT_REFUSED, Refusal
from ssh2container.kernel import process, signals
from ssh2container.run.attendant import end_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from ssh2container.policy.host_commands import HostCommand

_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Running:
    """One command. why: what ended it before its time, or kept it from running; "" where nothing did."""

    def __init__(
        self,
        connection: socket.socket,
        came: frames.Frames,
        rest: Sequence[tuple[bytes, bytes]],
        command: HostCommand,
        words: Sequence[str],
        who: impersonate.Identity,
    ) -> None:
        """came, rest: the frames that arrive, and those that have. words: the argument vector."""
        self.command = command
        self.why = ""
        self._connection = connection
        self._came = came
        self._words = words
        self._who = who
        self._input = bytearray()
        self._ended = False
        self._stdin = -1
        self._outputs: dict[int, bytes] = {}
        self._unsent = bytearray()
        self._feed(rest)

    def run(self) -> int:
        """Run it, until it ends, its time is over or the session is gone; return the exit status for inside.

        Nothing that it has started is left then.
        """
        theirs, self._stdin = os.pipe()
        (out, said), (errors, complained) = os.pipe(), os.pipe()
        self._outputs = {out: frames.OUTPUT, errors: frames.ERRORS}
        try:
            program = subprocess.Popen(
                self._words,
                executable=self.command.path,
                stdin=theirs,
                stdout=said,
                stderr=complained,
                env={},
                cwd="/",
                umask=0o022,
                start_new_session=True,
                preexec_fn=functools.partial(_become, self._who),  # noqa: PLW1509 - no threads here
            )
        except OSError as error:
            self.why = f"{self.command.path} cannot be executed: {error.strerror}"
            return EXIT_REFUSED
        except subprocess.SubprocessError:
            self.why = f"it cannot be run as {self._who.name}"
            return EXIT_OURS
        for descriptor in (theirs, said, complained):
            os.close(descriptor)
        for descriptor in (self._stdin, out, errors):
            os.set_blocking(descriptor, False)
        self._connection.setblocking(False)
        status = self._attend(program)
        if not end_all():
            self.why = self.why or "it left processes that cannot be ended"
        for descriptor in list(self._outputs):
            while self._read(descriptor):
                pass
        return status

    def unsent(self) -> bytes:
        """Return what the session has not been sent yet."""
        return bytes(self._unsent)

    def _attend(self, program: subprocess.Popen[bytes]) -> int:
        until = time.monotonic() + self.command.timeout
        pidfd = os.pidfd_open(program.pid)
        try:
            self._write()  # what came with the request, which may be the end of it all
            while (left := until - time.monotonic()) > 0:
                ready = dict(self._watched(pidfd).poll(left * 1000))
                if pidfd in ready:
                    status = program.wait()
                    return status if status >= 0 else 128 - status  # as a shell tells of a signal
                self._serve(ready)
            self.why = f"it took longer than {self.command.timeout} s"
        except (Refusal, OSError) as error:
            self.why = "its session has ended" if isinstance(error, OSError) else error.reason()
        finally:
            os.close(pidfd)
        return EXIT_OURS

    def _watched(self, pidfd: int) -> select.poll:
        """Return what to wait for: nothing is read for which there is no room on the other side."""
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        wanted = select.POLLIN if len(self._input) < frames.LONGEST else 0
        poll.register(self._connection, wanted | (select.POLLOUT if self._unsent else 0))
        if self._stdin >= 0 and self._input:
            poll.register(self._stdin, select.POLLOUT)
        if len(self._unsent) < frames.LONGEST:
            for descriptor in self._outputs:
                poll.register(descriptor, select.POLLIN)
        return poll

    def _serve(self, ready: dict[int, int]) -> None:
        """Do what can be done. Raises OSError where the session is gone, Refusal for nonsense."""
        came = ready.pop(self._connection.fileno(), 0)
        if came & _GONE:
            raise ConnectionResetError
        if came & select.POLLOUT:
            with contextlib.suppress(BlockingIOError):
                del self._unsent[: self._connection.send(self._unsent)]
        if came & select.POLLIN:
            with contextlib.suppress(BlockingIOError):
                piece = self._connection.recv(frames.LONGEST)
                if not piece:
                    raise ConnectionResetError
                self._feed(self._came.take(piece))
        for descriptor in ready:
            if descriptor in self._outputs:
                self._read(descriptor)
        self._write()

    def _feed(self, found: Sequence[tuple[bytes, bytes]]) -> None:
        for kind, content in found:
            if kind != frames.INPUT or self._ended:
                raise Refusal("cannot go on with the command", "its session says what makes no sense")
            self._input += content
            self._ended = not content

    def _write(self) -> None:
        """Give the program of its input what it takes."""
        if self._stdin < 0:
            self._input.clear()  # it does not want any more
            return
        try:
            while self._input:
                del self._input[: os.write(self._stdin, self._input[: frames.LONGEST])]
        except BlockingIOError:
            return
        except OSError:
            self._input.clear()
            self._ended = True
        if self._ended:
            os.close(self._stdin)
            self._stdin = -1

    def _read(self, descriptor: int) -> bool:
        """Take a piece of what the program says; False where there is none."""
        try:
            piece = os.read(descriptor, frames.LONGEST)
        except OSError:
            return False
        if not piece:
            os.close(descriptor)
            del self._outputs[descriptor]
            return False
        self._unsent += frames.frame(self._outputs[descriptor], piece)
        return True


def _become(who: impersonate.Identity) -> None:
    """Be ``who``, in the child that becomes the program, which ends with us however we do."""
    impersonate.become(who)
    # The kernel forgets it at any change of ids.
    process.die_with_parent(signals.SIGKILL)

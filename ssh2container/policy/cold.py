"""Making what is not compiled: by another program, so that a session never holds what that takes.

The reader of YAML and libseccomp stay in a process for good, and a monitor lives as long as its session.
So a login starts ``admin/cold.py``, asks it for one part after another, and ends it before the container is
made. The program is root's code under the user's uid, with an empty environment and no descriptor of the
session. A process that has ``admin`` in it anyway makes the parts itself (:data:`here`).

A request is its length in 4 bytes and a marshalled tuple. The answer is a letter, its length in 4 bytes, and
what ``ssh2containerctl compile`` would have written, or the fields of an error with a zero byte between them.
"""

from __future__ import annotations

import marshal
import posix as os
import select
import time

from ssh2container import paths
from ssh2container.errors import Refusal, SessionError

from . import layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .policy import Seccomp
    from .store import Places

    _Word = str | int | tuple[str | int | tuple[str, ...], ...]

    class Maker(Protocol):
        """Whoever makes what is not compiled."""

        def part(self, name: str, places: Places) -> layers.Part:
            """Return a part of a policy. Raises PolicyError or another SessionError, OSError."""

        def programs(self, seccomp: Seccomp, capabilities: tuple[int, ...], bits: int) -> bytes:
            """Return a system-call filter as ``filters.pack`` does.

            Raises OSError, ValueError, RuntimeError, ImportError.
            """

        def devices(self, names: tuple[str, ...]) -> bytes:
            """Return what names of devices stand for, marshalled (``admin.cdi``). Raises Refusal."""

        def close(self) -> None:
            """Let go of it."""


MADE, REFUSED, FAILED, SYSTEM, WRONG, BUG = b"m", b"r", b"f", b"o", b"w", b"b"
"""What an answer holds: a part or filter; a Refusal, a SessionError, an OSError; why a filter cannot be
built; an error that nobody foresaw."""
PART, PROGRAMS, DEVICES = "part", "programs", "devices"
"""What can be asked for."""
HEAD_BYTES = 5
PATIENCE_S = 30.0
"""How long one answer may take. It takes a tenth of a second, and more on a busy machine."""
LIMIT_BYTES = 16 << 20
"""The most that an answer may hold; a filter has about 6 kB, and what is compiled of a policy less."""
_PROGRAM = paths.parent(paths.parent(__file__)) + "/admin/cold.py"
PYTHON = "/usr/bin/python3"
"""The interpreter of logins, of this and of whatever else begins anew: another one has other modules."""
_COMMAND = (PYTHON, "-ISB", _PROGRAM)
_SIGKILL = 9

here: Callable[[], Maker] | None = None
"""Returns who makes the parts in this very process: set where ``admin`` is imported, never in a login."""


def start() -> Maker:
    """Return who makes what is not compiled; :meth:`Maker.close` it. Raises SessionError."""
    return Program() if here is None else here()


class Program:
    """The running program."""

    def __init__(self) -> None:
        """Start it. Raises SessionError."""
        # No signal mask of ours, and no terminal: a client's ^C is the session's matter.
        try:
            # We keep their end: a write when they are gone would be a SIGPIPE that waits for us.
            self._their_requests, self._requests = os.pipe2(os.O_CLOEXEC)
            self._answers, their_answers = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._requests, False)
            self._pid = os.posix_spawn(
                _COMMAND[0],
                _COMMAND,
                {},
                file_actions=(
                    (os.POSIX_SPAWN_DUP2, self._their_requests, 0),
                    (os.POSIX_SPAWN_DUP2, their_answers, 1),
                    (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
                ),
                setsid=True,
                setsigmask=(),
            )
        except OSError as error:
            raise _failed(error.strerror or "", error.errno or 0) from None
        os.close(their_answers)

    def part(self, name: str, places: Places) -> layers.Part:
        """See :class:`Maker`. Raises SessionError, too, where the program gives no answer."""
        described = (places.configuration, places.shipped, places.compiled, places.anchor, places.owner)
        return layers.decode(self._ask(PART, name, described))

    def programs(self, seccomp: Seccomp, capabilities: tuple[int, ...], bits: int) -> bytes:
        """See :class:`Maker`. Raises SessionError, too, where the program gives no answer."""
        wanted = (seccomp.profile, seccomp.allow, seccomp.deny, seccomp.on_violation)
        return self._ask(PROGRAMS, wanted, capabilities, bits)

    def devices(self, names: tuple[str, ...]) -> bytes:
        """See :class:`Maker`. Raises SessionError, too, where the program gives no answer."""
        return self._ask(DEVICES, names)

    def close(self) -> None:
        """End the program."""
        for descriptor in (self._requests, self._their_requests, self._answers):
            os.close(descriptor)
        os.kill(self._pid, _SIGKILL)
        os.waitpid(self._pid, 0)

    def _ask(self, *request: _Word) -> bytes:
        """Return what was made. Raises the error that the program met."""
        deadline = time.monotonic() + PATIENCE_S
        data = marshal.dumps(request, layers.MARSHAL_VERSION)
        data = len(data).to_bytes(4, "little") + data
        while data:
            self._wait(self._requests, select.POLLOUT, deadline)
            data = data[os.write(self._requests, data) :]
        head = self._read(HEAD_BYTES, deadline)
        size = int.from_bytes(head[1:], "little")
        if size > LIMIT_BYTES:
            raise _failed(f"its answer is larger than {LIMIT_BYTES} bytes")
        content = self._read(size, deadline)
        if head[:1] == MADE:
            return content
        raise _error(head[:1], content.decode("utf-8", "surrogateescape").split("\0"))

    def _read(self, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            self._wait(self._answers, select.POLLIN, deadline)
            piece = os.read(self._answers, size - len(data))
            if not piece:
                raise _failed("it ended without an answer")
            data += piece
        return data

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise _failed(f"it has not answered for {PATIENCE_S:.0f} s")


def _error(kind: bytes, fields: list[str]) -> Exception:
    """Return the error of an answer."""
    if kind in (REFUSED, FAILED):
        what, why, remedy, step, number = fields
        kind_of_error = Refusal if kind == REFUSED else SessionError
        return kind_of_error(what, why, remedy, step, int(number))
    if kind == SYSTEM:
        number, text, path = fields
        return OSError(int(number), text, path or None)
    return ValueError(fields[0]) if kind == WRONG else RuntimeError(fields[0])


def _failed(why: str, number: int = 0) -> SessionError:
    return SessionError(
        "cannot have made what is not compiled",
        f"{_PROGRAM}: {why}",
        "an administrator runs: ssh2containerctl compile",
        "policy",
        number,
    )

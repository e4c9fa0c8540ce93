"""The forwarder of a private network: starting it beside a container, hearing it, ending it.

It is a child of the process that waits for pid 1, runs under the user's uid outside the container, and ends
with either of them. Imported only for a plan that has such a network.
"""

from __future__ import annotations

import fcntl
import posix as os
import select
import time

from ssh2container.errors import SessionError, printable
from ssh2container.kernel import ends, signals
from ssh2container.plan.private import FORWARDER

from . import channel, packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.plan.private import Forwarding
    from ssh2container.record.audit import Session

_PATIENCE_S = 10.0
"""How long it may take to be ready, and pid 1 to make its interface: both take some milliseconds."""
_LEAVING_S = 0.5
"""How long it may take to end by itself once it is told to."""
_OUT_OF_THE_WAY = 16
"""Above every number that it has a descriptor at."""
_PIECE = 4096
_LONGEST_LINE = 512
"""Its lines are shorter (``native/forwarder/report.c``), and a pipe takes that in as a whole."""
_PROTOCOLS = ("tcp", "udp", "icmp")
_MOST_DIGITS = 20
"""Of a number of 64 bits."""
_SHOWN = 80
_MOST_RECORDS = 256
"""How many refused destinations of a session are recorded one by one; the rest is counted."""


class Forwarder:
    """One forwarder. status: the descriptor to listen to with :meth:`hear`, -1 when it is gone.

    log: where refused flows are recorded, None until :meth:`record_in`.
    """

    def __init__(self, network: Forwarding, end: ends.End) -> None:
        """Start it, once pid 1 has handed over its interface on ``end``. Raises SessionError.

        Where pid 1 says something else, which whoever waits for it will hear, nothing is started.
        """
        self.log: Session | None = None
        self.status = self._errors = self._life = self._pid = self._pidfd = -1
        self._pending = b""
        self._recorded: set[bytes] = set()
        self._left_out = 0
        self._fault = ""
        tap = _receive_tap(end)
        if tap < 0:
            return
        try:
            self._start(network, tap)
        except OSError as error:
            raise _failed(f"cannot start {FORWARDER}: {error.strerror}", error.errno or 0) from None
        finally:
            os.close(tap)

    def _start(self, network: Forwarding, tap: int) -> None:
        told = os.memfd_create("network", os.MFD_CLOEXEC)
        os.writev(told, (network.configuration,))
        os.lseek(told, 0, 0)
        self.status, says = os.pipe2(os.O_CLOEXEC)
        self._errors, complains = os.pipe2(os.O_CLOEXEC)
        lives, self._life = os.pipe2(os.O_CLOEXEC)
        # As 0 to 4, in this order (native/forwarder/main.c).
        given = [
            fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
            for one in (told, says, complains, tap, lives)
        ]
        actions = [(os.POSIX_SPAWN_DUP2, one, number) for number, one in enumerate(given)]
        try:
            # Apart from our terminal's process groups: what ends those is not for it.
            self._pid = os.posix_spawn(
                FORWARDER, [FORWARDER], {}, file_actions=actions, setsid=True, setsigmask=()
            )
        finally:
            for one in (*given, told, says, complains, lives):
                os.close(one)
        self._pidfd = os.pidfd_open(self._pid)
        os.set_blocking(self.status, False)

    def record_in(self, log: Session) -> None:
        """Have refused flows recorded in ``log``."""
        self.log = log

    def await_ready(self) -> bool:
        """Wait until it is ready; False where pid 1 handed nothing over. Raises SessionError."""
        if self._pid < 0:
            return False
        until = time.monotonic() + _PATIENCE_S
        poll = select.poll()
        poll.register(self.status, select.POLLIN)
        while b"\n" not in self._pending and len(self._pending) < _LONGEST_LINE:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self.end()
                raise _failed(f"the forwarder was not ready within {_PATIENCE_S:g} seconds")
            if not self._read():
                break
        line, _, self._pending = self._pending.partition(b"\n")
        if line != b"ready":
            said = _words(os.read(self._errors, _PIECE))
            self.end()
            raise _failed(said or "the forwarder was killed, or says nothing that makes sense")
        os.close(self._errors)
        self._errors = -1
        self._judge()  # what came along with it makes no descriptor readable again
        return True

    def hear(self) -> bool:
        """Take in what it says; False when it is gone, or was killed for what it said."""
        if self._fault:
            return False
        going_on = self._read()
        return self._judge() and going_on

    def _judge(self) -> bool:
        """Take in the lines that have been read; False when it was killed for one."""
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            if not self._record(line):
                self._distrust(line)
                return False
        if len(self._pending) > _LONGEST_LINE:
            self._distrust(self._pending)
            return False
        return True

    def _distrust(self, line: bytes) -> None:
        """Kill it: a program that says what ours never does is not, or no longer, ours.

        It reads packets that whoever is inside has made.
        """
        said = printable(_words(line)[:_SHOWN])
        self._fault = f"it said what makes no sense and was killed: {said}"
        signals.send(self._pidfd, signals.SIGKILL)
        self._await_end()

    def _await_end(self) -> bool:
        gone = select.poll()
        gone.register(self._pidfd, select.POLLIN)
        return bool(gone.poll(_LEAVING_S * 1000))

    def end(self) -> None:
        """End it; when this returns, nobody listens any more at what it published.

        It closes its status last of all but the tap. The kernel takes 20 ms over removing that, for which
        nobody has to wait.
        """
        if self._pid < 0:
            return
        os.close(self._life)
        until = time.monotonic() + _LEAVING_S
        says = select.poll()
        says.register(self.status, select.POLLIN)
        while self.hear():
            left = until - time.monotonic()
            if left <= 0 or not says.poll(left * 1000):
                signals.send(self._pidfd, signals.SIGKILL)
                os.waitpid(self._pid, 0)
                break
        if self._left_out and self.log is not None:
            self.log.write(
                "egress-refused", count=str(self._left_out), text="more were refused than are listed"
            )
        if self._fault:
            self._record_loss(self._fault)
        for one in (self._pidfd, self.status, self._errors):
            if one >= 0:
                os.close(one)
        self._pid = self.status = self._errors = -1

    def bury(self) -> None:
        """Record that it has gone before the session, which goes on without a network."""
        if not self._await_end():
            signals.send(self._pidfd, signals.SIGKILL)  # it says nothing any more, and has not ended
        _, status = os.waitpid(self._pid, 0)
        if not self._fault:
            killed = os.WIFSIGNALED(status)
            how = f"signal {os.WTERMSIG(status)}" if killed else f"status {os.WEXITSTATUS(status)}"
            self._fault = f"it ended: {how}"
        self.end()

    def _record_loss(self, how: str) -> None:
        if self.log is not None:
            self.log.write(
                "network-lost", warning=True, reason=f"the forwarder of the private network failed: {how}"
            )

    def _read(self) -> bool:
        try:
            piece = os.read(self.status, _PIECE)
        except BlockingIOError:
            return True
        self._pending += piece
        return bool(piece)

    def _record(self, line: bytes) -> bool:
        """Record what a line says of refused flows; False where that is nothing that the forwarder says."""
        words = _words(line).split(" ")
        if words[0] == "suppressed":
            if len(words) != 2 or not _is_number(words[1]):  # noqa: PLR2004
                return False
            self._left_out += int(words[1])
            return True
        name = words.pop() if len(words) == 5 else ""  # noqa: PLR2004
        if len(words) != 4 or words[0] != "refused" or words[1] not in _PROTOCOLS or not _is_number(words[3]):  # noqa: PLR2004
            return False
        if self.log is None or line in self._recorded:
            return True
        if len(self._recorded) == _MOST_RECORDS:
            self._left_out += 1
            return True
        self._recorded.add(line)
        self.log.write("egress-refused", protocol=words[1], address=words[2], target_port=words[3], name=name)
        return True


def _is_number(word: str) -> bool:
    return word.isdecimal() and len(word) <= _MOST_DIGITS


def _receive_tap(end: ends.End) -> int:
    """Return what pid 1 hands over, -1 where it says something else, which is left for others to read."""
    ready = select.poll()
    ready.register(end.fileno(), select.POLLIN)
    if not ready.poll(_PATIENCE_S * 1000):
        raise _failed(f"pid 1 made no interface within {_PATIENCE_S:g} seconds")
    try:
        if end.recvmsg(1, 0, ends.MSG_PEEK)[0] != channel.TAP:
            return -1
    except ConnectionResetError:
        return -1
    return packets.receive(end)[2]


def _words(said: bytes) -> str:
    return said.decode("ascii", "replace").strip()


def _failed(why: str, number: int = 0) -> SessionError:
    remedy = "an administrator: ssh2containerctl doctor"
    return SessionError("cannot start the session's private network", why, remedy, "network", number)

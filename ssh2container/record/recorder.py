"""Recording a terminal, from the monitor: what it shows is handed to a keeper, in another process.

The keeper (``keeper``) is the collector or, for a file of the user's own, a child of ours. Nothing here
waits: what the keeper does not take yet stays in memory, and while that is much, the relay does not
read more from the payload. Digests of all that was written so far go to the audit trail, so that
``ssh2containerctl replay --verify`` can tell a recording that was changed or cut.

Imported only when the plan asks for a recording.
"""

from __future__ import annotations

import _socket
import errno
import posix as os
import select
import time

from ssh2container.errors import printable

from . import keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssh2container.policy.policy import Record

    from .audit import Session

NEVER = float("inf")
_FLUSH_S = 0.5
_DIGEST_S = 10.0
_PATIENCE_S = 5.0
"""How long the keeper may take nothing before the recording counts as failed."""
_TOGETHER_S = 0.002
"""What is shown within this time is one event of the recording."""
_BATCH = 1 << 16
_MUCH = 1 << 20
_MOST_PIECES = 512
"""Buffers that writev(2) takes at once, at most half of IOV_MAX."""
_CHUNK = 1 << 16


class Recorder:
    """Writes one recording.

    sink: a socket to the keeper, which has ``place`` open. child: the keeper's pid where it is ours, or 0.
    due: when :meth:`look` has to be called at the latest, of time.monotonic().
    full: whether the payload should not be read for now. failure: why the recording ended early, or "".
    """

    def __init__(self, sink: int, place: str, log: Session, record: Record, child: int = 0) -> None:
        self._sink = sink
        self._child = child
        self._log = log
        self.place = place
        self.wants_input = record.input
        self._started = time.monotonic()
        self._begun = False
        self._out: list[bytes] = []
        self._size = 0
        self._frame: list[bytes] = []
        self._frame_kind = b""
        self._frame_at = 0.0
        self._frame_size = 0
        self._heard = b""
        self._confirmed = False
        self._sequence = 0
        self._flush_at = self._digest_at = self._fails_at = NEVER
        self.blocked = False
        self.failure = ""
        os.set_blocking(sink, False)

    @property
    def descriptor(self) -> int:
        """What to poll: for reading always, and for writing while :attr:`blocked`."""
        return self._sink

    @property
    def full(self) -> bool:
        """Whether so much waits for the keeper that the payload should not be read for now."""
        return self._size + self._frame_size > _MUCH

    @property
    def due(self) -> float:
        """When :meth:`look` has something to do at the earliest."""
        return min(self._flush_at, self._digest_at, self._fails_at)

    def begin(self, columns: int, rows: int, title: str, environment: dict[str, str]) -> None:
        """Say what is recorded."""
        self._begun = True
        header = keeper.begin(columns, rows, int(time.time()), title, environment)
        self._add(keeper.BEGIN, (header,))

    def output(self, pieces: Iterable[bytes]) -> None:
        """Record what the terminal shows."""
        self._add(keeper.OUTPUT, pieces)

    def input(self, data: bytes) -> None:
        """Record what was typed."""
        self._add(keeper.INPUT, (data,))

    def resize(self, columns: int, rows: int) -> None:
        """Record the window's new size."""
        self._add(keeper.RESIZE, (b"%dx%d" % (columns, rows),))
        self._close_frame()

    def look(self, now: float) -> None:
        """Do what is due: send what is old enough, ask for the digest, notice a keeper that hangs."""
        if now >= self._fails_at:
            self._fail(f"it has accepted nothing for {_PATIENCE_S:.0f} s")
        if now >= self._digest_at:
            self._digest_at = NEVER
            self._close_frame()
            self._put([keeper.head(keeper.DIGEST, 0, 0)], 0)
            self.flush(now)
        if now >= self._flush_at:
            self.flush(now)

    def flush(self, now: float) -> None:
        """Send what is there, as far as the keeper takes it now."""
        self._close_frame()
        self._flush_at = NEVER
        while self._out and not self.failure:
            try:
                sent = os.writev(self._sink, self._out[:_MOST_PIECES])
            except BlockingIOError:
                self.blocked = True
                if self._fails_at == NEVER:
                    self._fails_at = now + _PATIENCE_S
                return
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.ECONNRESET):
                    self.hear()
                self._fail(error.strerror or "")
                return
            self._size -= sent
            self._fails_at = NEVER
            done = 0
            while sent and sent >= len(self._out[done]):
                sent -= len(self._out[done])
                done += 1
            del self._out[:done]
            if sent:
                self._out[0] = self._out[0][sent:]
        self.blocked = False

    def hear(self) -> None:
        """Read what the keeper says: digests, or why it cannot go on."""
        try:
            said = os.read(self._sink, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            said = b"error " + os.strerror(error.errno or 0).encode() + b"\n"
        *lines, self._heard = (self._heard + said).split(b"\n")
        for line in lines:
            kind, _, what = line.decode("utf-8", "replace").partition(" ")
            if kind in ("digest", "done"):
                self._tell_digest(what, final=kind == "done")
            else:
                self._fail(printable(what))
        if not said and not self._confirmed:
            self._fail("the collector is gone")

    def finish(self, exit_status: str) -> None:
        """Write the end and wait until the keeper has it all on the disk; a few seconds at most."""
        if self._begun:
            self._add(keeper.EXIT, (exit_status.encode(),))
        self.flush(time.monotonic())
        end = time.monotonic() + _PATIENCE_S
        poll = select.poll()
        poll.register(self._sink, select.POLLOUT)
        while self._out and not self.failure and (left := end - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self.flush(time.monotonic())
        if not self.failure:
            self._await_receipt(end)
        self.abandon()

    def abandon(self) -> None:
        """Close a recording that is complete, never began or has failed."""
        os.close(self._sink)
        if self._child:
            # One that hangs, say on a disk, is not waited for.
            os.waitpid(self._child, 0 if self._confirmed else os.WNOHANG)

    def _add(self, kind: bytes, pieces: Iterable[bytes]) -> None:
        """Add to the frame that was begun just now, or begin another."""
        now = time.monotonic()
        if kind != self._frame_kind or now - self._frame_at > _TOGETHER_S or self._frame_size > _BATCH:
            self._close_frame()
            self._frame_kind, self._frame_at = kind, now
        for piece in pieces:
            if piece:
                self._frame.append(piece)
                self._frame_size += len(piece)
        if self._size + self._frame_size > _BATCH:
            self.flush(now)
        elif self._flush_at == NEVER:
            self._flush_at = now + _FLUSH_S
        if self._digest_at == NEVER:
            self._digest_at = now + _DIGEST_S

    def _close_frame(self) -> None:
        if self._frame_kind:
            microseconds = int((self._frame_at - self._started) * 1e6)
            head = keeper.head(self._frame_kind, self._frame_size, microseconds)
            self._put([head, *self._frame], self._frame_size)
            self._frame_kind, self._frame, self._frame_size = b"", [], 0

    def _put(self, pieces: list[bytes], size: int) -> None:
        self._out += pieces
        self._size += len(pieces[0]) + size

    def _fail(self, why: str) -> None:
        if not self.failure:
            self.failure = why or "the collector is gone"
            self._out.clear()
            self._frame_kind, self._frame, self._frame_size, self._size = b"", [], 0, 0
            self.blocked = False
            self._flush_at = self._digest_at = self._fails_at = NEVER
            self._log.write("recording-failed", warning=True, path=self.place, reason=self.failure)

    def _tell_digest(self, what: str, *, final: bool) -> None:
        """Say in the audit trail how long the recording is and what it is, by the keeper's word."""
        self._confirmed = final
        size, _, digest = what.partition(" ")
        if size == "0":
            return  # nothing is left of a session that never began
        self._sequence += 1
        self._log.write(
            "recording",
            path=self.place,
            sequence=str(self._sequence),
            bytes=size,
            digest=digest,
            final="yes" if final else "",
        )

    def _await_receipt(self, end: float) -> None:
        """Close our half, and wait until the keeper says that all is on the disk."""
        _socket.socket(fileno=os.dup(self._sink)).shutdown(_socket.SHUT_WR)
        poll = select.poll()
        poll.register(self._sink, select.POLLIN)
        while not self._confirmed and not self.failure:
            if not poll.poll(max(0, end - time.monotonic()) * 1000):
                self._fail("the collector does not confirm the end")
            else:
                self.hear()

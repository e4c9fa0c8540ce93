"""Recording a terminal as an asciicast (docs.asciinema.org, version 2), from the monitor.

Who keeps it is behind one door: a socket of the collector, or a file of the user's own. Nothing
here waits: what the keeper does not take yet stays in memory, and while that is much, the relay does
not read more from the payload. Digests of all that was written so far go to the audit trail, so
that ``ssh2containerctl replay --verify`` can tell a recording that was changed or cut.

Imported only when the plan asks for a recording.
"""

from __future__ import annotations

import _codecs
import _socket
import errno
import posix as os
import select
import time
from _blake2 import blake2b
from _json import encode_basestring

from ssh2container import paths
from ssh2container.errors import SessionError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Record

    from .audit import Session

COLLECTOR = "/run/ssh2container/record.socket"
GREETING = b"ssh2container-record 1 "
"""What a recorder says first; the session's id and a line end follow."""
DIGEST_BYTES = 16
NEVER = float("inf")
_FLUSH_S = 0.5
_DIGEST_S = 10.0
_PATIENCE_S = 5.0
"""How long the keeper may take nothing before the recording counts as failed."""
_START_S = 15.0
_BATCH = 1 << 16
_MUCH = 1 << 20


class Recorder:
    """Writes one recording.

    due: when :meth:`look` has to be called at the latest, of time.monotonic().
    full: whether the payload should not be read for now. failure: why the recording ended early, or "".
    """

    def __init__(self, sink: int, place: str, log: Session, record: Record) -> None:
        self._sink = sink
        self._log = log
        self.place = place
        self.wants_input = record.input
        self._started = time.monotonic()
        self._rest = {"o": b"", "i": b""}
        self._lines: list[bytes] = []
        self._size = 0
        self._out = b""
        self._digest = blake2b(digest_size=DIGEST_BYTES)
        self._written = self._told = 0
        self._sequence = 0
        self._flush_at = self._digest_at = self._fails_at = NEVER
        self.failure = ""
        os.set_blocking(sink, False)

    @property
    def descriptor(self) -> int:
        """What to poll: for reading always, and for writing while :attr:`blocked`."""
        return self._sink

    @property
    def blocked(self) -> bool:
        """Whether the keeper has to take something before more can be sent."""
        return bool(self._out)

    @property
    def full(self) -> bool:
        """Whether so much waits for the keeper that the payload should not be read for now."""
        return len(self._out) + self._size > _MUCH

    @property
    def due(self) -> float:
        """When :meth:`look` has something to do at the earliest."""
        return min(self._flush_at, self._digest_at, self._fails_at)

    def begin(self, columns: int, rows: int, title: str, environment: dict[str, str]) -> None:
        """Write the header."""
        named = ", ".join(
            f"{_quoted(name)}: {_quoted(value)}" for name, value in environment.items() if value
        )
        self._add(
            f'{{"version": 2, "width": {columns}, "height": {rows}, "timestamp": {int(time.time())}, '
            f'"title": {_quoted(title)}, "env": {{{named}}}}}\n'
        )

    def output(self, data: bytes) -> None:
        """Record what the terminal shows."""
        self._text("o", data)

    def input(self, data: bytes) -> None:
        """Record what was typed."""
        self._text("i", data)

    def resize(self, columns: int, rows: int) -> None:
        """Record the window's new size."""
        self._event("r", f"{columns}x{rows}")

    def look(self, now: float) -> None:
        """Do what is due: send what is old enough, tell the digest, notice a keeper that hangs."""
        if now >= self._fails_at:
            self._fail(f"it takes nothing any more for {_PATIENCE_S:.0f} s")
        if now >= self._flush_at:
            self.flush(now)
        if now >= self._digest_at:
            self._tell_digest()

    def flush(self, now: float) -> None:
        """Send what is there, as far as the keeper takes it now."""
        if self._lines:
            batch = b"".join(self._lines)
            self._digest.update(batch)
            self._out += batch
            self._lines.clear()
            self._size = 0
            if self._digest_at == NEVER:
                self._digest_at = now + _DIGEST_S
        self._flush_at = NEVER
        self._send(now)

    def hear(self) -> None:
        """Read what the collector says: it speaks only when it cannot go on."""
        try:
            said = os.read(self._sink, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            said = b"error " + os.strerror(error.errno or 0).encode()
        kind, _, why = said.decode("utf-8", "replace").partition(" ")
        self._fail(printable(why.strip()) if kind == "error" else "the collector is gone")

    def finish(self, exit_status: str) -> None:
        """Write the end and wait until the keeper has all of it; a few seconds at most."""
        for code, rest in self._rest.items():
            if rest:
                self._rest[code] = b""
                self._event(code, rest.decode("utf-8", "replace"))
        self._event("x", exit_status)
        self.flush(time.monotonic())
        end = time.monotonic() + _PATIENCE_S
        poll = select.poll()
        poll.register(self._sink, select.POLLOUT)
        while self._out and not self.failure and (left := end - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self._send(time.monotonic())
        if not self.failure:
            self._await_receipt(end)
        self._tell_digest(final=True)
        os.close(self._sink)

    def abandon(self) -> None:
        """Close a recording that never began or has failed."""
        os.close(self._sink)

    def _text(self, code: str, data: bytes) -> None:
        rest = self._rest[code]
        text, used = _codecs.utf_8_decode(rest + data if rest else data, "replace", False)
        if rest or used != len(data):
            self._rest[code] = (rest + data)[used:]
        if text:
            self._event(code, text)

    def _event(self, code: str, text: str) -> None:
        now = time.monotonic()
        self._add(f'[{now - self._started:.6f}, "{code}", {encode_basestring(text)}]\n', now)

    def _add(self, line: str, now: float = 0.0) -> None:
        encoded = line.encode()
        self._lines.append(encoded)
        self._size += len(encoded)
        if self._size > _BATCH:
            self.flush(now)
        elif self._flush_at == NEVER:
            self._flush_at = (now or time.monotonic()) + _FLUSH_S

    def _send(self, now: float) -> None:
        while self._out and not self.failure:
            try:
                sent = os.write(self._sink, self._out)
            except BlockingIOError:
                if self._fails_at == NEVER:
                    self._fails_at = now + _PATIENCE_S
                return
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.ECONNRESET):
                    self.hear()
                self._fail(error.strerror or "")
                return
            self._written += sent
            self._out = self._out[sent:]
            self._fails_at = NEVER

    def _fail(self, why: str) -> None:
        if not self.failure:
            self.failure = why or "the collector is gone"
            self._out = b""
            self._lines.clear()
            self._size = 0
            self._flush_at = self._digest_at = self._fails_at = NEVER
            self._log.write("recording-failed", warning=True, path=self.place, reason=self.failure)

    def _tell_digest(self, *, final: bool = False) -> None:
        """Say in the audit trail what the first bytes of the recording are, up to what was handed over."""
        self._digest_at = NEVER
        if self.failure or (self._written == self._told and not final):
            return
        if self._out:  # the digest covers what waits, too: say it when the keeper has it
            self._digest_at = time.monotonic() + _FLUSH_S
            return
        self._told = self._written
        self._sequence += 1
        self._log.write(
            "recording",
            path=self.place,
            sequence=str(self._sequence),
            bytes=str(self._written),
            digest=self._digest.hexdigest(),
            final="yes" if final else "",
        )

    def _await_receipt(self, end: float) -> None:
        """Close our half, and wait until the collector says that all is on the disk."""
        try:
            _socket.socket(fileno=os.dup(self._sink)).shutdown(_socket.SHUT_WR)
        except OSError:
            return  # a file: it has all of it
        poll = select.poll()
        poll.register(self._sink, select.POLLIN)
        if poll.poll(max(0, end - time.monotonic()) * 1000):
            answer = os.read(self._sink, 4096)
            if answer.startswith(b"done"):
                return
            self._fail(printable(answer.decode("utf-8", "replace").removeprefix("error ").strip()))
        else:
            self._fail("the collector does not confirm the end")


def start(record: Record, session: str, log: Session) -> Recorder:
    """Open the place where the recording of ``session`` goes. Raises SessionError.

    record: its ``directory`` without specifiers.
    """
    if record.to == "collector":
        sink, place = _connect(session)
    else:
        sink, place = _create(record.directory, session)
    return Recorder(sink, place, log, record)


def _connect(session: str) -> tuple[int, str]:
    """Return a connection to the collector, which has the file open, and the file's path."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        end.settimeout(_START_S)
        end.connect(COLLECTOR)
        end.send(GREETING + session.encode() + b"\n")
        kind, _, what = end.recv(4096).decode("utf-8", "replace").strip().partition(" ")
    except OSError as error:
        end.close()
        raise _cannot(error.strerror or "the collector does not answer", error.errno or 0) from None
    if kind != "ok":
        end.close()
        raise _cannot(printable(what) or "the collector has closed the connection", 0)
    return end.detach(), what


def _create(directory: str, session: str) -> tuple[int, str]:
    """Return a new file of the user's own, and its path."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = f"{directory}/{stamp}-{session}.cast"
    try:
        _make_directories(directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600), path
    except OSError as error:
        raise SessionError(
            f"cannot record the session in {directory}",
            error.strerror or "",
            "the directory has to be the user's own, or of a place where he may make it",
            "record",
            error.errno or 0,
        ) from None


def _make_directories(directory: str) -> None:
    parent = paths.parent(directory)
    if not paths.is_directory(directory):
        if parent != directory:
            _make_directories(parent)
        os.mkdir(directory, 0o700)


def _cannot(why: str, number: int) -> SessionError:
    return SessionError(
        "cannot record the session",
        why,
        f"an administrator starts the collector ({COLLECTOR}): systemctl start ssh2container-record.socket",
        "record",
        number,
    )


def _quoted(text: str) -> str:
    quoted: str = encode_basestring(printable(text))
    return quoted

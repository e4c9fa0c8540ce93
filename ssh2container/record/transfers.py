"""Names, sizes and directions of transferred files, without a relay in the data's way.

sftp-server itself says on standard error what it opens and closes when it is asked to (sftp-server(8),
-e -l INFO): for its sessions, standard error leads here, and what is not such a line goes on to the client.
scp and rsync name what they transfer in their command, and nothing else; nor does a shell.

Imported only for a plan with ``record.transfers``.
"""

from __future__ import annotations

import posix as os
import select
import time

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel.offering import offer
from ssh2container.policy import commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .audit import Session

_SAID_AT_INFO = (
    b"close", b"closedir", b"forced", b"fsync", b"hardlink", b"lsetstat", b"mkdir", b"open", b"opendir",
    b"posix-rename", b"readlink", b"remove", b"rename", b"rmdir", b"sent", b"session", b"set", b"statvfs",
    b"symlink", b"copy-data",
)  # fmt: skip
"""First words of what sftp-server logs at this level and would not say to the client otherwise."""
_LONGEST_LINE = 16384
_LONGEST_SIZE = 20
"""Digits of a size: int() refuses thousands of them by an error of its own."""
_MOST_OPEN = 4096
_CHUNK = 65536


class Transfers:
    """What one sftp session transfers. descriptor: where sftp-server's words arrive."""

    def __init__(self, log: Session) -> None:
        """Put a pipe in the place of standard error, which is kept for the client."""
        self._log = log
        self._rest = b""
        self._opened: dict[bytes, tuple[float, bool]] = {}
        self._client = os.dup(2)
        self.descriptor, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # The program's own end waits for us like any standard error.
        os.set_blocking(writer, True)
        os.dup2(writer, 2)
        os.close(writer)

    def restore(self) -> None:
        """Give standard error back."""
        os.dup2(self._client, 2)

    def read(self) -> bool:
        """Take what sftp-server said; return False at its end."""
        try:
            data = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.removesuffix(b"\r"))
        if len(self._rest) > _LONGEST_LINE:
            self._rest = b""
        return bool(data)

    def finish(self) -> None:
        """Read what is left; nobody writes any more."""
        while self.read() and self._more():
            pass

    def _more(self) -> bool:
        ready = select.poll()
        ready.register(self.descriptor, select.POLLIN)
        return bool(ready.poll(0))

    def _line(self, line: bytes) -> None:
        if line.startswith(b'open "'):
            path, _, rest = line[6:].rpartition(b'" flags ')
            if len(self._opened) < _MOST_OPEN:
                self._opened[path] = (time.monotonic(), b"WRITE" in rest)
        elif line.startswith((b'close "', b'forced close "')):
            path, _, counts = line.partition(b'"')[2].rpartition(b'" bytes read ')
            self._close(path, counts.split())
        elif line.partition(b" ")[0] not in _SAID_AT_INFO:
            # A client that does not read must not hold the session up.
            offer(self._client, line + b"\r\n")

    def _close(self, path: bytes, counts: list[bytes]) -> None:
        """Record one file. counts: bytes read, the word "written", bytes written."""
        since, writing = self._opened.pop(path, (time.monotonic(), False))
        sizes = counts[::2]
        if len(counts) != 3 or not all(n.isdigit() and len(n) <= _LONGEST_SIZE for n in sizes):  # noqa: PLR2004
            return
        read, written = int(counts[0]), int(counts[2])
        self._log.write(
            "transfer",
            protocol="sftp",
            direction="upload" if written or writing else "download",
            path=paths.fsdecode(path),
            size=str(written or read),
            duration=f"{time.monotonic() - since:.3f}",
        )


def of_command(command: bytes, log: Session, seconds: float) -> None:
    """Record what a command of scp or rsync says that it transfers: names as the client gave them."""
    try:
        words = list(commands.split(command))
    except Refusal:
        return  # more than words: what a shell makes of it is not shown here
    name = words[0].rpartition(b"/")[2] if words else b""
    flags = [word for word in words[1:] if word.startswith(b"-")]
    if name == b"scp" and b"-t" in flags:
        direction, names = "upload", [word for word in words[1:] if not word.startswith(b"-")]
    elif name == b"scp" and b"-f" in flags:
        direction, names = "download", [word for word in words[1:] if not word.startswith(b"-")]
    elif name == b"rsync" and b"--server" in flags:
        direction = "download" if b"--sender" in flags else "upload"
        plain = [word for word in words[1:] if not word.startswith(b"-")]
        names = plain[1:] or plain  # the first one is always "."
    else:
        return
    for given in names:
        log.write(
            "transfer",
            protocol=name.decode(),
            direction=direction,
            path=paths.fsdecode(bytes(given)),
            duration=f"{seconds:.3f}",
        )

"""The collector of recordings, started on the first connection as systemd would start it."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator

from support.host import until

SOCKET = "/run/ssh2container/record.socket"
PROGRAM = "/usr/lib/ssh2container/current/ssh2container/admin/recordings/collector.py"
OWNER = "ssh2container-record"
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv("/usr/bin/python3", ["python3", "-ISB", sys.argv[2], sys.argv[3]])
"""


def recordings_directory() -> tempfile.TemporaryDirectory[str]:
    """A directory in memory: nothing is recorded where the disk is nearly full, as that of a test may be."""
    return tempfile.TemporaryDirectory(prefix="recordings-", dir="/dev/shm")


class Collecting:
    """A listening socket and, once somebody has connected, the collector."""

    def __init__(self, directory: str, backlog: int, *, activate: bool) -> None:
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(SOCKET)
        os.chmod(SOCKET, 0o666)
        self._listener.listen(backlog)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._activate, daemon=True)
        if activate:
            self.activate()

    def activate(self) -> None:
        """Start the collector when somebody has connected, as systemd would."""
        self._thread.start()

    def _activate(self) -> None:
        if self._stop in select.select([self._listener.fileno(), self._stop], [], [])[0]:
            return
        owner = pwd.getpwnam(OWNER)
        number = self._listener.fileno()
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-ISB", "-c", _START, str(number), PROGRAM, self.directory],
            pass_fds=(number,),
            user=owner.pw_uid,
            group=owner.pw_gid,
            extra_groups=[],
            env={},
        )

    def files(self, name: str) -> list[str]:
        """The recordings of the user ``name``."""
        directory = f"{self.directory}/{name}"
        found = os.listdir(directory) if os.path.isdir(directory) else []
        return sorted(f"{directory}/{file}" for file in found)

    def recording(self, name: str) -> str:
        """The user's one recording."""
        (path,) = until(lambda: self.files(name), "there is a recording")
        return path

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def close(self) -> None:
        os.write(self._stopped, b"x")
        if self._thread.ident is not None:
            self._thread.join()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        os.close(self._stop)
        os.close(self._stopped)


@contextlib.contextmanager
def collecting(directory: str, backlog: int = 100, *, activate: bool = True) -> Iterator[Collecting]:
    """A collector for the length of a ``with`` block; ``directory`` is given to it.

    activate: whether to start it on the first connection; otherwise when its method is called.
    """
    owner = pwd.getpwnam(OWNER)
    os.chmod(directory, 0o711)
    os.chown(directory, owner.pw_uid, owner.pw_gid)
    service = Collecting(directory, backlog, activate=activate)
    try:
        yield service
    finally:
        service.close()

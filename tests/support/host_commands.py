"""The service of host commands, given its socket as by systemd, and programs for it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

from ssh2container.plan.host_commands import PLACE, SOCKET

PROGRAM = "/usr/lib/ssh2container/current/ssh2container/admin/host_commands/service.py"
PROGRAMS = "/opt/ssh2container-tests"
"""Where only root can change anything, which is not so below /tmp."""
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", SECRET="of the service")
os.execv("/usr/bin/python3", ["python3", "-ISB", sys.argv[2]])
"""


class _Activating:
    """A listening socket, and the service whenever somebody has connected and it does not run."""

    def __init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(SOCKET)
        os.chmod(SOCKET, 0o666)
        self._listener.listen(100)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._activate, daemon=True)
        self._thread.start()

    def _activate(self) -> None:
        number = self._listener.fileno()
        while self._stop not in select.select([number, self._stop], [], [])[0]:
            with subprocess.Popen(
                ["/usr/bin/python3", "-ISB", "-c", _START, str(number), PROGRAM],
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
            ) as process:
                ended = os.pidfd_open(process.pid)
                if self._stop in select.select([ended, self._stop], [], [])[0]:
                    process.kill()
                os.close(ended)

    def close(self) -> None:
        os.write(self._stopped, b"x")
        self._thread.join()
        self._listener.close()
        for descriptor in (self._stop, self._stopped):
            os.close(descriptor)


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """The service, for the length of a ``with`` block."""
    os.makedirs(PLACE, 0o755, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    activating = _Activating()
    try:
        yield
    finally:
        activating.close()
        shutil.rmtree(PLACE)


@contextlib.contextmanager
def programs(**texts: str) -> Iterator[str]:
    """Scripts of root's by name, in the directory that this yields."""
    os.makedirs(PROGRAMS, 0o755, exist_ok=True)
    os.chmod(PROGRAMS, 0o755)
    try:
        for name, text in texts.items():
            path = f"{PROGRAMS}/{name}"
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, 0o755)
        yield PROGRAMS
    finally:
        shutil.rmtree(PROGRAMS)

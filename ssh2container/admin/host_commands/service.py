"""The service that runs commands of the host for sessions (``host_commands``).

systemd starts it on the first connection (sd_listen_fds(3)) as root, and it ends when nothing has run for a
while. Anybody may connect. It takes from the kernel who that is (SO_PEERCRED, unix(7)), has a child serve
each connection (:mod:`.request`), and itself reads nothing that comes: one uid has so many children, all
together have so many, and whoever is beyond that is told so.

Run as a script.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys

# An isolated interpreter looks in no directory of ours (-I).
sys.path.insert(0, os.path.abspath(__file__).rpartition("/ssh2container/")[0])
from ssh2container.admin.host_commands import request
from ssh2container.admin.host_commands.frames import farewell
from ssh2container.admin.recordings.accounts import FIRST_DESCRIPTOR
from ssh2container.admin.sessions.calling import peer
from ssh2container.errors import EXIT_OURS, SessionError
from ssh2container.kernel import security
from ssh2container.record import audit
from ssh2container.run.attendant import become_reaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

MOST_OF_ONE, MOST, MOST_WITH_FIRST = 8, 64, 500
"""How many commands run at once: of one uid, and of all together.

The first command of a uid is beyond the common bound, so that a few users cannot keep the others out. The
last is what TasksMax in the unit has room for: a command is its program and the child that attends to it.
"""
_IDLE_S = 30.0
_FULL = "too many commands run at once; try again later"


def has_room(running: Sequence[int], uid: int) -> bool:
    """Tell whether one more command of ``uid`` may run beside ``running``, the uids of those that do."""
    own = running.count(uid)
    return own < MOST_OF_ONE and len(running) < (MOST if own else MOST_WITH_FIRST)


class Service:
    """Accepts connections, and has a child serve each.

    idle_s: how long it waits for the next one when none is left.
    """

    def __init__(self, listener: socket.socket, idle_s: float = _IDLE_S) -> None:
        self._listener = listener
        self._idle_s = idle_s
        self._children: dict[int, tuple[int, int]] = {}
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        listener.setblocking(False)

    def run(self) -> None:
        """Serve until nothing has run for a while."""
        while True:
            ready = self._poll.poll(None if self._children else self._idle_s * 1000)
            if not ready and not self._children:
                return
            for descriptor, _ in ready:
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._bury(descriptor)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # whoever it was is gone
        with connection:
            pid, uid = peer(connection)
            if not has_room([one for _, one in self._children.values()], uid):
                farewell(connection, _FULL, EXIT_OURS)
                return
            try:
                child = os.fork()
            except OSError:  # what runs has as many tasks as all may have
                farewell(connection, _FULL, EXIT_OURS)
                return
            if child == 0:
                self._serve(connection, pid, uid)
            pidfd = os.pidfd_open(child)
            self._children[pidfd] = child, uid
            self._poll.register(pidfd, select.POLLIN)

    def _serve(self, connection: socket.socket, pid: int, uid: int) -> NoReturn:
        """In a child: serve one connection, and leave nothing behind."""
        status = 1
        try:
            self._listener.close()
            for pidfd in self._children:
                os.close(pidfd)
            become_reaper()
            request.serve(connection, pid, uid)
            status = 0
        except Exception as error:  # noqa: BLE001 - the service goes on, and its journal has what went wrong
            sys.stderr.write(audit.describe_bug(error) + "\n")
        finally:
            os._exit(status)

    def _bury(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        child, uid = self._children.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            _tell_of(uid, os.WTERMSIG(status))


def _tell_of(uid: int, number: int) -> None:
    """Record that the child which served ``uid`` was killed, and so could not do it itself."""
    log = audit.Session({})
    log.know(session="", uid=str(uid))
    late = number == signal.SIGALRM  # set until the program runs, and no longer
    why = f"{request.DECIDING_S} s did not suffice to decide on it" if late else f"signal {number} ended it"
    with contextlib.suppress(SessionError):
        log.write("host-command-refused" if late else "host-command-end", warning=True, reason=why)


def main() -> None:
    """Serve the socket that systemd handed over."""
    if (os.environ.get("LISTEN_PID"), os.environ.get("LISTEN_FDS")) != (str(os.getpid()), "1"):
        sys.exit("it is started by ssh2container-commands.socket, not by hand")
    fcntl.fcntl(FIRST_DESCRIPTOR, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.environ.clear()
    os.chdir("/")
    os.umask(0o022)
    security.forbid_new_privileges()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    Service(socket.socket(fileno=FIRST_DESCRIPTOR)).run()


if __name__ == "__main__":
    main()

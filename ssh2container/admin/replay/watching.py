"""A read-only view of a live session's terminal, for root.

We listen in root's own directory and ask the session's monitor to connect (``run.views``). What it sends
is what the terminal shows; nothing that we could send is read.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import signal
import socket

from ssh2container.admin.replay.display import Display
from ssh2container.admin.replay.screen import ENOUGH, Screen
from ssh2container.errors import SessionError
from ssh2container.record import registry
from ssh2container.run import views

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 16
_ANSWER_S = 5.0


def watch(session: str) -> None:
    """Show the session's terminal until it ends or the viewer has seen enough.

    Raises SessionError when there is no such session, or it has no terminal.
    """
    with _listen(session) as listener:
        monitor = _monitor(session)
        try:
            signal.pidfd_send_signal(monitor, views.SIGNAL)
        finally:
            os.close(monitor)
        listener.settimeout(_ANSWER_S)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            raise SessionError(f"cannot watch session {session}", "it has no terminal", "", "watch") from None
        except KeyboardInterrupt:
            return
    with connection, Screen() as screen:
        _show(connection, screen)


@contextlib.contextmanager
def _listen(session: str) -> Iterator[socket.socket]:
    path = views.PLACE + session
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - the monitor has the user's uid; it sees ours by SO_PEERCRED
        listener.listen(1)
        yield listener
    except PermissionError:
        raise SessionError(
            f"cannot listen at {path}", "only root may watch", "run it as root", "watch"
        ) from None
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            os.unlink(path)


def _monitor(session: str) -> int:
    """Return a pidfd of the session's monitor, verified: what an entry says is a hint of the user's.

    A forged entry can only name a process of the same user.
    """
    for uid in sorted(os.listdir(registry.DIRECTORY)):
        path = f"{registry.DIRECTORY}/{uid}/{session}"
        if not uid.isdecimal() or not os.path.lexists(path):
            continue
        pid, started = _claim(path)
        with contextlib.suppress(OSError, ValueError):
            pidfd = os.pidfd_open(pid)
            if registry.started(pid) == started and _uid(pid) == int(uid):
                return pidfd
            os.close(pidfd)
    raise SessionError(
        f"cannot find session {session}",
        "no live session has this id",
        "ssh2containerctl sessions lists them",
        "watch",
    )


def _uid(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return -1


def _claim(path: str) -> tuple[int, str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1, ""
    try:
        text = os.read(descriptor, _CHUNK).decode("utf-8", "replace")
    except OSError:
        return -1, ""
    finally:
        os.close(descriptor)
    for line in text.splitlines():
        words = line.split(" ")
        if words[0] == "monitor" and len(words) == 3 and words[1].isdecimal():  # noqa: PLR2004
            return int(words[1]), words[2]
    return -1, ""


def _show(connection: socket.socket, screen: Screen) -> None:
    display = Display(screen.resize)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    watched: list[socket.socket | int] = [connection]
    if screen.keyboard >= 0:
        watched.append(screen.keyboard)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            ready = select.select(watched, [], [])[0]
            if screen.keyboard in ready and os.read(screen.keyboard, 1) in ENOUGH:
                return
            if connection in ready:
                try:
                    data = connection.recv(_CHUNK)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return
                screen.show(display.feed(decoder.decode(data)))

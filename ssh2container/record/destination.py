"""Where a session's recording goes: to the collector, or to a process of ours that keeps it."""

from __future__ import annotations

import _socket
import errno
import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal, SessionError, printable
from ssh2container.kernel import process

from . import keeper
from .recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import NoReturn

    from ssh2container.policy.policy import Record

    from .audit import Session

COLLECTOR = paths.COLLECTOR
_CHUNK = 1 << 16
_START_S = 15
"""How long the collector may take to open the file."""
_LINK = (errno.ELOOP, errno.ENOTDIR)
_A_LINK = "a component is a link, or not a directory"
_MOST_LINKS = 8


def start(
    record: Record, session: str, log: Session, reach: Container[tuple[int, int]] = frozenset()
) -> Recorder:
    """Open the place where the recording of ``session`` goes. Raises SessionError.

    record: its ``directory`` without specifiers. reach: (device, inode) of what the session can write.
    """
    if record.to == "collector":
        return Recorder(*_connect(session), log, record)
    file, place = _create(record.directory, session, reach)
    sink, child = _keep_ourselves(file, place)
    return Recorder(sink, place, log, record, child)


def _connect(session: str) -> tuple[int, str]:
    """Return a connection to the collector, which has the file open, and the file's path."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        # Blocking, as a full queue is an error for a socket that does not wait (connect(2), EAGAIN).
        for option in (_socket.SO_SNDTIMEO, _socket.SO_RCVTIMEO):
            end.setsockopt(_socket.SOL_SOCKET, option, _START_S.to_bytes(8, "little") + bytes(8))
        end.connect(COLLECTOR)
        end.send(keeper.GREETING + session.encode() + b"\n")
        kind, _, what = end.recv(4096).decode("utf-8", "replace").strip().partition(" ")
    except OSError as error:
        end.close()
        raise _cannot(error.strerror or "the collector does not answer", error.errno or 0) from None
    if kind != "ok":
        end.close()
        raise _cannot(printable(what) or "the collector has closed the connection", 0)
    return end.detach(), what


def _keep_ourselves(file: int, place: str) -> tuple[int, int]:
    """Fork a keeper of ``file``; return a socket to it and its pid."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    child = os.fork()
    if child == 0:
        _keep(theirs.detach(), file, place)
    theirs.close()
    os.close(file)
    return ours.detach(), child


def _keep(source: int, file: int, place: str) -> NoReturn:
    """In a child: keep what comes from ``source`` until its end. Signals are blocked, as in the monitor."""
    try:
        process.replace_standard_descriptors()
        process.close_all_but((source, file))
        kept = keeper.Keeper(file, place)
        try:
            while data := os.read(source, _CHUNK):
                _answer(source, kept.take(data))
            _answer(source, kept.end())
        except keeper.Refused as why:
            _answer(source, b"error " + str(why).encode() + b"\n")
        kept.close()
    finally:
        os._exit(0)


def _answer(whom: int, answer: bytes) -> None:
    try:
        if answer:
            os.write(whom, answer)
    except OSError:
        pass  # the monitor was killed; what it sent before is kept all the same


def _create(directory: str, session: str, reach: Container[tuple[int, int]]) -> tuple[int, str]:
    """Return a new file of the user's own, and its path."""
    name = keeper.file_name(session)
    try:
        place = _open_directory(directory, reach)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, 0o600, dir_fd=place), f"{directory}/{name}"
        finally:
            os.close(place)
    except OSError as error:
        raise SessionError(
            f"cannot record the session in {directory}",
            _A_LINK if error.errno in _LINK else error.strerror or "",
            "the directory must belong to the user or be one that the user can create, "
            "with no links in its path",
            "record",
            error.errno or 0,
        ) from None


def _open_directory(directory: str, reach: Container[tuple[int, int]]) -> int:
    """Open a directory, which is made where it is missing, one name after the other.

    A link is followed where nobody but root could have put it, and nowhere else: whatever a session left
    in a place that it could write leads its recording nowhere. Raises OSError, SessionError.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    place, todo, trusted, links = os.open("/", flags), directory.split("/")[::-1], True, 0
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        status = os.fstat(place)
        trusted = trusted and status.st_uid == 0 and not status.st_mode & 0o022
        try:
            below = _enter(place, name, flags)
        except OSError as error:
            if error.errno not in _LINK or not trusted or links == _MOST_LINKS:
                os.close(place)
                raise
            links += 1
            target = os.readlink(name, dir_fd=place)
            todo += target.split("/")[::-1]
            below = os.open("/", flags) if target.startswith("/") else os.dup(place)
        os.close(place)
        place = below
        status = os.fstat(place)
        if (status.st_dev, status.st_ino) in reach:
            os.close(place)
            raise Refusal(
                f"cannot record the session in {directory}",
                "the session itself can write there",
                "record.directory names a place that no writable volume or home brings in",
                "record",
            )
    return place


def _enter(place: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=place)
    except FileNotFoundError:
        try:
            os.mkdir(name, 0o700, dir_fd=place)
        except FileExistsError:
            pass  # another login was first
        return os.open(name, flags, dir_fd=place)


def _cannot(why: str, number: int) -> SessionError:
    return SessionError(
        "cannot record the session",
        why,
        f"an administrator starts the collector ({COLLECTOR}): systemctl start ssh2container-record.socket",
        "record",
        number,
    )

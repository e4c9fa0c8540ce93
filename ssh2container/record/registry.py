"""The registry of live sessions: one small file each in /run/ssh2container/UID, the user's own directory.

A session holds a lock (flock(2)) on its entry as long as it lives, whatever ends it: a lock that can
be had is the proof that the entry is stale. What an entry says was written by the user's uid and is a
hint; the administrator's tools verify it against the kernel (``admin.sessions``).
"""

from __future__ import annotations

import _stat as stat
import errno
import fcntl
import posix as os
import time

from ssh2container.errors import Refusal, SessionError, printable
from ssh2container.kernel import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DIRECTORY = "/run/ssh2container"
FORMAT = "1"
SOCKET = ".socket"
"""What is appended to an entry's name for the socket at which its pid 1 listens."""
CONTAINER = "container-"
"""What the name of an entry begins with that is a shared container, not a session."""
WELCOMED = ".welcomed"
"""What has the mark of the welcome that the user saw last: plan.host reads it."""
LONGEST_VALUE = 4096
_PRIVATE = 0o700
_ABANDONED_S = 60.0
"""After this time an entry that never got its name is one whose maker was killed."""
_LOCK_DEADLINE_S = 15.0
_WAITING = 16
_FEW = 16
"""So many files are looked at by every login."""


class Entry:
    """A live entry of ours. name: of its file; descriptor: holds its lock."""

    __slots__ = ("_directory", "_listens", "descriptor", "name")

    def __init__(self, directory: str, name: str) -> None:
        """Make the entry, already locked when others first see it. Raises OSError."""
        self._directory = directory
        self._listens = False
        self.name = name
        hidden = f"{directory}/.{name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(hidden, flags, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(hidden, f"{directory}/{name}")

    def listen(self) -> int:
        """Return the socket at which pid 1 is asked to run another program. Raises OSError."""
        listener = sockets.listen(f"{self._directory}/{self.name}{SOCKET}".encode(), _WAITING)
        self._listens = True
        return listener

    def write(self, fields: Mapping[str, str]) -> None:
        """Say what the session is, in one write: nobody reads half of it."""
        lines = [f"format {FORMAT}", f"monitor {os.getpid()} {started(os.getpid())}"]
        lines += [f"{key} {printable(value[:LONGEST_VALUE])}" for key, value in fields.items() if value]
        try:
            os.pwrite(self.descriptor, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"), 0)
        except OSError:
            pass  # /run is full; the entry still counts

    def leave(self) -> None:
        """Remove the entry: the session is over."""
        for path in (self.name, *((self.name + SOCKET,) if self._listens else ())):
            try:
                os.unlink(f"{self._directory}/{path}")
            except OSError:
                pass  # somebody tidied up before us
        os.close(self.descriptor)


def enter(name: str, maximum: int | None = None, *, needed: bool = False) -> Entry | None:
    """Make the entry ``name``; None where the user has no runtime directory.

    maximum: how many sessions the user may have, this one included. needed: whether the session
    cannot do without. Raises Refusal where there are too many already, or no registry to count in.
    """
    directory = runtime_directory()
    if directory is None:
        if maximum is None and not needed:
            return None
        raise Refusal(
            f"cannot find {DIRECTORY}/{os.getuid()}",
            "the policy shares containers" if needed else "the policy limits the number of sessions",
            "an administrator makes it: ssh2containerctl enable USER",
            "registry",
            errno.ENOENT,
        )
    try:
        if maximum is None:
            # Only a killed monitor leaves its entry behind: where there are many, now and then is enough.
            names = os.listdir(directory)
            if len(names) <= _FEW or name[:1] == "0":
                count(directory, names)
            return Entry(directory, name)
        with Lock(directory):
            live = count(directory, os.listdir(directory))
            if live >= maximum:
                raise Refusal(
                    "too many sessions",
                    f"{live} of at most {maximum} are open",
                    "log out of one first",
                    "sessions",
                )
            return Entry(directory, name)
    except OSError as error:
        if maximum is None and not needed:
            return None
        raise SessionError(
            f"cannot register the session in {directory}",
            error.strerror or "",
            "",
            "registry",
            error.errno or 0,
        ) from None


def runtime_directory() -> str | None:
    """Return the user's directory, None unless it is there, his own and closed to others."""
    path = f"{DIRECTORY}/{os.getuid()}"
    try:
        found = os.lstat(path)
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return path if ours and stat.S_IMODE(found.st_mode) == _PRIVATE else None


def note(name: str, content: bytes) -> None:
    """Leave a note for the user's next sessions, as far as there is a place for it."""
    directory = runtime_directory()
    if directory is None:
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(f"{directory}/{name}", flags, 0o600)
    except OSError:
        return  # the next session says it again
    try:
        os.write(descriptor, content)
    except OSError:
        pass
    finally:
        os.close(descriptor)


class Lock:
    """The one lock of a user's directory, for the length of a ``with`` block.

    Raises SessionError when another session holds it for too long: it must have been stopped.
    """

    def __init__(self, directory: str) -> None:
        self._path = directory
        self._descriptor = -1

    def __enter__(self) -> Lock:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags)
        deadline = time.monotonic() + _LOCK_DEADLINE_S
        pause = 0.0005
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._descriptor)
                    raise SessionError(
                        f"cannot lock {self._path}",
                        f"another login of this user has held it for {_LOCK_DEADLINE_S:.0f} s",
                        "an administrator finds it with: ssh2containerctl sessions",
                        "registry",
                        errno.EAGAIN,
                    ) from None
            else:
                return self
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def count(directory: str, names: list[str]) -> int:
    """Return how many of ``names`` are live sessions and remove the entries of dead ones.

    Nobody has to be kept out meanwhile: an entry is locked before it has its name, and no name comes twice.
    """
    live = 0
    for name in names:
        if not is_entry(name):
            if name.startswith(".") and name != WELCOMED:
                _remove_abandoned(f"{directory}/{name}")
            continue
        if is_live(f"{directory}/{name}"):
            live += not name.startswith(CONTAINER)
        else:
            remove(directory, name)
    return live


def is_entry(name: str) -> bool:
    """Tell an entry from the other files of the directory by its name."""
    return not name.startswith(".") and not name.endswith(SOCKET)


def is_live(path: str) -> bool:
    """Tell whether somebody holds the lock of the entry at ``path``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_locked(descriptor)
    finally:
        os.close(descriptor)


def is_locked(descriptor: int) -> bool:
    """Tell whether somebody else holds the lock of an open entry."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def remove(directory: str, name: str) -> None:
    """Remove the entry ``name`` of a dead session, and its socket."""
    for path in (f"{directory}/{name}{SOCKET}", f"{directory}/{name}"):
        try:
            os.unlink(path)
        except OSError:
            pass


def _remove_abandoned(path: str) -> None:
    try:
        if os.lstat(path).st_mtime < time.time() - _ABANDONED_S and not is_live(path):
            os.unlink(path)
    except OSError:
        pass


def started(pid: int) -> str:
    """Return when ``pid`` started, in clock ticks since boot (proc(5), stat, field 22); "" if it is gone."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        # The name in parentheses may hold anything; what follows the last one has fixed places.
        return os.read(descriptor, 4096).rpartition(b")")[2].split()[19].decode()
    finally:
        os.close(descriptor)

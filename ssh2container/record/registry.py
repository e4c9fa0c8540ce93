# Longer than 300 lines: every login imports all of it; each more module costs it time.
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

from ssh2container import paths
from ssh2container.errors import Refusal, SessionError, printable
from ssh2container.kernel import sockets
from ssh2container.policy import rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssh2container.policy.policy import Policy

DIRECTORY = paths.RUNTIME
SHARED = DIRECTORY + "/users"
"""Where a user's sessions make their directory themselves, if root has made none: sticky, and root's."""
FORMAT = "1"
SOCKET = ".socket"
"""What is appended to an entry's name for the socket at which its pid 1 listens."""
CONTAINER = "container-"
"""What the name of an entry begins with that is a shared container, not a session."""
WELCOMED = paths.WELCOMED
"""What has the mark of the welcome that the user saw last: plan.host reads it."""
LONGEST_VALUE = 4096
_PRIVATE = 0o700
_ABANDONED_S = 5.0
"""After this time a hidden entry that nobody holds is one whose maker was killed, not about to lock it."""
_LOCK_DEADLINE_S = 15.0
_WAITING = 16
_LONGEST_ENTRY = 64 << 10
_FEW = 16
"""So many files are looked at by every login."""


class Entry:
    """A live entry of ours. name: the session's id; descriptor: holds its lock."""

    __slots__ = ("_directory", "_file", "_listens", "descriptor", "name")

    def __init__(self, directory: str, name: str, fields: Mapping[str, str]) -> None:
        """Make the entry of a session that is starting: its file is hidden. Raises OSError.

        Whoever looks for sessions sees it, and what ``fields`` say of it; it does not count yet.
        """
        self._directory = directory
        self._listens = False
        self.name = name
        self._file = f"{directory}/.{name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(self._file, flags, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.write(fields)

    def admit(self) -> None:
        """Let it count as one of the user's sessions. Raises OSError."""
        os.rename(self._file, f"{self._directory}/{self.name}")
        self._file = f"{self._directory}/{self.name}"

    @property
    def counts(self) -> bool:
        """Tell whether it was admitted."""
        return not is_starting(self._file[len(self._directory) + 1 :])

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
        for path in (self._file, *((f"{self._directory}/{self.name}{SOCKET}",) if self._listens else ())):
            try:
                os.unlink(path)
            except OSError:
                pass  # somebody tidied up before us
        os.close(self.descriptor)


class Place:
    """The place of this process's session in the registry, from its first moment to its last.

    A process is one session's monitor at most, and the session is listed as long as that process lives.
    entry: None before :meth:`take`, after :meth:`leave`, and where the user has no runtime directory.
    """

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self._why: OSError | None = None

    def take(self, name: str, fields: Mapping[str, str]) -> None:
        """Make the entry ``name``, before anything is done that may last; it does not count yet."""
        self.leave()
        directory = runtime_directory()
        if directory is None:
            return
        try:
            self.entry = Entry(directory, name, fields)
        except OSError as error:
            self._why = error

    def admit(self, policy: Policy) -> None:
        """Let the session count from here on, among the user's sessions and in what they may write to memory.

        Raises Refusal where the user has as many as the policy allows already, or no registry to count in. A
        login cannot do without one where its policy shares containers or has a maximum of its own, of
        sessions or of memory; the built-in maximum is for all whose sessions can be counted.

        One that counts already, as it has waited for an answer, is not asked for again.
        """
        maximum, shared = policy.sessions.max, policy.container_per != "session"
        total = None if shared else policy.storage_opt.total
        indispensable = shared or total is not None or policy.written("sessions.max") is not None
        directory, entry = runtime_directory(), self.entry
        if entry is not None and entry.counts:
            return
        if entry is None or directory is None:
            if not indispensable:
                return
            if self._why is not None:
                raise _failed(self._why)
            why = "the policy shares containers" if shared else "the policy limits all sessions together"
            try:
                owner = os.lstat(f"{SHARED}/{os.getuid()}").st_uid
                if owner != os.getuid():
                    why += f", and uid {owner} has taken {SHARED}/{os.getuid()}"
            except OSError:
                pass
            raise Refusal(
                f"cannot find {DIRECTORY}/{os.getuid()}",
                why,
                "an administrator makes it: ssh2containerctl enable USER",
                "registry",
                errno.ENOENT,
            )
        try:
            if maximum is None and total is None:
                _count_where_due(directory, os.listdir(directory), entry, maximum)
                entry.admit()
                return
            with Lock(directory, _hooks_s(policy) if shared and policy.hooks else 0.0):
                names = os.listdir(directory)
                live = _count_where_due(directory, names, entry, maximum)
                if maximum is not None and live >= maximum:
                    raise Refusal(
                        "too many sessions",
                        f"{live} of at most {maximum} are open",
                        "log out of one first",
                        "sessions",
                    )
                if total is not None:
                    require_room(directory, names, rules.in_memory(policy), total)
                entry.admit()
        except OSError as error:
            if indispensable:
                raise _failed(error) from None
            self.leave()

    def leave(self) -> None:
        """Remove the entry: this process does nothing more than to end."""
        entry, self.entry = self.entry, None
        if entry is not None:
            entry.leave()


own = Place()
"""That of this process."""


def _hooks_s(policy: Policy) -> float:
    """Return how much longer the lock is held by who makes a shared container, for its hooks."""
    from ssh2container.policy.hooks import before_s

    return before_s(policy.hooks)


def _failed(error: OSError) -> SessionError:
    return SessionError(
        f"cannot register the session in {DIRECTORY}/{os.getuid()}",
        error.strerror or "",
        "",
        "registry",
        error.errno or 0,
    )


def runtime_directory() -> str | None:
    """Return the user's directory, None unless it is their own and closed to others.

    Root makes one for whom ``enable`` names. Who is admitted without that makes their own in :data:`SHARED`:
    nobody else can remove or rename it there, and one that another uid has made is not taken.
    """
    path = f"{DIRECTORY}/{os.getuid()}"
    try:
        os.lstat(path)
    except FileNotFoundError:
        path = f"{SHARED}/{os.getuid()}"
    if _is_own(path):
        return path
    if not path.startswith(SHARED):
        return None  # what root has made is not as root makes it
    try:
        os.mkdir(path, _PRIVATE)
        os.chmod(path, _PRIVATE)  # whatever the umask
    except OSError:
        return None
    return path if _is_own(path) else None


def _is_own(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return ours and stat.S_IMODE(found.st_mode) == _PRIVATE


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

    def __init__(self, directory: str, longer_s: float = 0.0) -> None:
        """longer_s: how much longer than usual others may hold it."""
        self._path = directory
        self._descriptor = -1
        self._patience_s = _LOCK_DEADLINE_S + longer_s

    def __enter__(self) -> Lock:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags)
        deadline = time.monotonic() + self._patience_s
        pause = 0.0005
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._descriptor)
                    raise SessionError(
                        f"cannot lock {self._path}",
                        f"another login of this user has held it for {self._patience_s:.0f} s",
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


def _count_where_due(directory: str, names: list[str], entry: Entry, maximum: int | None) -> int:
    """Return how many sessions are live, or 0 where the names alone say that there may be one more."""
    # Only a killed monitor leaves its entry behind: where there are many, now and then is enough.
    if len(names) <= _FEW or entry.name[:1] == "0" or (maximum is not None and len(names) > maximum):
        return count(directory, names)
    return 0


def count(directory: str, names: list[str]) -> int:
    """Return how many of ``names`` are live sessions and remove the entries of dead ones.

    Nobody has to be kept out meanwhile: an entry is locked before it has its name, and no name comes twice.
    """
    live = 0
    for name in names:
        if not is_entry(name):
            if is_starting(name):
                _remove_abandoned(f"{directory}/{name}")
            continue
        if is_live(f"{directory}/{name}"):
            live += not name.startswith(CONTAINER)
        else:
            remove(directory, name)
    return live


def require_room(directory: str, names: list[str], needed: int, total: int, *, shared: bool = False) -> None:
    """Raise Refusal where what is live of ``names`` leaves less than ``needed`` bytes of ``total``.

    Called with the directory locked: of many logins at once no two get the same room. shared: it is for a
    container of several sessions, which need none of their own.
    """
    entries = [name for name in names if is_entry(name)]
    if entries or needed > total:
        from . import allotment

        sizes = []
        for name in entries:
            otherwise = 0 if shared and not name.startswith(CONTAINER) else needed
            sizes.append((allotment.size(_content(f"{directory}/{name}"), otherwise), name))
        allotment.require(sizes, needed, total)


def _content(path: str) -> bytes | None:
    """Return what a live entry says; None for a dead one, nothing for one that cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return b""
    try:
        return os.read(descriptor, _LONGEST_ENTRY) if is_locked(descriptor) else None
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def is_entry(name: str) -> bool:
    """Tell an entry from the other files of the directory by its name."""
    return not name.startswith(".") and not name.endswith(SOCKET)


def is_starting(name: str) -> bool:
    """Tell the entry of a session that is starting from the other files of the directory by its name."""
    return name.startswith(".") and name != WELCOMED


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

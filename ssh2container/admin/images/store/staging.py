"""Where an image is made: a directory of its own, gone on every way out, swept after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator

from ssh2container.admin.durable import listed, locked, remove
from ssh2container.admin.images import ids, ownership
from ssh2container.admin.images.unpack.streams import make_root
from ssh2container.errors import SessionError


class Staging:
    """A directory of ours alone, in the store's filesystem; ``root`` is what becomes the tree."""

    def __init__(self, path: str, range_: ids.Range) -> None:
        self.path = path
        self.range = range_
        self._held: list[int] = []
        self.root = path + "/root"
        make_root(self.root, range_)

    def hold(self, tree: str) -> bool:
        """Keep ``gc`` away from ``tree`` until we are done; say whether it is there, complete."""
        try:
            descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._held.append(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return os.path.exists(f"{tree}/info.json")

    def release(self) -> None:
        """Let ``gc`` have what was held."""
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()

    def take_out(self, name: str) -> str:
        """Return a file in place of the tree: what the root's file ``name`` is; the root is empty again."""
        taken = f"{self.path}/taken"
        os.rename(f"{self.root}/{name}", taken)
        os.chmod(taken, 0o444)
        remove(self.root)
        make_root(self.root, self.range)
        return taken

    def descend(self, name: str) -> None:
        """Let the root be its directory ``name``; what lay beside that is gone."""
        inner = f"{self.path}/inner"
        os.rename(f"{self.root}/{name}", inner)
        remove(self.root)
        os.rename(inner, self.root)

    def scratch(self, name: str = "scratch") -> str:
        """Return a new directory for a tool's files, owned by the range's first id."""
        path = f"{self.path}/{name}"
        os.mkdir(path, 0o700)
        os.chown(path, self.range.base, self.range.base)
        return path

    def readable_copy(self, path: str, name: str = "input") -> str:
        """Return a path with the content of ``path`` that everybody may read.

        That is ``path`` itself where its mode allows it, else a copy that only the sandbox's id
        can read (sharing blocks where the filesystem can).
        """
        if os.stat(path).st_mode & stat.S_IROTH:
            return path
        copy = f"{self.path}/{name}"
        ownership.copy(os.path.realpath(path), copy)
        os.chmod(copy, 0o400)
        os.chown(copy, self.range.base, self.range.base)
        return copy


@contextlib.contextmanager
def staged(place: str, range_: ids.Range) -> Iterator[Staging]:
    """Give a staging directory below ``place`` for the length of a ``with``; removed on every way out."""
    with locked(place):
        sweep(place)
        path = f"{place}/{secrets.token_hex(8)}"
        os.mkdir(path, 0o700)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
    staging = None
    with _ended_by_signals() as ignore_more:
        try:
            staging = Staging(path, range_)
            yield staging
        except OSError as error:
            raise SessionError(
                "cannot write to the image store", f"{error.filename or ''} {error.strerror}".strip(), "",
                "image", error.errno or 0,
            ) from None  # fmt: skip
        finally:
            ignore_more()
            remove(path)
            os.close(lock)
            if staging is not None:
                staging.release()


def sweep(path: str) -> None:
    """Remove what makers that are gone have left in the directory ``path``; the caller has locked it."""
    for entry in listed(path):
        left = f"{path}/{entry}"
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(left)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(left)
                continue
        try:
            descriptor = os.open(left, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(left)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[Callable[[], None]]:
    """Let the signals of a lost terminal or a shutdown unwind us, so that we clean up.

    What is yielded makes us, and the programs that clean up, deaf to more of them: a lost terminal
    signals twice, and so does who is impatient.
    """

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    def ignore_more() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        yield ignore_more
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

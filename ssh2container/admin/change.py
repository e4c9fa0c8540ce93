"""A change of the host that knows how to undo itself, and carrying out a list of them."""

from __future__ import annotations

import contextlib
import os
import signal
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ssh2container.admin import atomic
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import NoReturn


class Change(ABC):
    """One change. A new kind says what it is, whether it is already so, how to do and to undo it.

    finds_out: it is done each time, and finds out itself what there is to do.
    """

    finds_out = False

    @abstractmethod
    def describe(self) -> str:
        """Say in the imperative what :meth:`do` does: "set alice's shell to …"."""

    @abstractmethod
    def done(self) -> bool:
        """Return whether it is already so; then neither :meth:`do` nor :meth:`undo` is called."""

    @abstractmethod
    def do(self) -> None:
        """Make it so; raises :class:`SessionError` or OSError and then has changed nothing."""

    @abstractmethod
    def undo(self) -> None:
        """Take :meth:`do` back."""


def carry_out(
    changes: Sequence[Change], tell: Callable[[str, Change], None], *, dry_run: bool = False
) -> int:
    """Do ``changes`` in order and return how many were needed; when one fails, undo those before it.

    So it is when we are ended meanwhile.

    tell: called with "done", "already", "would", "undone" or "left" (it could not be undone), and the change.
    dry_run: only tell.
    Raises :class:`SessionError` naming the change that failed.
    """
    needed: list[Change] = []
    at: Change | None = None
    try:
        with _ended_by_signals():
            for at in changes:
                if at.done():
                    tell("already", at)
                elif dry_run:
                    tell("would", at)
                    needed.append(at)
                else:
                    at.do()
                    needed.append(at)
                    tell("done", at)
    except BaseException as error:
        if not dry_run:
            _take_back(needed, tell)
        if at is None or not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
            raise
        raise SessionError(
            f"cannot {at.describe()}",
            os.strerror(error.errno or 0) if error.errno else str(error),
            "nothing was changed",
            "enrol",
            error.errno or 0,
        ) from error
    return len(needed)


def _take_back(changes: Sequence[Change], tell: Callable[[str, Change], None]) -> None:
    """Undo ``changes``, the last first; one that cannot be undone is told, and keeps none of the others."""
    for former in reversed(changes):
        state = "undone"
        try:
            former.undo()
        except (SessionError, OSError):
            state = "left"
        with contextlib.suppress(OSError):  # whoever read what we tell may be gone
            tell(state, former)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have the signals that end a process raise KeyboardInterrupt meanwhile, so that all is undone."""

    def end(number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt(number)

    former = {number: signal.signal(number, end) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def make_directories(path: str, mode: int = 0o755) -> list[str]:
    """Make a directory and those above it; return what was made, the outermost first.

    Raises OSError and has then made nothing.
    """
    missing: list[str] = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    made: list[str] = []
    try:
        for directory in reversed(missing):
            os.mkdir(directory, mode)
            made.append(directory)
    except OSError:
        remove_directories(made)
        raise
    return made


def remove_directories(made: Sequence[str]) -> None:
    """Remove what :func:`make_directories` made, but a directory that others use meanwhile."""
    for directory in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def read_or_none(path: str) -> str | None:
    """Return the text of a file, None when there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None


class WriteFile(Change):
    """A small text file of root's with exactly this text."""

    def __init__(self, path: str, text: str, mode: int = 0o644) -> None:
        self.path = path
        self.text = text
        self.mode = mode
        self._before: str | None = None
        self._made: list[str] = []

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"write {self.path}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return read_or_none(self.path) == self.text

    def do(self) -> None:
        """See :class:`Change`."""
        self._before = read_or_none(self.path)
        self._made = make_directories(os.path.dirname(self.path))
        try:
            atomic.write(self.path, self.text, self.mode)
        except BaseException:
            remove_directories(self._made)
            raise

    def undo(self) -> None:
        """See :class:`Change`."""
        if self._before is None:
            os.unlink(self.path)
            remove_directories(self._made)
        else:
            atomic.write(self.path, self._before, self.mode)


class RemoveFile(Change):
    """A file that is not there."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._before = ""
        self._mode = 0o644

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"remove {self.path}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return not os.path.lexists(self.path)

    def do(self) -> None:
        """See :class:`Change`."""
        self._before = read_or_none(self.path) or ""
        self._mode = os.lstat(self.path).st_mode & 0o777
        os.unlink(self.path)

    def undo(self) -> None:
        """See :class:`Change`."""
        atomic.write(self.path, self._before, self._mode)

"""A change of the host that knows how to undo itself, and carrying out a list of them."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Change(ABC):
    """One change. A new kind says what it is, whether it is already so, how to do and to undo it."""

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

    tell: called with "done", "already", "would" or "undone" and the change.
    dry_run: only tell.
    Raises :class:`SessionError` naming the change that failed.
    """
    needed: list[Change] = []
    for change in changes:
        if change.done():
            tell("already", change)
            continue
        if dry_run:
            tell("would", change)
            needed.append(change)
            continue
        try:
            change.do()
        except (SessionError, OSError) as error:
            for former in reversed(needed):
                former.undo()
                tell("undone", former)
            if isinstance(error, SessionError):
                raise
            raise SessionError(
                f"cannot {change.describe()}",
                os.strerror(error.errno or 0) if error.errno else str(error),
                "nothing was changed",
                "enrol",
                error.errno or 0,
            ) from error
        needed.append(change)
        tell("done", change)
    return len(needed)


def write_atomically(path: str, text: str, mode: int = 0o644) -> None:
    """Put ``text`` at ``path`` in one step, owned by the caller, on disk before it is visible."""
    descriptor, beside = tempfile.mkstemp(prefix=".", suffix=".new", dir=os.path.dirname(path))
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


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

    def describe(self) -> str:
        """See :class:`Change`."""
        return f"write {self.path}"

    def done(self) -> bool:
        """See :class:`Change`."""
        return read_or_none(self.path) == self.text

    def do(self) -> None:
        """See :class:`Change`."""
        self._before = read_or_none(self.path)
        os.makedirs(os.path.dirname(self.path), 0o755, exist_ok=True)
        write_atomically(self.path, self.text, self.mode)

    def undo(self) -> None:
        """See :class:`Change`."""
        if self._before is None:
            os.unlink(self.path)
        else:
            write_atomically(self.path, self._before, self.mode)


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
        write_atomically(self.path, self._before, self._mode)

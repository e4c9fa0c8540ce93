"""What a directory may hold, what it holds, and how a file system can be told so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from ssh2container.errors import SessionError

STEP = "quota"
BEST = "or say limits: best, and it is kept without"


class Quota(NamedTuple):
    """What is allowed: bytes, and files with directories; None is no limit."""

    size: int | None
    inodes: int | None


class Use(NamedTuple):
    """What is in use and what is allowed, in bytes and in files; None: no limit, or nobody counts."""

    used: int
    size: int | None
    inodes_used: int | None
    inodes: int | None

    @property
    def quota(self) -> Quota:
        """What is allowed."""
        return Quota(self.size, self.inodes)


class Means(ABC):
    """How the file system of one directory limits what is in it."""

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def require(self, quota: Quota) -> None:
        """Raise SessionError, with the remedy, where ``quota`` could not be set and enforced."""

    @abstractmethod
    def use(self, project: int) -> Use | None:
        """Return what is in use and allowed; None where the directory is not counted under ``project``."""

    @abstractmethod
    def set(self, quota: Quota, project: int) -> None:
        """Set and enforce ``quota`` on all that is in the directory; raises SessionError or OSError."""

    @abstractmethod
    def clear(self, project: int) -> None:
        """Take back what :meth:`set` did, as far as it is still so."""


def cannot(path: str, why: str, remedy: str) -> SessionError:
    """Return the error about a quota that cannot be had for ``path``."""
    return SessionError(f"cannot limit what {path} holds", why, remedy, STEP)


def shown(size: int) -> str:
    """Return a number of bytes as a policy would have it, with one digit after the point."""
    for unit, bytes_each in (("g", 1024**3), ("m", 1024**2), ("k", 1024)):
        if size >= bytes_each:
            return f"{size / bytes_each:.1f}".removesuffix(".0") + unit
    return str(size)

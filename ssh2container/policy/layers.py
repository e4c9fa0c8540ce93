"""Compiled parts of a policy: when they may be used in place of the YAML, and how they are stored.

A part is what one file of the chain comes to, its profiles included. It may be used only while
every file it was made from is what it was (:func:`identity`), the files that were absent included.
The compiled form is an optimisation: whatever is odd about it means the YAML is read instead.
"""

from __future__ import annotations

import _stat as stat
import marshal
import posix as os
from _blake2 import blake2b

from ssh2container import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ssh2container.policy.merge import Layer

    Identity = tuple[int, int, int, int, int]
    """Device, inode, size in bytes, mtime and ctime in nanoseconds."""

FORMAT = f"ssh2container part 1 {__version__}\n".encode()
"""First line of a compiled file. Declarations may change with every version, so it names ours."""

MARSHAL_VERSION = 2
"""Without back references: the same value always gives the same bytes, on every Python."""

DIGEST_BYTES = 16
SIZE_LIMIT_BYTES = 4 * 1024**2


class Part:
    """One element of the chain.

    exists: whether its own file is there.
    sources: (path, identity or None for an absent file) of everything it was made from.
    layers: the file's profiles and the file itself, the strongest last.
    """

    __slots__ = ("exists", "layers", "sources")

    def __init__(
        self,
        exists: bool,  # noqa: FBT001
        sources: tuple[tuple[str, Identity | None], ...],
        layers: tuple[Layer, ...],
    ) -> None:
        self.exists = exists
        self.sources = sources
        self.layers = layers


class Unusable(Exception):
    """A compiled file cannot be used; the text says why."""


def identity(status: os.stat_result) -> Identity:
    """Return what changes when a file is written, replaced, or given another owner or mode."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def identity_of(path: str) -> Identity | None:
    """Return the identity of the file at ``path``, None when there is none."""
    try:
        return identity(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def encode(part: Part) -> bytes:
    """Return the bytes of a compiled file."""
    body = marshal.dumps((part.exists, part.sources, part.layers), MARSHAL_VERSION)
    return FORMAT + blake2b(body, digest_size=DIGEST_BYTES).digest() + body


def read(path: str, owner: int) -> Part:
    """Read a compiled file that belongs to ``owner``.

    Raises FileNotFoundError when there is none, Unusable when it cannot be used; the reason is
    worth a log record.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unusable(error.strerror) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != owner or status.st_mode & 0o022:
            raise Unusable("users other than the administrator can change it")
        if status.st_size > SIZE_LIMIT_BYTES:
            raise Unusable("it is too large")
        data = os.read(descriptor, status.st_size + 1)
    finally:
        os.close(descriptor)
    part = decode(data)
    for source, seen in part.sources:
        try:
            unchanged = identity_of(source) == seen
        except OSError as error:
            raise Unusable(f"{source}: {error.strerror}") from None
        if not unchanged:
            raise Unusable(f"{source} has changed since; run ssh2containerctl compile")
    return part


def decode(data: bytes) -> Part:
    """Return the part that ``encode`` wrote; raises Unusable for anything else.

    The digest comes first: marshal must never see bytes that it did not write.
    """
    if not data.startswith(FORMAT):
        raise Unusable("it was not written by this version of ssh2container")
    start = len(FORMAT) + DIGEST_BYTES
    body = data[start:]
    if blake2b(body, digest_size=DIGEST_BYTES).digest() != data[len(FORMAT) : start]:
        raise Unusable("it is damaged")
    fields: tuple[Any, Any, Any] = marshal.loads(body)
    return Part(*fields)

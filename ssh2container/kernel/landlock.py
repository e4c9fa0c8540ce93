"""Landlock: a wall around files that stands whatever the mounts say, and cannot be taken down.

Sources: landlock(7), landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2),
Documentation/userspace-api/landlock.rst. What a kernel has is told by its ABI number; what it does not
have is left out of the request, never asked for and hoped.
"""

from __future__ import annotations

from . import libc

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_UP_TO_MAKE_SYM = (1 << 13) - 1

ABSTRACT_SOCKET, SIGNAL = 1 << 0, 1 << 1
"""Scopes, from ABI 6: connecting to sockets, and signalling processes, from outside the domain."""

READ = EXECUTE | READ_FILE | READ_DIR
OLDEST = 2
"""ABI 1 refuses every rename from one directory to another."""

_ADDED = ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
_FIRST_WITH_SCOPES = 6
_FIRST_WITH_NETWORK = 4
_VERSION = 1
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""The rights that a rule for something else than a directory may hold."""


def abi() -> int:
    """Return the kernel's Landlock ABI, 0 where there is none or it was switched off at boot."""
    try:
        return libc.syscall("landlock_create_ruleset", None, 0, _VERSION)
    except OSError:
        return 0


def known(version: int) -> int:
    """Return every right on files that ABI ``version`` knows."""
    return _UP_TO_MAKE_SYM | sum(right for first, right in _ADDED if version >= first)


def scopes(version: int) -> int:
    """Return every scope that ABI ``version`` knows."""
    return ABSTRACT_SOCKET | SIGNAL if version >= _FIRST_WITH_SCOPES else 0


def request(version: int, rights: int, scoped: int) -> bytes:
    """Return the struct landlock_ruleset_attr that refuses ``rights`` wherever no rule gives them.

    scoped: of :func:`scopes`.
    """
    attributes = rights.to_bytes(8, "little")
    if version >= _FIRST_WITH_NETWORK:
        attributes += bytes(8)
    if version >= _FIRST_WITH_SCOPES:
        attributes += scoped.to_bytes(8, "little")
    return attributes

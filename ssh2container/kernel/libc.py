"""System calls that Python's own modules lack, each raising OSError.

They are made by number through ``_syscall``, C that the installer builds and that knows the numbers.
"""

from __future__ import annotations

from . import _syscall

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

NUMBERS = _syscall.NUMBERS
"""Name -> number on this machine."""

address = _syscall.address
"""Return the address of a bytes-like object's content, which the caller keeps alive."""


def syscall(name: str, *arguments: int | bytes | bytearray | None) -> int:
    """Make the system call ``name``; bytes are passed by address, a bytearray may be written to.

    Raises OSError with the name.
    """
    return _syscall.syscall(name, NUMBERS[name], *arguments)

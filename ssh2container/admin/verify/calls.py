"""System calls by name for the probes: any that the machine has, wrapped by nobody."""

from __future__ import annotations

import os
import struct

from ssh2container.admin.seccomp import syscalls
from ssh2container.admin.verify.verdicts import Skipped
from ssh2container.kernel import libc

AT_FDCWD = -100
SIGCHLD = 17

Argument = int | bytes | bytearray | None


def resolve() -> None:
    """Learn the number of every call now: inside a container nothing can be imported or read."""
    for name, number in syscalls.table(syscalls.native()).items():
        libc.NUMBERS.setdefault(name, number)


def call(name: str, *arguments: Argument) -> int:
    """Make the system call ``name``. Raises OSError; Skipped on a machine that has no such call."""
    if name not in libc.NUMBERS:
        raise Skipped(f"{os.uname().machine} has no {name}")
    return libc.syscall(name, *arguments)


def call_number(number: int, *arguments: Argument) -> int:
    """Make the system call ``number``, which may be nobody's. Raises OSError."""
    name = f"system call {number}"
    libc.NUMBERS[name] = number
    return libc.syscall(name, *arguments)


def words(*values: int) -> bytes:
    """Return the C longs ``values``."""
    return struct.pack(f"={len(values)}Q", *(value & 0xFFFFFFFFFFFFFFFF for value in values))


def vector(data: bytes | bytearray) -> bytes:
    """Return a struct iovec for ``data``, which the caller keeps alive."""
    return words(libc.address(data), len(data))


def clone(flags: int) -> int:
    """Fork with ``flags`` of namespaces; a child that comes to be ends at once. Raises OSError."""
    child = call("clone", flags | SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def clone3(flags: int) -> int:
    """Do the same by the younger call."""
    child = call("clone3", words(flags, 0, 0, 0, SIGCHLD, 0, 0, 0), 64)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child

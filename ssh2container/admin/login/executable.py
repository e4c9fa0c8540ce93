"""Whether the kernel would execute a session's hooks outside, seen without executing any.

Those inside, as every other program inside, are looked at by process 1 (``native/init/payload.c``).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ssh2container.plan.hooks import NOT_RUN, failure

if TYPE_CHECKING:
    from ssh2container.plan.hooks import Hooks

_START_BYTES = 256  # BINPRM_BUF_SIZE
_MOST_INTERPRETERS = 5  # execve(2), "Interpreter scripts"
_ELF = b"\x7fELF"


def require(hooks: Hooks | None, *, handlers: bool) -> None:
    """Raise the Refusal of a login whose hook before it cannot be executed.

    handlers: the host runs other formats than its own (binfmt_misc): then only a start can tell.
    """
    for operation in () if hooks is None else hooks.create:
        number = _error(operation.hook.path) if operation.hook.counts else 0
        if number and not (handlers and number == errno.ENOEXEC):
            raise failure(operation, NOT_RUN, number)


def _error(path: str, depth: int = 0) -> int:
    """Return the number of the error that execve(2) would give to this process, 0 for none."""
    try:
        os.stat(path)
        if not os.access(path, os.X_OK):
            return errno.EACCES
        with open(path, "rb") as file:
            start = file.read(_START_BYTES)
    except PermissionError:
        return 0  # a program need not be readable
    except OSError as error:
        return error.errno or 0
    if start.startswith(_ELF):
        return 0
    words = start[2:].partition(b"\n")[0].replace(b"\t", b" ").split(b" ")
    interpreter = next((word for word in words if word), b"")
    if not start.startswith(b"#!") or not interpreter:
        return errno.ENOEXEC
    return errno.ELOOP if depth == _MOST_INTERPRETERS else _error(os.fsdecode(interpreter), depth + 1)

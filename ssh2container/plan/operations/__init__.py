"""Operations: what a plan consists of.

An operation is a value that can say what it does (``describe``), which system calls of
interest that takes (``calls``), which policy key asked for it (``key``), and how: it writes the
steps for pid 1 (``write``), or, where the monitor does it, does it (``apply``). ``explain`` prints
the same objects that a session carries out.
"""

from __future__ import annotations

import posix as os

from ssh2container import paths
from ssh2container.errors import SessionError
from ssh2container.kernel.script import Script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

TRACED_CALLS = (
    "mount",
    "umount2",
    "pivot_root",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "prctl",
    "seccomp",
    "capset",
    "keyctl",
    "landlock_restrict_self",
)
"""The calls that ``calls`` lists: those that make or break the container's walls."""


class Operation:
    """One step of a plan.

    key: the policy key behind it, "" when every session does it.
    step: the class's stable short name, for the log.
    why: what would be possible without it, for ``explain``.
    opening: whether it belongs before the exec of pid 1's program, whose /proc/self is closed to it.
    """

    __slots__ = ("key",)
    step = ""
    why = ""
    opening = False
    remedies: dict[int, str] = {}
    """errno -> what the reader can do when it fails with it."""
    reasons: dict[int, str] = {}
    """errno -> why it failed, where the kernel's words say something else."""

    def __init__(self, key: str = "") -> None:
        self.key = key

    @property
    def calls(self) -> tuple[str, ...]:
        """Names of :data:`TRACED_CALLS` that it makes, in order."""
        return ()

    def describe(self) -> str:
        """Say in one line, as an imperative, what it does."""
        raise NotImplementedError

    def write(self, script: Script) -> None:
        """Write the steps that do it. Raises OSError for what cannot be written down."""
        raise NotImplementedError

    def apply(self, init: int) -> None:
        """Do it, outside, for the container whose pid 1 is ``init``. Raises OSError."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.step}: {self.describe()}>"


def perform(operations: Iterable[Operation], init: int = 0) -> None:
    """Apply ``operations`` in order; the first that fails ends the session."""
    for operation in operations:
        try:
            operation.apply(init)
        except OSError as error:
            raise failure(operation, error.errno or 0, _name(error.filename)) from None


def write(operations: Iterable[Operation], script: Script) -> Script:
    """Write ``operations`` down in order and return the script. Raises SessionError."""
    for operation in operations:
        try:
            operation.write(script)
        except OSError as error:
            raise failure(operation, error.errno or 0, _name(error.filename)) from None
    return script


def failure(operation: Operation, number: int, at: str) -> SessionError:
    """Return the error of an operation that failed with errno ``number``; at: on which path or call."""
    why = operation.reasons.get(number) or os.strerror(number)
    return SessionError(
        f"cannot {operation.describe()}",
        f"{why} ({at})" if at else why,
        operation.remedies.get(number, ""),
        operation.step,
        number,
    )


def find(operations: Iterable[Operation], record: int, number: int) -> SessionError:
    """Return the error of the operation whose record failed, of those that one script was written from."""
    script = Script()
    for operation in operations:
        operation.write(script)
        if record < len(script.records):
            return failure(operation, number, script.at[record])
    return SessionError("the container could not be made", os.strerror(number), number=number)


def carry_out(operation: Operation) -> None:
    """Carry ``operation`` out in this process, as pid 1 would. Raises OSError."""
    script = Script()
    operation.write(script)
    failed = script.run()
    if failed is not None:
        record, number = failed
        raise OSError(number, operation.reasons.get(number) or os.strerror(number), script.at[record])


def traced_calls(operations: Iterable[Operation]) -> list[str]:
    """All calls of ``operations`` in order: what strace must show."""
    return [call for operation in operations for call in operation.calls]


def _name(filename: str | bytes | None) -> str:
    return paths.fsdecode(filename) if isinstance(filename, bytes) else filename or ""

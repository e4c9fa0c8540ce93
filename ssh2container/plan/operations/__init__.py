"""Operations: what a plan consists of.

An operation is a value that can say what it does (``describe``), which system calls of
interest that takes (``calls``), which policy key asked for it (``key``), and can do it
(``apply``). ``explain`` prints the same objects that a session carries out.
"""

from __future__ import annotations

import os

from ssh2container.errors import SessionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


class State:
    """What operations hand on to later ones.

    trees: detached mounts by name. pid: of pid 1, in the monitor. wait: returns when the monitor
    gives the word, in pid 1.
    """

    __slots__ = ("pid", "trees", "wait")

    def __init__(self, pid: int = 0, wait: Callable[[], None] | None = None) -> None:
        self.trees: dict[str, int] = {}
        self.pid = pid
        self.wait: Callable[[], None] = wait or _nothing


class Operation:
    """One step of a plan.

    key: the policy key behind it, "" when every session does it.
    step: the class's stable short name, for the log.
    """

    __slots__ = ("key",)
    step = ""
    remedies: dict[int, str] = {}
    """errno -> what the reader can do when ``apply`` fails with it."""

    def __init__(self, key: str = "") -> None:
        self.key = key

    @property
    def calls(self) -> tuple[str, ...]:
        """Names of :data:`TRACED_CALLS` that ``apply`` makes, in order."""
        return ()

    def describe(self) -> str:
        """Say in one line, as an imperative, what ``apply`` does."""
        raise NotImplementedError

    def apply(self, state: State) -> None:
        """Do it. Raises OSError."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.step}: {self.describe()}>"


def _nothing() -> None:
    """Wait for nobody."""


def perform(operations: Iterable[Operation], state: State) -> None:
    """Apply ``operations`` in order; the first that fails ends the session."""
    for operation in operations:
        try:
            operation.apply(state)
        except OSError as error:
            number = error.errno or 0
            at = f" ({os.fsdecode(error.filename)})" if error.filename else ""
            raise SessionError(
                f"cannot {operation.describe()}",
                f"{error.strerror}{at}",
                operation.remedies.get(number, ""),
                operation.step,
                number,
            ) from None


def traced_calls(operations: Iterable[Operation]) -> list[str]:
    """All calls of ``operations`` in order: what strace must show."""
    return [call for operation in operations for call in operation.calls]

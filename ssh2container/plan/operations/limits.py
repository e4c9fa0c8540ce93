"""Resource limits of the session (getrlimit(2))."""

from __future__ import annotations

from ssh2container.kernel import process

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script

RESOURCES = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
"""Name in ``ulimits`` -> number in <sys/resource.h>, the same on every architecture we run on."""


class SetLimit(Operation):
    """Set one resource limit for the payload; lowered limits cannot be raised again."""

    __slots__ = ("hard", "name", "soft")
    step = "limit"
    why = "a program that runs away, or dumps its memory, must harm only its own session"

    def __init__(self, name: str, soft: int, hard: int, key: str = "") -> None:
        super().__init__(key)
        self.name = name
        self.soft = soft
        self.hard = hard

    def describe(self) -> str:
        values = ["unlimited" if value == -1 else str(value) for value in (self.soft, self.hard)]
        return f"limit {self.name} to {values[0]} (at most {values[1]})"

    def write(self, script: Script) -> None:
        script.call("prlimit64", 0, RESOURCES[self.name], process.limit(self.soft, self.hard), 0)


class LimitUser(Operation):
    """Limit the processes of all the user's sessions together, from outside.

    A user namespace remembers its maker's soft limit, and each fork below it compares that with all that the
    maker's uid has, in every namespace and under whatever id there (kernel/ucount.c, since Linux 5.14).
    Nothing inside can raise it.
    """

    __slots__ = ("hard", "most")
    step = "user-limit"
    why = "many sessions, or many ids of a range, would add up to all processes of the host"

    def __init__(self, most: int, hard: int, key: str = "") -> None:
        super().__init__(key)
        self.most = most
        self.hard = hard

    def describe(self) -> str:
        return f"limit all processes of the user, in every session, to {self.most}"

    def apply(self, init: int) -> None:
        process.set_limit(RESOURCES["nproc"], self.most, self.hard)

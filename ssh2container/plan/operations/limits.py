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

"""The session's mounts as it sees them, and as the plan made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.verify.surroundings import Surroundings

_RDONLY = 0x1


class Mount:
    """A line of /proc/self/mountinfo: what is mounted, where, how."""

    __slots__ = ("inside", "kind", "options", "point", "shared")

    def __init__(self, line: str) -> None:
        fields = line.split()
        dash = fields.index("-")
        self.inside, self.point = fields[3], fields[4]
        self.options = fields[5].split(",")
        self.shared = dash > 6  # noqa: PLR2004 - optional fields stand from the seventh on
        self.kind = fields[dash + 1]


def mountinfo() -> Iterator[Mount]:
    """Yield the mounts of this mount namespace (proc_pid_mountinfo(5))."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            yield Mount(line)


def volume_targets(surroundings: Surroundings) -> list[tuple[str, bool]]:
    """Return where the policy's binds are inside, and whether read-only."""
    found = []
    for operation in surroundings.plan.container.init:
        if operation.step == "open-volume":
            name = surroundings.home if operation.name == "home" else operation.name  # type: ignore[attr-defined]
            found.append((name, bool(operation.attributes & _RDONLY)))  # type: ignore[attr-defined]
    return found


def writable_targets(surroundings: Surroundings) -> list[str]:
    """Return where the policy lets the session write to the host."""
    return [target for target, read_only in volume_targets(surroundings) if not read_only]

"""The devices that a policy names, for the sessions that have any (``devices``)."""

from __future__ import annotations

from .policy import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .policy import Policy, Values

READ, READ_WRITE = "r", "rw"
WRITABLE = "in a range of ids Landlock leaves every file writable, and nothing else could refuse it"
"""Why root of a range cannot be kept to reading a device."""


class Device(Value):
    """A device of the host, or a name of the Container Device Interface (CDI).

    source: the node, or a directory of nodes, on the host, its specifiers still in it; or the name, such as
    nvidia.com/gpu=all. target: where it is inside, "" for a name. permissions: READ or READ_WRITE, "" for a
    name.
    """

    __slots__ = ("permissions", "source", "target")

    def __init__(self, source: str, target: str, permissions: str) -> None:
        self.source = source
        self.target = target
        self.permissions = permissions

    @property
    def named(self) -> bool:
        """Whether it is a name, which specifications on the host explain."""
        return not self.target

    @property
    def key(self) -> str:
        """The item of the policy that it is."""
        return "devices." + (self.target or self.source)


def of(values: Values) -> tuple[Device, ...]:
    """Return the devices of a policy, in the order in which they were written."""
    return tuple(Device(*item) for item in values["devices"].values())


def broken(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield what contradicts the rest of ``policy``: the key, what was found, what would be right."""
    others = {volume.target for volume in policy.volumes} | {tmpfs.target for tmpfs in policy.tmpfs}
    for device in of(policy.values):
        if device.target in others:
            yield device.key, f"{device.target} is the target of a volume or of tmpfs, too", "one of them"
        if device.permissions == READ and policy.ranged:
            yield (
                device.key,
                WRITABLE,
                "rw, or userns_mode: single",
            )

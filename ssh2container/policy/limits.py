"""Limits that a cgroup enforces, over a session or over everything of a user, and sums that cannot hold.

A login imports this only where its policy limits the session. Pure.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.policy import Policy, Values

    Found = tuple[str, str, str]
    """The key to blame, what was found, what would be right."""
    Rates = tuple[tuple[str, int], ...]

AS_MEMORY, UNLIMITED = 0, -1
"""The values of ``memswap_limit`` that are no sizes: as much as ``mem_limit``, and without limit."""

SUMMED = ("mem_limit", "cpus", "pids_limit")
"""The limits of which several sessions, or users, use the sum."""
RESERVE_BYTES = 16 * 1024**2
"""What the processes of a session need beside full memory file systems."""
INODE_BYTES = 1024
"""What the kernel keeps for a file in tmpfs beside its content: an inode and a name (slabinfo(5))."""


class Io:
    """Limits of block devices.

    weight: 10..1000, or None; 500 is what everybody else has. The others: (path, rate), in bytes or
    operations a second; the path is a block device, or a file whose file system is on one.
    """

    __slots__ = ("read_bps", "read_iops", "weight", "write_bps", "write_iops")

    def __init__(
        self, weight: int | None, read_bps: Rates, write_bps: Rates, read_iops: Rates, write_iops: Rates
    ) -> None:
        self.weight = weight
        self.read_bps = read_bps
        self.write_bps = write_bps
        self.read_iops = read_iops
        self.write_iops = write_iops

    def rates(self) -> tuple[tuple[str, Rates], ...]:
        """Return what each device may do, under the names of a unit's properties."""
        return (
            ("IOReadBandwidthMax", self.read_bps),
            ("IOWriteBandwidthMax", self.write_bps),
            ("IOReadIOPSMax", self.read_iops),
            ("IOWriteIOPSMax", self.write_iops),
        )


class Limits:
    """What a group of processes may use together; None is no limit.

    memory: bytes. swap: bytes of swap alone, or None. cpus: processors, as a fraction. shares: 2..262144, of
    which others have 1024. pids: processes and threads. io: see :class:`Io`.
    """

    __slots__ = ("cpus", "io", "memory", "pids", "shares", "swap")

    def __init__(
        self,
        memory: int | None,
        swap: int | None,
        cpus: float | None,
        shares: int | None,
        pids: int | None,
        io: Io | None,
    ) -> None:
        self.memory = memory
        self.swap = swap
        self.cpus = cpus
        self.shares = shares
        self.pids = pids
        self.io = io

    def words(self) -> str:
        """Return the limits for a person: "512m of memory, no swap, 1.5 processors, 100 processes"."""
        found = []
        if self.memory is not None:
            found.append(f"{mebibytes(self.memory)} of memory")
        if self.swap is not None:
            found.append(f"{mebibytes(self.swap)} of swap" if self.swap else "no swap")
        if self.cpus is not None:
            found.append(f"{self.cpus:g} processors")
        if self.shares is not None:
            found.append(f"{self.shares} shares of busy processors")
        if self.pids is not None:
            found.append(f"{self.pids} processes")
        if self.io is not None:
            if self.io.weight is not None:
                found.append(f"a weight of {self.io.weight} at busy devices")
            for name, rates in self.io.rates():
                found += [f"{name} {rate} a second at {path}" for path, rate in rates]
        return ", ".join(found)

    def properties(self) -> Iterator[tuple[str, int | Rates]]:
        """Yield the properties of a unit, as systemd's bus takes them (org.freedesktop.systemd1(5)).

        Shares and weights are put on systemd's scale, so that the default of one is that of the other:
        1024 shares and a weight of 500 are 100 there (systemd.resource-control(5)).
        """
        if self.memory is not None:
            yield "MemoryMax", self.memory
        if self.swap is not None:
            yield "MemorySwapMax", self.swap
        if self.cpus is not None:
            yield "CPUQuotaPerSecUSec", round(self.cpus * 1_000_000)
        if self.shares is not None:
            yield "CPUWeight", _weight(self.shares, 1024)
        if self.pids is not None:
            yield "TasksMax", self.pids
        if self.io is None:
            return
        if self.io.weight is not None:
            yield "IOWeight", _weight(self.io.weight, 500)
        for name, rates in self.io.rates():
            if rates:
                yield name, rates


NONE = Limits(None, None, None, None, None, None)
"""Those of a session that has a cgroup of its own for another reason."""


def _weight(value: int, default: int) -> int:
    return max(1, min(10_000, value * 100 // default))


def of(values: Values, prefix: str = "") -> Limits | None:
    """Return the limits whose keys begin with ``prefix``, None where there are none.

    prefix: "" for the session's, "user_limits." or "site_limits.".
    """
    memory, total = values[prefix + "mem_limit"], values[prefix + "memswap_limit"]
    swap = None
    if memory is not None and total != UNLIMITED:
        swap = 0 if total == AS_MEMORY else max(0, total - memory)
    found = Limits(
        memory,
        swap,
        values[prefix + "cpus"],
        values[prefix + "cpu_shares"],
        values[prefix + "pids_limit"],
        _io(values, prefix + "blkio_config"),
    )
    return found if any(True for _ in found.properties()) else None


def _io(values: Values, key: str) -> Io | None:
    def rates(name: str) -> Rates:
        return tuple(values[f"{key}.{name}"].values())

    if values[key] == "none":
        return None
    found = Io(
        values[key + ".weight"],
        rates("device_read_bps"),
        rates("device_write_bps"),
        rates("device_read_iops"),
        rates("device_write_iops"),
    )
    nothing = found.weight is None and not any(rates for _, rates in found.rates())
    return None if nothing else found


def writable_bytes(policy: Policy) -> int:
    """Return what a session can fill by writing files: the contents, and what the kernel keeps for each."""
    storage = policy.storage_opt
    own = storage.size + storage.inodes * INODE_BYTES
    return own + sum(one.size + one.inodes * INODE_BYTES for one in policy.tmpfs)


def broken(policy: Policy) -> Iterator[Found]:
    """Yield limits of a policy that contradict each other, or sums that cannot hold."""
    values = policy.values
    yield from of_swap(values)
    yield from of_swap(values, "user_limits.")
    needed = writable_bytes(policy) + RESERVE_BYTES
    found = (
        f"a session that fills what it can write needs {mebibytes(needed)}, and would be killed"
        f" instead of getting an error: storage_opt.size, tmpfs, {INODE_BYTES} bytes for each inode,"
        f" and {mebibytes(RESERVE_BYTES)} for processes"
    )
    for prefix in ("", "user_limits."):
        limit = values[prefix + "mem_limit"]
        if limit is not None and needed > limit:
            allowed = f"at least {mebibytes(needed)}, or smaller storage_opt and tmpfs"
            yield prefix + "mem_limit", found, allowed
    for name in SUMMED:
        one, all_of_them = values[name], values["user_limits." + name]
        if one is not None and all_of_them is not None and one > all_of_them:
            found = "one session is allowed more than all that the user runs, so the limit is never reached"
            yield name, found, f"{name} up to that of user_limits"


def of_swap(values: Values, prefix: str = "") -> Iterator[Found]:
    """Yield a ``memswap_limit`` that says nothing, as it counts memory and swap together."""
    memory, total = values[prefix + "mem_limit"], values[prefix + "memswap_limit"]
    if total == AS_MEMORY:
        return
    key = prefix + "memswap_limit"
    if memory is None:
        found = "it counts memory and swap together, and there is no mem_limit"
        yield key, found, "mem_limit beside memswap_limit"
    elif total != UNLIMITED and total < memory:
        found = f"it counts memory and swap together, and mem_limit alone is {mebibytes(memory)}"
        yield key, found, "at least mem_limit, or none"


def mebibytes(amount: int) -> str:
    """Return an amount of bytes for a person, rounded up."""
    return f"{-(-amount // 1024**2)}m"

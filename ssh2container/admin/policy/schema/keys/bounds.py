"""Keys of what a cgroup limits: the same for a session, for a user, and for all contained users."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.cgroup import Limit, MemoryAndSwap, Rates
from ssh2container.admin.policy.types.numbers import Count, Fraction, Size
from ssh2container.admin.policy.types.scalars import Choice
from ssh2container.policy import limits

TIB = 1024**4

LEAST_MEMORY_BYTES = 2 * limits.RESERVE_BYTES
LEAST_MEMORY_OF_USER_BYTES = 64 * 1024**2
LEAST_PIDS = 4
LEAST_PIDS_OF_USER = 16
"""With less a login is of no use, and often fails: docs/limits.md says what was counted."""


def settings(around: str, whose: str) -> list[Setting]:
    """Return the declarations below the key ``around``, "" for a session's. whose: in words."""
    session = not around
    memory = (LEAST_MEMORY_BYTES if session else LEAST_MEMORY_OF_USER_BYTES, 64 * TIB)
    least = LEAST_PIDS if session else LEAST_PIDS_OF_USER
    docs = (
        (
            "mem_limit",
            Limit(Size(*memory), off=("0", "-1")),
            None,
            f"The memory of {whose} together, the files in memory included.",
            "512m" if session else "2g",
        ),
        (
            "memswap_limit",
            MemoryAndSwap(*memory),
            limits.AS_MEMORY,
            f"The memory and swap of {whose} together.",
            "1g" if session else "4g",
        ),
        (
            "cpus",
            Limit(Fraction(0.01, 4096), off=("0", "-1")),
            None,
            f"The processors for {whose}, as a fraction.",
            "1.5",
        ),
        (
            "cpu_shares",
            Limit(Count(2, 262_144), off=("0", "-1")),
            None,
            f"The share of busy processors for {whose}; others have 1024.",
            "512",
        ),
        (
            "pids_limit",
            Limit(Count(least, 4_194_304), "-1", "unlimited", off=("0",)),
            None,
            f"The number of processes and threads of {whose}.",
            "100" if session else "400",
        ),
    )
    prefix = f"{around}." if around else ""
    found = [
        Setting(prefix + name, kind, default, doc, _example(around, name, value))
        for name, kind, default, doc, value in docs
    ]
    return found + _devices(around, prefix, whose)


def _devices(around: str, prefix: str, whose: str) -> list[Setting]:
    key = prefix + "blkio_config"
    rate, count = Size(4096, TIB), Count(1, 1_000_000_000)
    found = [
        Setting(
            key,
            Choice("none"),
            "none",
            f"The use of block devices by {whose}.",
            _example(around, "blkio_config", "{weight: 250}"),
            mapping="limits",
        ),
        Setting(
            key + ".weight",
            Limit(Count(10, 1000)),
            None,
            f"The share of busy block devices for {whose}; others have 500.",
            _example(around, "blkio_config", "{weight: 250}"),
        ),
    ]
    for name, kind, doc, value in (
        ("device_read_bps", rate, "The bytes a second that are read from a device by", "20m"),
        ("device_write_bps", rate, "The bytes a second that are written to a device by", "10m"),
        ("device_read_iops", count, "The reads a second from a device by", "1000"),
        ("device_write_iops", count, "The writes a second to a device by", "500"),
    ):
        entry = f"{{{name}: [{{path: /home, rate: {value}}}]}}"
        example = _example(around, "blkio_config", entry)
        found.append(Setting(f"{key}.{name}", Rates(kind), {}, f"{doc} {whose}.", example))
    return found


def _example(around: str, name: str, value: str) -> str:
    return f"{around}: {{{name}: {value}}}" if around else f"{name}: {value}"

"""The id ranges: who owns the shifted trees, and under which ids archives are unpacked."""

from __future__ import annotations

import os

OWNER = "ssh2container"
"""The name under which install.sh sets the range aside in /etc/subuid and /etc/subgid."""
COUNT = 65536


class Range:
    """``count`` ids of the host from ``base``, which are 0, 1, … inside."""

    __slots__ = ("base", "count")

    def __init__(self, base: int, count: int = COUNT) -> None:
        self.base = base
        self.count = count


UNPACKING = Range(1_879_048_192)
"""Where hostile archives are unpacked and images edited: 0x70000000, far above the ids of people and of
systemd's containers (0x00080000-0x6FFFFFFF); not the set-aside range, whose ids sessions have."""


def set_aside(etc: str = "/etc") -> Range | None:
    """Return the range that /etc/subuid and /etc/subgid set aside for images, None without one.

    Both files must give the same range (subuid(5)); the shifted trees depend on it.
    """
    ranges = [_first(os.path.join(etc, name)) for name in ("subuid", "subgid")]
    if None in ranges or ranges[0] != ranges[1] or ranges[0] is None:
        return None
    return Range(*ranges[0])


def _first(path: str) -> tuple[int, int] | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                owner, _, rest = line.strip().partition(":")
                base, _, count = rest.partition(":")
                if owner == OWNER and base.isdecimal() and count.isdecimal() and int(count) >= COUNT:
                    return int(base), COUNT
    except OSError:
        pass
    return None

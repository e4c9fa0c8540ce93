"""Values in unit files and what a policy writes in their place: sizes, time spans, specifiers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _bytes(text: str) -> str | None:
    """Bytes with systemd's suffixes; infinity is no limit."""
    if text == "infinity":
        return ""
    return text.lower() if re.fullmatch(r"[0-9]+[KMG]?", text) else None


def _count(text: str) -> str | None:
    return "" if text == "infinity" else text if text.isdecimal() else None


def _percent(text: str) -> str | None:
    match = re.fullmatch(r"([0-9]{1,6})%", text)
    return f"{int(match[1]) / 100:g}" if match else None


_SPANS = {
    "usec": "us", "us": "us", "msec": "ms", "ms": "ms", "seconds": "s", "second": "s", "sec": "s", "s": "s",
    "minutes": "m", "minute": "m", "min": "m", "m": "m", "hours": "h", "hour": "h", "hr": "h", "h": "h",
    "": "s",
}  # fmt: skip


def _span(text: str) -> str | None:
    """Return a time span (systemd.time(7)) as Compose writes it, None for no span."""
    if text == "infinity":
        return ""
    parts = re.findall(r"([0-9]+)\s*([a-z]*)\s*", text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != re.sub(r"\s", "", text):
        return None
    if any(unit not in _SPANS for _, unit in parts):
        return None
    return "".join(number + _SPANS[unit] for number, unit in parts)


LIMITS: dict[str, tuple[str, Callable[[str], str | None]]] = {
    "CPUQuota": ("cpus", _percent),
    "MemoryMax": ("mem_limit", _bytes),
    "RuntimeMaxSec": ("sessions.max_duration", _span),
    "TasksMax": ("pids_limit", _count),
    "TimeoutStopSec": ("stop_grace_period", _span),
}
"""Key of [Service] -> the key of a policy that limits the same, and how its values are written there."""


class Specifiers:
    """What ``%`` and a letter mean in a unit (systemd.unit(5), SPECIFIERS) and mean here.

    stem: the name of the unit without its suffix.
    """

    def __init__(self, stem: str) -> None:
        prefix, at, instance = stem.partition("@")
        self.known = {
            "n": f"{stem}.service", "N": stem, "p": prefix, "j": prefix.rpartition("-")[2],
            "T": "/tmp", "V": "/var/tmp",
        }  # fmt: skip
        if at and instance:
            self.known["i"] = self.known["I"] = instance
        self.known["P"], self.known["J"] = self.known["p"], self.known["j"]

    def replaced(self, text: str) -> str | tuple[str, str]:
        """Return the text with what is known, or the specifier that has no meaning here and why."""
        done = []
        at = 0
        while (percent := text.find("%", at)) != -1:
            letter = text[percent + 1 : percent + 2]
            done.append(text[at:percent])
            at = percent + 2
            if letter in ("u", "U", "g", "h", "%"):
                done.append("%" + letter)
            elif letter in self.known:
                done.append(self.known[letter].replace("%", "%%"))
            elif letter in ("i", "I"):
                return letter, "the unit is a template: convert it under the name of an instance"
            else:
                return letter, "a policy has %u, %U, %g, %h and %i: write the place itself"
        return "".join(done) + text[at:]

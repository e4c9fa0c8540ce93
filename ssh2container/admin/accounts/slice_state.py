"""What limits slices really have, as systemd tells, whoever has set them. Source: systemctl(1), show."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from ssh2container.plan.limits import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ssh2container.policy.limits import Limits

    Properties = Mapping[str, tuple[str, ...]]
    """The name of a property -> its lines."""

_DROP_INS = "DropInPaths"
_UNITS_MICROSECONDS = {"us": 1, "ms": 1000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6}
_SECONDS = 30.0


def show(units: Sequence[str]) -> dict[str, Properties]:
    """Return what the units have, {} where systemd does not answer."""
    if not units:
        return {}
    wanted = ",".join(("Id", *MEANINGS, _DROP_INS))
    try:
        answer = subprocess.run(
            ["systemctl", "show", f"--property={wanted}", "--", *units], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse(answer.stdout) if answer.returncode == 0 else {}


def parse(text: str) -> dict[str, Properties]:
    """Return unit -> properties from the words of ``systemctl show``: a block for each unit."""
    found: dict[str, Properties] = {}
    for block in text.split("\n\n"):
        properties: dict[str, tuple[str, ...]] = {}
        for line in block.splitlines():
            name, _, value = line.partition("=")
            properties[name] = (*properties.get(name, ()), value)
        if "Id" in properties:
            found[properties["Id"][0]] = properties
    return found


def drop_ins(properties: Properties) -> list[str]:
    """Return the paths of a unit's drop-ins, what counts most last."""
    return " ".join(properties.get(_DROP_INS, ())).split()


def in_force(properties: Properties) -> str:
    """Return the limits that a unit has, as systemd writes them."""
    found = [
        f"{name} {value}"
        for name in MEANINGS
        for value in properties.get(name, ())
        if value not in ("", "infinity", "[not set]")
    ]
    return ", ".join(found) or "not limited"


def differences(wanted: Limits, properties: Properties) -> Iterator[str]:
    """Yield what a unit does not have of ``wanted``, in words."""
    for name, value in wanted.properties():
        there = properties.get(name, ())
        if isinstance(value, int):
            shown = there[0] if there else ""
            if _number(name, shown) != value:
                yield f"{name} is {shown or 'not set'} in place of {value}"
            continue
        for path, rate in value:
            line = f"{path} {rate}"
            if line not in there:
                yield f"{name} is {', '.join(there) or 'not set'} in place of {line}"


def _number(name: str, shown: str) -> int | None:
    """Return the number behind a value, None for infinity and what is not set."""
    if name == "CPUQuotaPerSecUSec":
        parts = re.findall(r"([0-9.]+)([a-z]+)", shown)
        if not parts or any(unit not in _UNITS_MICROSECONDS for _, unit in parts):
            return None
        return round(sum(float(amount) * _UNITS_MICROSECONDS[unit] for amount, unit in parts))
    return int(shown) if shown.isdecimal() else None

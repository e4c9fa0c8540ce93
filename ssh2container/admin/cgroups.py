"""Whether this host can limit by control groups: systemd as pid 1, cgroups of version 2, the controllers."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from ssh2container.admin.change import read_or_none
from ssh2container.paths import CGROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable

RUNS = "/run/systemd/system"
"""It exists where systemd is pid 1 (sd_booted(3))."""
CONTROLLERS = CGROUPS + "/cgroup.controllers"
"""It exists where cgroups are of version 2 alone (cgroups(7)); its words are what the kernel can limit."""
_COSTS = CGROUPS + "/io.cost.qos"
_SCHEDULERS = "/sys/block/*/queue/scheduler"
_OF_PROPERTY = {"Memory": "memory", "CPU": "cpu", "Tasks": "pids", "IO": "io"}


def absent(properties: Iterable[str], there: str) -> list[str]:
    """Return the controllers that properties of a unit need and that are not in a cgroup.controllers.

    properties: their names, see :meth:`.policy.limits.Limits.properties`. there: what is in that file.
    """
    names = [*properties]
    needed = {word for start, word in _OF_PROPERTY.items() if any(name.startswith(start) for name in names)}
    return sorted(needed - set(there.split()))


def unable(properties: Iterable[str]) -> str:
    """Say why this host cannot keep the limits that a unit's properties set, "" when it can."""
    if not os.path.isdir(RUNS):
        return "systemd does not run here"
    there = read_or_none(CONTROLLERS)
    if there is None:
        return "cgroups are not of version 2 alone"
    missing = absent(properties, there)
    return f"the kernel offers no controller {', '.join(missing)}" if missing else ""


def weighs_devices() -> bool:
    """Tell whether any block device looks at weights: by its scheduler, or as it has a model of costs.

    Every device has the files for them. Sources: the kernel's Documentation/block/bfq-iosched.rst and
    Documentation/admin-guide/cgroup-v2.rst, io.cost.qos.
    """
    schedulers = (read_or_none(path) or "" for path in glob.glob(_SCHEDULERS))
    return "enable=1" in (read_or_none(_COSTS) or "") or any("[bfq]" in text for text in schedulers)

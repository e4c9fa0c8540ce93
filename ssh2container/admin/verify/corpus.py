"""The whole corpus: the probes that run inside, group by group."""

from __future__ import annotations

from ssh2container.admin.verify.probes import (
    devices,
    files,
    kernel,
    mounts,
    privileges,
    proc,
    processes,
    resources,
)

MODULES = (mounts, proc, devices, privileges, processes, kernel, files, resources)
PROBES = tuple(probe for module in MODULES for probe in module.GROUP.probes)
"""Resources last: they use up what the others need."""

"""The whole corpus: the probes that run inside, group by group."""

from __future__ import annotations

from ssh2container.admin.verify.probes import (
    changes,
    devices,
    files,
    interfaces,
    ipc,
    kernel,
    logs,
    mounts,
    namespaces,
    network,
    privileges,
    proc,
    processes,
    recordings,
    resources,
    scope,
    setid,
    tree,
)

MODULES = (
    mounts,
    namespaces,
    proc,
    devices,
    privileges,
    processes,
    ipc,
    logs,
    network,
    interfaces,
    kernel,
    files,
    changes,
    tree,
    recordings,
    setid,
    scope,
    resources,
)
"""Some groups fill more than one module."""
GROUPS = tuple({id(module.GROUP): module.GROUP for module in MODULES}.values())
PROBES = tuple(probe for group in GROUPS for probe in group.probes)
"""Resources last: they use up what the others need."""

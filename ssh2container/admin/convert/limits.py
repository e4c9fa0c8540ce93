"""Compose's limits as those of a policy: memory, processors, devices, and how long an end may take."""

from __future__ import annotations

import re
from collections.abc import Callable

from ssh2container.admin.convert.draft import Draft
from ssh2container.admin.convert.service import Service
from ssh2container.admin.convert.tree import entries, text_at
from ssh2container.admin.policy.schema.foreign import elsewhere
from ssh2container.admin.policy.schema.settings import POLICY
from ssh2container.admin.policy.types.entries import Items
from ssh2container.admin.policy.types.numbers import SIZE_UNITS
from ssh2container.admin.policy.yaml.nodes import Mapping, Node, Scalar

Handler = Callable[[Draft, Service, Node], None]
"""Converts the value of one key of a service."""

_NO_LIMIT = ("0", "-1")
_DEFAULT_SHM_BYTES = 64 * 1024**2
"""What engines give where nothing is said."""


def limit(key: str) -> Handler:
    """Return what takes a limit of which 0 and -1 are none."""

    def take(draft: Draft, service: Service, node: Node) -> None:
        del service
        if not (isinstance(node, Scalar) and (node.text in _NO_LIMIT or not node.text.strip("0."))):
            draft.set(key, node, key)

    return take


def swap(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``memswap_limit``, of which 0 says nothing."""
    del service
    if isinstance(node, Scalar) and node.text == "0":
        return
    draft.set("memswap_limit", node, "memswap_limit")


def quota(draft: Draft, service: Service, node: Node) -> None:
    """Convert cpu_quota and cpu_period, both in microseconds, to processors."""
    period = service.root.get("cpu_period")
    texts = [one.text if isinstance(one, Scalar) else "" for one in (node, period) if one is not None]
    if not all(re.fullmatch(r"[1-9][0-9]{0,9}", text) for text in texts):
        draft.notes.leave(node, "cpu_quota", "it is no number of microseconds above 0")
        return
    cpus = int(texts[0]) / (int(texts[1]) if period is not None else 100_000)
    if not draft.has("cpus"):
        draft.set("cpus", text_at(node, f"{cpus:.6f}".rstrip("0").rstrip(".")), "cpu_quota")


def shm(draft: Draft, service: Service, node: Node) -> None:
    """Make what can be written in memory so much larger as /dev/shm is larger than engines make it."""
    del service
    size = POLICY.settings["storage_opt.size"]
    wanted = draft.notes.read(size.kind.read, node, "shm_size")
    if not isinstance(wanted, int) or wanted <= _DEFAULT_SHM_BYTES:
        return
    whole = -(-(size.default - _DEFAULT_SHM_BYTES + wanted) // SIZE_UNITS["m"])
    draft.set("storage_opt.size", text_at(node, f"{whole}m"), "shm_size")


def storage(draft: Draft, service: Service, node: Node) -> None:
    """Convert what of ``storage_opt`` is a key of a policy."""
    del service
    for key, value in node.pairs if isinstance(node, Mapping) else ():
        name = f"storage_opt: {key.text}"
        if f"storage_opt.{key.text}" not in POLICY.settings:
            draft.notes.leave(key, name, "it is for a driver of an engine")
        elif draft.set(f"storage_opt.{key.text}", value, name):
            draft.notes.differ(key, name, "what is counted is in memory here, not on a disk")


def blkio(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``blkio_config``, rate by rate."""
    del service
    for key, value in node.pairs if isinstance(node, Mapping) else ():
        name = f"blkio_config: {key.text}"
        dotted = f"blkio_config.{key.text}"
        setting = POLICY.settings.get(dotted)
        if setting is None:
            draft.notes.leave(key, name, elsewhere("blkio_config"))
        elif isinstance(setting.kind, Items):
            for item in entries(value):
                draft.entry(dotted, item, name)
        elif not (isinstance(value, Scalar) and value.text == "0"):
            draft.set(dotted, value, name)


def deploy(draft: Draft, service: Service, node: Node) -> None:
    """Convert the limits of ``deploy``; what the service says itself holds."""
    ours = {"cpus": "cpus", "memory": "mem_limit", "pids": "pids_limit"}
    for key, value in _flat(node, "deploy"):
        last = key.removeprefix("deploy.resources.limits.")
        if last in ours and ours[last] not in {pair[0].text for pair in service.root.pairs}:
            limit(ours[last])(draft, service, value)
        elif last not in ours:
            word = "gpus" if last.endswith("devices") else _OF_DEPLOY.get(key.split(".")[1], "")
            draft.notes.leave(value, key, elsewhere(word) if word else _NOT_PLACED)


_NOT_PLACED = "a session is placed and started by a login, on the host that it reaches"
_OF_DEPLOY = {"replicas": "scale", "resources": "mem_reservation", "labels": "labels"}
"""What of ``deploy`` a key of a service is about, too."""


def _flat(node: Node, name: str) -> list[tuple[str, Node]]:
    """Return the values in nested maps, by their dotted names down to the limits of resources."""
    if not isinstance(node, Mapping) or name.count(".") > 2:  # noqa: PLR2004
        return [(name, node)]
    return [pair for key, value in node.pairs for pair in _flat(value, f"{name}.{key.text}")]


def grace(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``stop_grace_period``; a number alone is of seconds, as ``--stop-timeout`` has it."""
    del service
    if isinstance(node, Scalar) and node.text.isdecimal():
        node = text_at(node, node.text + "s")
    draft.set("stop_grace_period", node, "stop_grace_period")

"""What a name of the Container Device Interface brings in, as the host's specifications explain it."""

from __future__ import annotations

import marshal

from ssh2container.errors import Refusal
from ssh2container.policy import cold, devices

from . import device_kinds, sources
from .device_nodes import STEP, Node, find, require
from .operations.devices import spelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.policy import Policy

    from .account import Account
    from .sources import Source

    Explained = tuple[
        str,
        tuple[tuple[str, str, str, int, int], ...],
        tuple[tuple[str, str], ...],
        tuple[tuple[str, str], ...],
    ]
    """What a name of the Container Device Interface stands for: the specification's path; nodes (on the host,
    inside, permissions, major, minor); mounts (on the host, inside); variables (name, value)."""


def explained(names: tuple[str, ...]) -> dict[str, Explained]:
    """Return what each name stands for. No login reads YAML itself: a program does (:mod:`.policy.cold`)."""
    maker = cold.start()
    try:
        return dict(zip(names, marshal.loads(maker.devices(names)), strict=True))
    finally:
        maker.close()


def nodes(policy: Policy, device: devices.Device, found: Explained) -> Iterator[Node]:
    """Yield the nodes that a specification names. Raises Refusal for what is not as it says."""
    specification, listed, _, _ = found
    for source, target, permissions, *numbers in listed:
        _require_free(device, target, specification)
        path, status = find(source)
        require(source, path, status, named=False)
        written = permissions == devices.READ_WRITE
        node = Node(path, status, target, device.key, written=written)
        if numbers[0] >= 0 and node.number != (*numbers,):
            raise Refusal(
                f"cannot use the device {source}",
                f"it is {spelled(node.number)}, and {specification} says {numbers[0]}:{numbers[1]}",
                "have the specification made anew",
                STEP,
            )
        if policy.ranged and not written:
            raise Refusal(
                f"cannot let the session only read {target}", devices.WRITABLE, "userns_mode: single", STEP
            )
        yield node


def mounts(
    policy: Policy, account: Account, device: devices.Device, found: Explained
) -> Iterator[tuple[str, Source, str]]:
    """Yield the files that come with a name, but those that the image ``host`` has in their place anyway."""
    specification, _, listed, _ = found
    for path, target in listed:
        source = sources.source(f"the device {device.source}", path, account)
        if policy.image == "host" and target.startswith("/usr/"):
            if target in (path, source.path):
                continue
            raise Refusal(
                f"cannot attach {path} at {target} for {device.source}",
                "/usr is the host's own here",
                "use an imported image",
                STEP,
            )
        _require_free(device, target, specification)
        yield target, source, device.key


def _require_free(device: devices.Device, target: str, specification: str) -> None:
    if device_kinds.is_own(target):
        raise Refusal(
            f"cannot use the device {device.source}",
            f"{specification} puts something at {target}, where the container has its own",
            "have the specification made without it",
            STEP,
        )

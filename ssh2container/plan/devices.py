"""What a policy brings in of the host's devices: nodes, examined where they lie, and what comes with a name.

Only sessions with ``devices`` load this. A node that is gone refuses the login, as it does in Compose.
"""

from __future__ import annotations

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import landlock
from ssh2container.policy import devices

from . import tree
from .device_nodes import STEP, Node, named
from .operations.devices import AttachDevice, OpenDevice, RestrictFilesAndDevices
from .operations.filesystem import BASE
from .operations.volumes import AttachVolume, OpenVolume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssh2container.policy.policy import Policy

    from .account import Account
    from .cdi import Explained
    from .operations import Operation
    from .sources import Source
    from .upper import Entry


class Brought:
    """All that the policy's devices bring into the session.

    mounts: (target, its Source, the policy's item) of files that come with a name, read-only. variables: what
    a name sets, unless the policy does.
    """

    __slots__ = ("mounts", "nodes", "variables")

    def __init__(
        self,
        nodes: tuple[Node, ...],
        mounts: tuple[tuple[str, Source, str], ...] = (),
        variables: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.nodes = nodes
        self.mounts = mounts
        self.variables = variables

    def bring_in(
        self, opened: list[Operation], attached: list[tuple[str, Operation]], places: list[tuple[str, bool]]
    ) -> list[Entry]:
        """Add the operations that open and attach everything; return the mount points in /dev.

        places: (target, is a directory), to which those of other targets are added.
        """
        for target, source, key in self.mounts:
            opened.append(OpenVolume(target, source.path, tree.ATTR_FIXED, source.identity, key))
            attaching = AttachVolume(target, target, source.identity, directory=source.directory, key=key)
            attached.append((target, attaching))
            places.append((target, source.directory))
        entries: dict[str, Entry] = {}
        for node in self.nodes:
            opened.append(OpenDevice(node.path, node.target, node.identity, node.number, node.key))
            attached.append((node.target, AttachDevice(node.target, node.identity, node.device, node.key)))
            if not node.target.startswith("/dev/"):
                places.append((node.target, False))
                continue
            parts = node.target.split("/")[2:]
            for depth in range(1, len(parts)):
                place = "/".join((BASE, "dev", *parts[:depth]))
                entries[place] = (place, 0o755, None)
            entries[BASE + node.target] = (BASE + node.target, None, b"")
        return [*entries.values()]

    def set(self, environment: dict[bytes, bytes]) -> None:
        """Add the variables that nobody else has set."""
        for name, value in self.variables:
            environment.setdefault(paths.fsencode(name), paths.fsencode(value))

    def restrict(self, base: tuple[Operation, ...]) -> tuple[Operation, ...]:
        """Return the operations of ``walls.around_files`` with rules for the devices.

        Raises Refusal where a device is only to be read and the kernel has nothing that sees to it.
        """
        if not base:
            for node in self.nodes:
                if not node.written:
                    raise Refusal(
                        f"cannot let the session only read {node.target}",
                        f"this kernel's Landlock does not serve (ABI {landlock.OLDEST} or newer is needed)",
                        f"write {devices.READ_WRITE}, or switch Landlock on at boot (lsm=)",
                        STEP,
                    )
            return ()
        (files,) = base
        self._require_kept_to_reading(files.writable)  # type: ignore[attr-defined]
        used = tuple((node.target, node.written) for node in self.nodes)
        own = tuple("/dev/" + name for name in (*tree.DEVICES, "pts"))
        return (RestrictFilesAndDevices(files, used, own),)  # type: ignore[arg-type]

    def _require_kept_to_reading(self, writable: tuple[str, ...]) -> None:
        """Raise Refusal for a device to read in a place whose rule lets everything below it be written to."""
        for node in self.nodes:
            around = next((one for one in writable if node.target.startswith(one.rstrip("/") + "/")), "")
            if around and not node.written:
                raise Refusal(
                    f"cannot let the session only read {node.target}",
                    f"{around} is writable, and Landlock leaves all in it so",
                    "choose a target below /dev",
                    STEP,
                )


def observe(policy: Policy, account: Account, values: Mapping[str, str]) -> Brought:
    """Look at every device that ``policy`` names. Raises Refusal for one that no session is given.

    values: what specifiers stand for.
    """
    wanted = devices.of(policy.values)
    explained: dict[str, Explained] = {}
    if any(device.named for device in wanted):
        from . import cdi

        explained = cdi.explained(tuple(device.source for device in wanted if device.named))
    nodes: dict[str, Node] = {}
    mounts: dict[str, tuple[str, Source, str]] = {}
    variables: dict[str, str] = {}
    for device in wanted:
        found = explained.get(device.source)
        for node in named(device, values) if found is None else cdi.nodes(policy, device, found):
            other = nodes.setdefault(node.target, node)
            if other.identity != node.identity:
                raise Refusal(
                    f"cannot attach two devices at {node.target}",
                    f"{other.key} and {node.key} name it",
                    "leave one of them out",
                    STEP,
                )
        if found is not None:
            mounts.update((one[0], one) for one in cdi.mounts(policy, account, device, found))
            variables.update(found[3])
    return Brought(tuple(nodes.values()), tuple(mounts.values()), tuple(variables.items()))

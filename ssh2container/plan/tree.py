"""The plan of a session's file tree.

A root overlay: the image below, and above it one memory file system that is limited in size and
inodes and holds everything writable. What only root can change is bound while the tree is built;
what the policy names and the user may have prepared is opened first and attached last.
"""

from __future__ import annotations

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import mounts

from . import tools
from .operations import filesystem as fs
from .operations import proc, volumes
from .operations.filesystem import BASE, ROOT, UPPER, WORK
from .upper import BENEATH, GENERATED, STAND_IN, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ssh2container.policy.policy import Policy

    from .host import Host
    from .insider import Insider
    from .operations import Operation
    from .sources import Source
    from .upper import Entry

AGENT = paths.RUNTIME + "/agent"
"""Where a session finds the client's agent."""

_NOSUID_NODEV = fs.NOSUID_NODEV
_ATTR_VOLUME = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
ATTR_FIXED = mounts.ATTR_RDONLY | _ATTR_VOLUME
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_TERMINALS_MAX = 32
SYSTEM_TARGETS = ("/dev", "/proc", "/sys", "/etc", paths.RUNTIME, "/usr")
"""Where no volume can be attached; /usr only where it is the host's."""


def build(policy: Policy, host: Host, who: Insider, generated: Mapping[str, bytes]) -> list[Operation]:
    """Return the operations that make the tree and enter it.

    generated: name below /etc -> content.
    Raises Refusal for a volume whose target would replace what holds the container together.
    """
    home = who.home
    for target in (*(one.target for one in policy.volumes), *(one.target for one in policy.tmpfs)):
        _refuse_system_target(target, host)
    opened: list[Operation] = [fs.MakeMountsPrivate()]
    attached: list[tuple[str, Operation]] = []
    for opening, attaching in _brought_in(policy, host, home):
        opened.append(opening)
        attached.append((attaching.target, attaching))
    own: list[Operation] = []
    if policy.home is None:
        own.append(volumes.OpenOwn("home", BASE + "/home"))
        attached.append((home, volumes.AttachOwn("home", home, "home")))
    for number, tmpfs in enumerate(policy.tmpfs):
        place, target = f"{BASE}/tmpfs{number}", tmpfs.target
        options = f"size={tmpfs.size},mode={tmpfs.mode:o},nr_inodes={tmpfs.inodes}"
        what = f"the memory file system {target}"
        own += [
            fs.MakeTree(what, ((place, None, None),)),
            fs.Mount("tmpfs", place, _NOSUID_NODEV, options, what, tmpfs.key),
            volumes.OpenOwn(target, place),
        ]
        attached.append((target, volumes.AttachOwn(target, target, tmpfs.key)))
    places = [(target, _is_directory(operation)) for target, operation in attached]
    nodes = [] if host.devices is None else host.devices.bring_in(opened, attached, places)
    return [
        *opened,
        *who.become_root(),
        _memory(policy),
        *prepare(host, who, generated, places, [] if host.commands is None else host.commands.links),
        _root(host),
        *(_host_image(host) if host.image.kind == "host" else _tree_image(host, who)),
        *_devices(who, nodes),
        fs.Mount("proc", ROOT + "/proc", _NOSUID_NODEV | mounts.MS_NOEXEC, "", "the session's own processes"),
        fs.BindTree(BASE + "/tmp", ROOT + "/tmp", _ATTR_VOLUME),
        *own,
        fs.PivotRoot(),
        *(operation for _, operation in sorted(attached, key=_depth)),
        *(proc.ProtectProc(path) for path in host.protected),
        *(proc.MaskFile(path) for path in host.masked_files),
        *(proc.MaskDirectory(path) for path in host.masked_directories),
    ]


def _brought_in(
    policy: Policy, host: Host, home: str
) -> Iterator[tuple[volumes.OpenVolume, volumes.AttachVolume]]:
    """Yield what opens each thing of the host that a session is given, and what attaches it."""
    for volume in policy.volumes:
        source = host.sources[volume.written]
        attributes = ATTR_FIXED if volume.read_only else _ATTR_VOLUME
        yield _pair(volume.target, source, volume.target, attributes, volume.key, directory=source.directory)
    if policy.home is not None and host.home is not None:
        attributes = ATTR_FIXED if policy.home.read_only else _ATTR_VOLUME
        yield _pair("home", host.home, home, attributes, "home", directory=True)
    if host.agent is not None:
        key = "allow_agent_forwarding"
        yield _pair("the agent", host.agent, AGENT, ATTR_FIXED, key, directory=False)
    if host.commands is not None:
        for what, found, target in host.commands.brought_in:
            yield _pair(what, found, target, ATTR_FIXED, "host_commands", directory=found.directory)


def _pair(
    what: str, source: Source, target: str, attributes: int, key: str, *, directory: bool
) -> tuple[volumes.OpenVolume, volumes.AttachVolume]:
    identity = source.identity
    return (
        volumes.OpenVolume(what, source.path, attributes, identity, key),
        volumes.AttachVolume(what, target, identity, directory=directory, key=key),
    )


def _depth(item: tuple[str, Operation]) -> tuple[int, str]:
    """Outer mount points before those inside them."""
    return item[0].count("/"), item[0]


def _is_directory(operation: Operation) -> bool:
    return not isinstance(operation, volumes.AttachVolume) or operation.directory


def _refuse_system_target(target: str, host: Host) -> None:
    for place in SYSTEM_TARGETS:
        if place == "/usr" and host.image.kind != "host":
            continue
        if target in ("/", place) or target.startswith(place + "/"):
            raise Refusal(
                f"cannot attach a volume at {target}",
                f"{place} is the container's own",
                "choose another target",
                "volume",
            )


def _memory(policy: Policy) -> Operation:
    size, inodes = policy.storage_opt.size, policy.storage_opt.inodes
    return fs.Mount(
        "tmpfs",
        BASE,
        _NOSUID_NODEV,
        f"size={size},nr_inodes={inodes},mode=755",
        "the one memory file system for everything writable",
        "storage_opt",
    )


def _root(host: Host) -> Operation:
    lower = host.skeleton
    if host.range is not None:
        lower = host.range.root
    elif host.image.kind != "host":
        lower += f":{host.image.root}:{lower}{BENEATH}"
    return fs.Mount(
        "overlay",
        ROOT,
        _NOSUID_NODEV,
        f"lowerdir={lower},upperdir={UPPER},workdir={WORK},userxattr",
        f"the root, the image {host.image.name} below and memory above",
        "image",
    )


def _host_image(host: Host) -> list[Operation]:
    return [
        # On the host's names, in this session's mount namespace: /usr takes them along, read-only.
        *(fs.Bind(host.skeleton + STAND_IN, path, "image") for path in host.stand_ins),
        *(() if host.commands is None else host.commands.over_host()),
        *(fs.BindTree("/" + name, f"{ROOT}/{name}", ATTR_FIXED, "image") for name in ("usr", *host.top)),
        *(fs.Bind(f"/etc/{name}", f"{BASE}/etc/{name}", "image") for name, _ in host.etc),
        fs.BindTree(BASE + "/etc", ROOT + "/etc", ATTR_FIXED, "image"),
    ]


def _tree_image(host: Host, who: Insider) -> list[Operation]:
    operations: list[Operation] = []
    if not who.ranged:
        operations.append(fs.BindTree(BASE + "/etc", ROOT + GENERATED, ATTR_FIXED, "image"))
    if host.tools is not None:
        operations.append(fs.BindTree(host.tools.path, ROOT + tools.INSIDE, ATTR_FIXED, "image"))
    return operations


def _devices(who: Insider, nodes: list[Entry]) -> list[Operation]:
    # The group tty, where it is mapped; else a terminal belongs to the user's own group.
    group = "gid=5," if who.ranged else ""
    made, dev = BASE + "/dev", ROOT + "/dev"
    entries: list[Entry] = [
        # 755: in a sticky directory of mode 1777 nobody could open a foreign node with O_CREAT.
        (made, 0o755, None),
        (f"{made}/pts", 0o755, None),
        (f"{made}/shm", 0o755, None),
        *((f"{made}/{name}", None, b"") for name in DEVICES),
        *((f"{made}/{name}", None, target) for name, target in DEVICE_LINKS.items()),
        *nodes,
    ]
    return [
        fs.MakeTree("mount points for devices", tuple(entries)),
        *(fs.Bind(f"/dev/{name}", f"{made}/{name}") for name in DEVICES),
        # Not nodev: that would make the nodes themselves useless.
        fs.BindTree(made, dev, mounts.ATTR_RDONLY | mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC),
        fs.Mount(
            "devpts",
            f"{dev}/pts",
            mounts.MS_NOSUID | mounts.MS_NOEXEC,
            f"newinstance,ptmxmode=0666,{group}mode=620,max={_TERMINALS_MAX}",
            "the session's own terminals",
        ),
        fs.BindTree(BASE + "/shm", f"{dev}/shm", _ATTR_VOLUME | mounts.ATTR_NOEXEC),
    ]

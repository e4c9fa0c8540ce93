"""The plan of a session's file tree.

A root overlay: the image below, and above it one memory file system that is limited in size and
inodes and holds everything writable. What only root can change is bound while the tree is built;
what the policy names and the user may have prepared is opened first and attached last.
"""

from __future__ import annotations

from ssh2container.errors import Refusal
from ssh2container.kernel import mounts
from ssh2container.policy import specifiers

from . import tools
from .operations import filesystem as fs
from .operations import proc, volumes
from .operations.filesystem import BASE, ROOT, UPPER, WORK
from .upper import GENERATED, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssh2container.policy.policy import Policy

    from .host import Host
    from .insider import Insider
    from .operations import Operation

AGENT = "/run/ssh2container/agent"
"""Where a session finds the client's agent."""

_NOSUID_NODEV = mounts.MS_NOSUID | mounts.MS_NODEV
_ATTR_VOLUME = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
_ATTR_FIXED = mounts.ATTR_RDONLY | _ATTR_VOLUME
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_TERMINALS_MAX = 64
SYSTEM_TARGETS = ("/dev", "/proc", "/sys", "/etc", "/run/ssh2container", "/usr")
"""Where no volume can be attached; /usr only where it is the host's."""


def build(
    policy: Policy, host: Host, who: Insider, generated: Mapping[str, bytes], values: Mapping[str, str]
) -> list[Operation]:
    """Return the operations that make the tree and enter it.

    generated: name below /etc -> content. values: what specifiers stand for.
    Raises Refusal for a volume whose target would replace what holds the container together.
    """
    home = who.home
    targets = {volume.target: specifiers.expand(volume.target, values) for volume in policy.volumes}
    extra = {tmpfs.target: specifiers.expand(tmpfs.target, values) for tmpfs in policy.tmpfs}
    for target in (*targets.values(), *extra.values()):
        _refuse_system_target(target, host)
    opened: list[Operation] = [fs.MakeMountsPrivate()]
    attached: list[tuple[str, Operation]] = []
    for volume in policy.volumes:
        source, target = host.sources[volume.target], targets[volume.target]
        key = "volumes." + volume.target
        attributes = _ATTR_FIXED if volume.read_only else _ATTR_VOLUME
        opened.append(volumes.OpenVolume(target, source.path, attributes, source.identity, key))
        attached.append(
            (
                target,
                volumes.AttachVolume(target, target, source.identity, directory=source.directory, key=key),
            )
        )
    if policy.home is not None and host.home is not None:
        attributes = _ATTR_FIXED if policy.home.read_only else _ATTR_VOLUME
        opened.append(volumes.OpenVolume("home", host.home.path, attributes, host.home.identity, "home"))
        attached.append(
            (home, volumes.AttachVolume("home", home, host.home.identity, directory=True, key="home"))
        )
    if host.agent is not None:
        key, target = "allow_agent_forwarding", AGENT
        opened.append(volumes.OpenVolume("the agent", host.agent.path, _ATTR_FIXED, host.agent.identity, key))
        attached.append(
            (
                target,
                volumes.AttachVolume("the agent", target, host.agent.identity, directory=False, key=key),
            )
        )
    own: list[Operation] = []
    if policy.home is None:
        own.append(volumes.OpenOwn("home", BASE + "/home"))
        attached.append((home, volumes.AttachOwn("home", home, "home")))
    for number, tmpfs in enumerate(policy.tmpfs):
        place, target = f"{BASE}/tmpfs{number}", extra[tmpfs.target]
        options = f"size={tmpfs.size},mode={tmpfs.mode:o}"
        what = f"the memory file system {target}"
        own += [
            fs.MakeTree(what, ((place, None, None),)),
            fs.Mount("tmpfs", place, _NOSUID_NODEV, options, what, "tmpfs." + tmpfs.target),
            volumes.OpenOwn(target, place),
        ]
        attached.append((target, volumes.AttachOwn(target, target, "tmpfs." + tmpfs.target)))
    places = [(target, _is_directory(operation)) for target, operation in attached]
    return [
        *opened,
        *who.become_root(),
        _memory(policy),
        *prepare(host, who, generated, places),
        _root(host),
        *(_host_image(host) if host.image.kind == "host" else _tree_image(host, who)),
        *_devices(who),
        fs.Mount("proc", ROOT + "/proc", _NOSUID_NODEV | mounts.MS_NOEXEC, "", "the session's own processes"),
        fs.BindTree(BASE + "/tmp", ROOT + "/tmp", _ATTR_VOLUME),
        *own,
        fs.PivotRoot(),
        *(operation for _, operation in sorted(attached, key=_depth)),
        *(proc.ProtectProc(path) for path in host.protected),
        *(proc.MaskFile(path) for path in host.masked_files),
        *(proc.MaskDirectory(path) for path in host.masked_directories),
    ]


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
        lower += ":" + host.image.root
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
        *(fs.BindTree("/" + name, f"{ROOT}/{name}", _ATTR_FIXED, "image") for name in ("usr", *host.top)),
        *(fs.Bind(f"/etc/{name}", f"{BASE}/etc/{name}", "image") for name, _ in host.etc),
        fs.BindTree(BASE + "/etc", ROOT + "/etc", _ATTR_FIXED, "image"),
    ]


def _tree_image(host: Host, who: Insider) -> list[Operation]:
    operations: list[Operation] = []
    if not who.ranged:
        operations.append(fs.BindTree(BASE + "/etc", ROOT + GENERATED, _ATTR_FIXED, "image"))
    if host.tools is not None:
        operations.append(fs.BindTree(host.tools.path, ROOT + tools.INSIDE, _ATTR_FIXED, "image"))
    return operations


def _devices(who: Insider) -> list[Operation]:
    # The group tty, where it is mapped; else a terminal belongs to the user's own group.
    group = "gid=5," if who.ranged else ""
    made, dev = BASE + "/dev", ROOT + "/dev"
    entries: list[tuple[str, int | None, bytes | str | None]] = [
        # 755: in a sticky directory of mode 1777 nobody could open a foreign node with O_CREAT.
        (made, 0o755, None),
        (f"{made}/pts", 0o755, None),
        (f"{made}/shm", 0o755, None),
        *((f"{made}/{name}", None, b"") for name in _DEVICES),
        *((f"{made}/{name}", None, target) for name, target in _DEVICE_LINKS.items()),
    ]
    return [
        fs.MakeTree("mount points for devices", tuple(entries)),
        *(fs.Bind(f"/dev/{name}", f"{made}/{name}") for name in _DEVICES),
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

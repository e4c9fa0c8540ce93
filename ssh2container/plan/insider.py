# Longer than 300 lines: every login imports all of it; each more module costs it time.
"""Who the payload is inside the container, and through which map of ids.

``single``: the user's own ids are mapped, to themselves or to 0; it needs no helper and no privilege.
``range``, ``own_range``: a real multi-user system. Ids from 0 up are a range of the host's
(:mod:`.ranges`), and the user's own stand at one that nothing in the image uses. newuidmap(1) writes it.
"""

from __future__ import annotations

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import mounts, signals

from .operations import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssh2container.policy.policy import Policy

    from .account import Account
    from .host import Host
    from .image import Image
    from .operations import Operation
    from .ranges import Range
    from .sources import Source

    Map = tuple[tuple[int, int, int], ...]
    """(first id inside, first id outside, count) lines, as in user_namespaces(7)."""

ROOT_CAPABILITIES = frozenset((0, 1, 3, 4, 5, 6, 7, 10, 18))
"""What root inside keeps in the range map: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID,
NET_BIND_SERVICE, SYS_CHROOT. They count over ids of the map alone. Never SYS_ADMIN, SYS_RESOURCE
(which would undo the limit on user namespaces), SETPCAP, SYS_PTRACE, MKNOD."""
ADDED_CAPABILITIES = {"NET_RAW": 13, "SETFCAP": 31}
"""What ``cap_add`` may give it besides: raw sockets of IP in a network of its own (the filter refuses packet
sockets), and capabilities on files, which count in its own namespace alone. What it never gets: see above."""
OF_A_SYSTEM = frozenset((8, 22))
"""What it keeps besides where the session is a whole system: SETPCAP, with which systemd takes capabilities
away from services, and none can be had that the bounding set lacks; SYS_BOOT, by which the kernel ends a
system's own pids alone (reboot(2), Behavior inside PID namespaces)."""
OF_ITS_NETWORK = frozenset((11,))
"""And what one with a network of its own keeps: NET_BROADCAST, which the kernel asks for nowhere (unused,
capabilities(7)). By it the system call filter knows who may listen to the kernel's events about devices
(etc/seccomp/default.json): on the host's network these would be the host's."""
_NO_HOMES = (
    "/bin/", "/boot/", "/dev/", "/etc/", "/lib/", "/lib64/", "/proc/", "/run/", "/sbin/", "/sys/", "/usr/",
)  # fmt: skip
"""Where system users have theirs (daemon in /usr/sbin): a session's home there would hide what is in them."""
_S_ISGID = 0o2000
SET_ID = 0o4000 | _S_ISGID
"""S_ISUID and S_ISGID, inode(7)."""
_PRIVATE_FS = mounts.MS_NOSUID | mounts.MS_NODEV


class Insider:
    """The payload's identity.

    name, group, uid, gid, home: as they are inside. uid_map, gid_map: the range map, () for single.
    capabilities: what pid 1 and the payload keep.
    """

    __slots__ = ("capabilities", "gid", "gid_map", "group", "home", "name", "uid", "uid_map")

    def __init__(
        self,
        name: str,
        group: str,
        uid: int,
        gid: int,
        home: str,
        *,
        uid_map: Map = (),
        gid_map: Map = (),
        capabilities: frozenset[int] = frozenset(),
    ) -> None:
        self.name = name
        self.group = group
        self.uid = uid
        self.gid = gid
        self.home = home
        self.uid_map = uid_map
        self.gid_map = gid_map
        self.capabilities = capabilities

    @property
    def ranged(self) -> bool:
        """Whether the container has a whole range of ids."""
        return bool(self.uid_map)

    def listed(self, account: Account, image: Image) -> Insider:
        """Return whom /etc/passwd has to name: the payload, or the login's own user in a range.

        There root and the others have their entries in the image.
        """
        if not self.ranged:
            return self
        own = image.inside_id
        return Insider(account.name, account.group, own, own, _home(account.home))

    def mapping(self, account: Account) -> list[Operation]:
        """Return pid 1's first operations: to be known by the right ids and hidden from tracers."""
        if self.ranged:
            from .operations import ranges

            return [ranges.AwaitMaps(), identity.HideFromTracers("pid 1")]
        return [
            identity.MapOwnIds(self.uid, account.uid, self.gid, account.gid, "user"),
            identity.HideFromTracers("pid 1"),
        ]

    def mapping_outside(self, *, through: bool = False) -> tuple[Operation, ...]:
        """Return what has to be done outside before pid 1 is known by any id.

        through: its user namespace is below one in which root has the range mapped already.
        """
        if not self.ranged:
            return ()
        from .operations import ranges

        kind = ranges.MapThrough if through else ranges.MapRange
        return (kind(self.uid_map, self.gid_map),)

    def become_root(self) -> list[Operation]:
        """Return what makes pid 1 root of its range, so that what it makes belongs to root inside."""
        return [*_become(0, 0)] if self.ranged else []

    def become_payload(self) -> list[Operation]:
        """Return what makes pid 1 the payload's user, before it gives up its capabilities."""
        return [*_become(self.uid, self.gid)] if self.ranged and self.uid else []


def user_of(policy: Policy, image: Image) -> str:
    """Return whom the session runs as: the policy's word, or the image's own where nobody wrote one."""
    if policy.ranged and image.user and policy.origin("user") is None:
        return "root" if image.user.partition(":")[0] in ("0", "root") else image.user
    return policy.user


def kept(policy: Policy, image: Image) -> frozenset[int]:
    """Return the capabilities that a session under ``policy`` keeps."""
    ranged_root = policy.ranged and user_of(policy, image) == "root"
    return of_root(policy) if ranged_root else frozenset()


def of_root(policy: Policy) -> frozenset[int]:
    """Return the capabilities of root in a range."""
    added = {ADDED_CAPABILITIES[name] for name in policy.cap_add if name in ADDED_CAPABILITIES}
    if policy.values["boot"]:
        added |= OF_A_SYSTEM if policy.network_mode == "host" else OF_A_SYSTEM | OF_ITS_NETWORK
    return ROOT_CAPABILITIES | added if added else ROOT_CAPABILITIES


def set_id_bits(kept: frozenset[int], writable: Iterable[Source]) -> int:
    """Return the set-ID bits that a session may set on files (inode(7)).

    A set-user-ID file gives its owner's uid to whoever executes it, on the host too, unless the file
    system that it lies on is mounted nosuid there. Root of a range needs the bits to install packages,
    and leaves them in its own memory. Of the others a directory of a group's may need S_ISGID.

    kept: the session's capabilities. writable: what of the host it can write to.
    """
    sources = [*writable]
    if not all(source.flags & mounts.MS_NOSUID for source in sources):
        return 0
    if kept:
        return SET_ID
    return _S_ISGID if sources else 0


def choose(account: Account, policy: Policy, host: Host) -> Insider:
    """Return who the payload is. Raises Refusal for an identity that the map does not have."""
    if policy.ranged:
        return _in_range(account, policy, host)
    if policy.user == "root":
        return Insider("root", "root", 0, 0, "/root")
    if policy.user != "self":
        raise Refusal(
            f"cannot run as {policy.user}",
            "the map has no id but the user's own",
            "a user of the image needs userns_mode: range",
            "identity-map",
        )
    return Insider(account.name, account.group, account.uid, account.gid, _home(account.home))


def _in_range(account: Account, policy: Policy, host: Host) -> Insider:
    image, own = host.image, host.range
    if own is None:
        raise Refusal(
            f"cannot map a range of ids over the image {image.name}",
            "the host's files belong to ids that are not in it",
            "name an imported image, or use userns_mode: single",
            "identity-map",
        )
    maps = [_map(own, image.inside_id, number) for number in (account.uid, account.gid)]
    if not own.own:
        _require_apart(policy, host, account, own)
    wanted = user_of(policy, image)
    if policy.cap_add and wanted != "root":
        raise Refusal(
            f"cannot give {wanted} capabilities",
            "they are root's, and whoever else had them could be nobody else inside",
            "user: root beside cap_add",
            "identity-map",
        )
    if wanted == "root":
        who = ("root", "root", 0, 0, "/root")
    elif wanted == "self":
        number = image.inside_id
        who = (account.name, account.group, number, number, _home(account.home))
    else:
        who = _of_image(image, wanted, own.count)
    return Insider(*who, uid_map=maps[0], gid_map=maps[1], capabilities=kept(policy, image))


def _map(ids: Range, inside: int, user: int) -> Map:
    """Return the map that has ``user``, an id of the host, at ``inside``."""
    return (
        (0, ids.base, inside),
        (inside, user, 1),
        (inside + 1, ids.base + inside + 1, ids.count - inside - 1),
    )


def _of_image(image: Image, wanted: str, count: int) -> tuple[str, str, int, int, str]:
    """Return the user that ``wanted`` means: OCI's USER[:GROUP], each a name or a number.

    A number needs no entry in the image's files: its group is then 0, as with every container engine.
    """
    user, _, group = wanted.partition(":")
    found = _entry(image.passwd, user, 6)
    who = (found[0], _id(found[2], count), _id(found[3], count), _home_inside(found[5])) if found else None
    if who is None and _id(user, count) >= 0:
        who = (user, _id(user, count), 0, _home(""))
    if who is not None and group:
        listed = _entry(image.group, group, 3)
        who = (*who[:2], _id(listed[2] if listed else group, count), who[3])
    if who is None or min(who[1:3]) < 0:
        raise Refusal(
            f"cannot run as {wanted}",
            f"the image {image.name} has no such user" + (" or group" if group else ""),
            "user: self, root, or a name of the image's /etc/passwd",
            "identity-map",
        )
    name, uid, gid, home = who
    listed = _entry(image.group, str(gid), 3)
    return name, listed[0] if listed else str(gid), uid, gid, home


def _entry(text: bytes, wanted: str, fields_needed: int) -> list[str] | None:
    """Return the fields of the line of passwd(5) or group(5) whose name or number is ``wanted``."""
    for line in text.splitlines():
        fields = line.decode("utf-8", "surrogateescape").split(":")
        if len(fields) >= fields_needed and wanted and wanted in fields[0:3:2]:
            return fields
    return None


def _id(text: str, count: int) -> int:
    """Return the number that ``text`` is, -1 for what is no id of a map of ``count``."""
    longest = 5  # digits of 65535; the text is an image's, and may be anything
    if text.isascii() and text.isdecimal() and len(text) <= longest and int(text) < count:
        return int(text)
    return -1


def _require_apart(policy: Policy, host: Host, account: Account, ids: Range) -> None:
    """Refuse what would let sessions that share host ids meet.

    That is the host's network, and a writable source in which root inside could leave files of others'
    ids, set-user-id even. Over an inode with an unmapped group root inside has no capability
    (user_namespaces(7)).
    """
    if policy.network_mode == "host":
        raise Refusal(
            "cannot map a range of ids on the host's network",
            "sessions of different users share host ids there",
            "use network_mode: none, or userns_mode: own_range",
            "identity-map",
        )
    writable: list[tuple[str, Source]] = [
        (volume.written, host.sources[volume.written]) for volume in policy.volumes if not volume.read_only
    ]
    if policy.home is not None and host.home is not None and not policy.home.read_only:
        writable.append(("home", host.home))
    for name, source in writable:
        if source.gid == account.gid or ids.base <= source.gid < ids.base + ids.count:
            raise Refusal(
                f"cannot bind {source.path} writable in a range of ids",
                f"its group {source.gid} is mapped, so that root inside could chown and chmod there",
                f"give it a group that the user is not in (chgrp nogroup {source.path}),"
                " or use userns_mode: own_range",
                "volume",
            )
        if source.flags & _PRIVATE_FS != _PRIVATE_FS:
            raise Refusal(
                f"cannot bind {source.path} ({name}) writable in a range of ids",
                "its file system honours set-user-id files or devices",
                "mount it nosuid,nodev on the host, or bind it read-only",
                "volume",
            )


def _become(uid: int, gid: int) -> Iterable[Operation]:
    from .operations import ranges

    # The kernel forgets the parent-death signal at any change of ids (PR_SET_PDEATHSIG).
    return ranges.BecomeIds(uid, gid), identity.DieWithParent(signals.SIGKILL, "pid 1")


def _home(path: str) -> str:
    return path if path not in ("", "/") else "/home"


def _home_inside(path: str) -> str:
    """Return the home that an image's line of passwd(5) names, unless it would hide a system there."""
    home = paths.normal(path)
    if not path.startswith("/") or (home + "/").startswith(_NO_HOMES):
        return "/home"
    return _home(home)

"""Who the payload is inside the container, and through which map of ids.

``single``: the user's own ids are mapped, to themselves or to 0; it needs no helper and no privilege.
``range``, ``own_range``: a real multi-user system. Ids from 0 up are a range of the host's
(:mod:`.ranges`), and the user's own stand at one that nothing in the image uses. newuidmap(1) writes it.
"""

from __future__ import annotations

from ssh2container.errors import Refusal
from ssh2container.kernel import mounts

from .operations import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssh2container.policy.policy import Policy

    from .account import Account
    from .host import Host, Source
    from .image import Image
    from .operations import Operation
    from .ranges import Range

    Map = tuple[tuple[int, int, int], ...]
    """(first id inside, first id outside, count) lines, as in user_namespaces(7)."""

ROOT_CAPABILITIES = frozenset((0, 1, 3, 4, 5, 6, 7, 10, 18))
"""What root inside keeps in the range map: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID,
NET_BIND_SERVICE, SYS_CHROOT. They count over ids of the map alone. Never SYS_ADMIN, SYS_RESOURCE
(which would undo the limit on user namespaces), SETPCAP, SYS_PTRACE, MKNOD."""
_SIGKILL = 9
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
            return [identity.AwaitMaps(), identity.HideFromTracers("pid 1")]
        return [
            identity.MapOwnIds(self.uid, account.uid, self.gid, account.gid, "user"),
            identity.HideFromTracers("pid 1"),
        ]

    def become_root(self) -> list[Operation]:
        """Return what makes pid 1 root of its range, so that what it makes belongs to root inside."""
        return [*_become(0, 0)] if self.ranged else []

    def become_payload(self) -> list[Operation]:
        """Return what makes pid 1 the payload's user, before it gives up its capabilities."""
        return [*_become(self.uid, self.gid)] if self.ranged and self.uid else []


def user_of(policy: Policy, image: Image) -> str:
    """Return whom the session runs as: the policy's word, or the image's own where nobody wrote one."""
    if policy.ranged and image.user and policy.origin("user") is None:
        return "root" if image.user.partition(":")[0] == "0" else image.user
    return policy.user


def kept(policy: Policy, image: Image) -> frozenset[int]:
    """Return the capabilities that a session under ``policy`` keeps."""
    ranged_root = policy.ranged and user_of(policy, image) == "root"
    return ROOT_CAPABILITIES if ranged_root else frozenset()


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
            "name an image of the store, or use userns_mode: single",
            "identity-map",
        )
    maps = [_map(own, image.inside_id, number) for number in (account.uid, account.gid)]
    if not own.own:
        _require_apart(policy, host, account, own)
    wanted = user_of(policy, image)
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


def _of_image(image: Image, name: str, count: int) -> tuple[str, str, int, int, str]:
    for line in image.passwd.splitlines():
        fields = line.decode("utf-8", "surrogateescape").split(":")
        # OCI's User is a name or a number, perhaps with a group behind a colon.
        if len(fields) > 5 and name.partition(":")[0] in fields[0:3:2]:  # noqa: PLR2004 - passwd(5)
            uid, gid = int(fields[2]), int(fields[3])
            if max(uid, gid) < count:
                return fields[0], _group(image, gid), uid, gid, _home(fields[5])
    raise Refusal(
        f"cannot run as {name}",
        f"the image {image.name} has no such user",
        "user: self, root, or a name of the image's /etc/passwd",
        "identity-map",
    )


def _group(image: Image, gid: int) -> str:
    for line in image.group.splitlines():
        fields = line.decode("utf-8", "surrogateescape").split(":")
        if len(fields) > 2 and fields[2] == str(gid):  # noqa: PLR2004 - group(5)
            return fields[0]
    return str(gid)


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
        (volume.target, host.sources[volume.target]) for volume in policy.volumes if not volume.read_only
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
    # The kernel forgets the parent-death signal at any change of ids (PR_SET_PDEATHSIG).
    return identity.BecomeIds(uid, gid), identity.DieWithParent(_SIGKILL, "pid 1")


def _home(path: str) -> str:
    return path if path not in ("", "/") else "/home"

"""Who logs in, by the kernel's word and the name service's, never by $USER."""

from __future__ import annotations

import grp
import posix as os
import pwd

from ssh2container import paths
from ssh2container.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Account:
    """A user of the host.

    groups: names of all groups, the primary one first; group: its name.
    gids: the same as numbers.
    home: the home directory on the host, which sessions see only as a path.
    """

    __slots__ = ("gid", "gids", "group", "groups", "home", "name", "uid")

    def __init__(
        self, name: str, uid: int, gid: int, home: str, gids: tuple[int, ...], groups: tuple[str, ...]
    ) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home
        self.gids = gids
        self.groups = groups
        self.group = groups[0] if groups else str(gid)

    @classmethod
    def current(cls, environment: Mapping[bytes, bytes]) -> Account:
        """Return the account that runs this process.

        Raises Refusal for uid 0, for a process of mixed ids, for a uid without an entry, and where
        the caller's LOGNAME is another name of the same uid: two names on one uid share every
        policy, process and file, so neither could be told from the other.
        """
        uid, gid = os.getuid(), os.getgid()
        if uid == 0:
            raise Refusal(
                "cannot run as root",
                "root cannot be contained by its own login shell",
                "an administrator gets a shell as a user with: su -s /bin/bash - NAME",
                "account",
            )
        if (uid, gid) != (os.geteuid(), os.getegid()):
            raise Refusal("cannot run with mixed ids", "real and effective ids differ", "", "account")
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            raise Refusal(
                f"cannot find uid {uid}", "no passwd entry names it", "ask the administrator", "account"
            ) from None
        _refuse_second_name(entry.pw_name, uid, environment)
        gids = (gid, *sorted(set(os.getgroups()) - {gid}))
        groups = tuple(name for name in map(_group_name, gids) if name)
        home = entry.pw_dir if entry.pw_dir.startswith("/") else "/"
        return cls(entry.pw_name, uid, gid, home, gids, groups)

    @classmethod
    def named(cls, name: str) -> Account:
        """Return the account ``name``, for the administrator's tools. Raises Refusal if there is none."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise Refusal(f"there is no user {name}", "", "", "account") from None
        gid = entry.pw_gid
        gids = (gid, *sorted(set(os.getgrouplist(name, gid)) - {gid}))
        groups = tuple(group for group in map(_group_name, gids) if group)
        return cls(entry.pw_name, entry.pw_uid, gid, entry.pw_dir, gids, groups)


def _refuse_second_name(name: str, uid: int, environment: Mapping[bytes, bytes]) -> None:
    claimed = paths.fsdecode(environment.get(b"LOGNAME", b""))
    if not claimed or claimed == name:
        return
    try:
        other = pwd.getpwnam(claimed).pw_uid
    except (KeyError, ValueError):
        return
    if other == uid:
        raise Refusal(
            f"cannot tell {claimed} from {name}",
            f"both have uid {uid}",
            "give each user a uid of their own",
            "account",
        )


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""

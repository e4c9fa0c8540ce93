"""Who logs in, by the kernel's word and the name service's, never by $USER."""

from __future__ import annotations

import grp
import posix as os
import pwd

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


_FIELDS = 7
"""Of a line in passwd(5)."""
_MOST_OF_PASSWD = 1 << 20


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

        Raises SessionError where the name service does not answer, and Refusal for uid 0, for a
        process of mixed ids, for a uid without an entry, and where the caller's LOGNAME is another
        name of the same uid: two names on one uid share every policy, process and file, so neither
        could be told from the other.
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
            names.require_unknown(names.USER, None, uid)
            raise Refusal(
                f"cannot find uid {uid}", "no passwd entry names it", "ask the administrator", "account"
            ) from None
        _refuse_second_name(entry.pw_name, uid, environment)
        _refuse_local_namesake(entry.pw_name, uid)
        gids = (gid, *sorted(set(os.getgroups()) - {gid}))
        groups = tuple(name for name in map(_group_name, gids) if name)
        home = entry.pw_dir if entry.pw_dir.startswith("/") else "/"
        return cls(entry.pw_name, uid, gid, home, gids, groups)

    @classmethod
    def named(cls, name: str) -> Account:
        """Return the account ``name``, for the administrator's tools. Raises Refusal if there is none.

        Raises SessionError where the name service does not answer.
        """
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            names.require_unknown(names.USER, name)
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
    except ValueError:
        return
    except KeyError:
        names.require_unknown(names.USER, claimed)
        return
    if other == uid:
        raise Refusal(
            f"cannot tell {claimed} from {name}",
            f"both have uid {uid}",
            "give each user a uid of their own",
            "account",
        )


def _refuse_local_namesake(name: str, uid: int) -> None:
    """Refuse where /etc/passwd has another name of the same uid that gets any shell.

    That name never comes here when its shell is the host's; but its processes could trace this session's,
    and write what it starts from. A directory is not asked for all its users at each login.
    """
    text, number = _passwd(), str(uid).encode()
    at = text.find(b":" + number + b":")
    while at >= 0:
        start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
        fields = text[start : end if end >= 0 else len(text)].split(b":")
        is_another = len(fields) == _FIELDS and fields[2] == number and fields[0] != paths.fsencode(name)
        if is_another and fields[6].rpartition(b"/")[2] not in (b"nologin", b"false"):
            raise Refusal(
                f"cannot tell {name} from {paths.fsdecode(fields[0])}",
                f"both have uid {uid}",
                "give each user a uid of their own",
                "account",
            )
        at = text.find(b":" + number + b":", at + 1)


def _passwd() -> bytes:
    """Return /etc/passwd, as far as it is read in one go; b"" where there is none."""
    try:
        descriptor = os.open("/etc/passwd", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _MOST_OF_PASSWD)
    finally:
        os.close(descriptor)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        names.require_unknown(names.GROUP, None, gid)
        return ""

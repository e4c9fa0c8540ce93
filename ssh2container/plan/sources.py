"""What a policy brings in of the host: where it really lies, and what is to be done where it cannot be had.

Nothing here is bound yet: :class:`.operations.volumes.OpenVolume` opens it again, and expects the same.
"""

from __future__ import annotations

import _stat as stat
import posix as os

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.kernel import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssh2container.policy.policy import Home

    from .account import Account

_MISSING = "create it, or correct the policy"
_DEAD = frozenset((5, 19, 103, 107, 108, 110, 111, 112, 113, 116, 121))
"""EIO, ENODEV, ECONNABORTED, ENOTCONN, ESHUTDOWN, ETIMEDOUT, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, ESTALE,
EREMOTEIO: what a file system says whose server is gone (errno(3))."""
_LINKS_LIMIT = 40  # as in path_resolution(7)


class Source:
    """Something of the host that a volume brings in.

    path: without symbolic links. identity: (device, inode) seen there.
    gid: its group. flags: those of its file system (statvfs(3)).
    """

    __slots__ = ("directory", "flags", "gid", "identity", "path")

    def __init__(
        self, path: str, identity: tuple[int, int], *, directory: bool, gid: int = 0, flags: int = 0
    ) -> None:
        self.path = path
        self.identity = identity
        self.directory = directory
        self.gid = gid
        self.flags = flags


def that_answer(sources: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``sources`` that somebody else may serve. Raises SessionError for one that hangs."""
    over = [source for source in sources if source[:1] == "/" and mounts.leads_over_a_mount(source)]
    if not over:
        return ()
    from ssh2container.kernel import answering

    return answering.require(over)


def home_source(home: Home, account: Account) -> Source:
    """Return the kept home. Raises Refusal with what makes it one that a login can use."""
    path = home.source or ""
    below = f"{account.home.rstrip('/')}/"
    missing = f"run: ssh2containerctl enable {account.name}"
    if "%i" in home.written:
        missing = _MISSING
    elif path.startswith(below):
        missing = f"write it as %h/{path.removeprefix(below)} in home.source: the first login then creates it"
    return source("home", path, account, missing)


def _require_home(path: str, status: os.stat_result, account: Account) -> None:
    """Raise Refusal for what stands where the home should be, with what mends it."""
    what = f"cannot use {path} as the home"
    if not stat.S_ISDIR(status.st_mode):
        remedy = f"an administrator moves it away, then: ssh2containerctl enable {account.name}"
        raise Refusal(what, "it is not a directory", remedy, step="volume")
    if status.st_uid != account.uid:
        raise Refusal(
            what,
            f"it belongs to uid {status.st_uid}, not to {account.name}",
            f"if it is {account.name}'s, an administrator runs: chown -R {account.name}: {path}",
            step="volume",
        )
    if not status.st_mode & stat.S_IXUSR:
        why = f"its mode {stat.S_IMODE(status.st_mode):04o} keeps {account.name} out"
        raise Refusal(what, why, f"run: chmod u+rx {path}", step="volume")


def source(what: str, path: str, account: Account, missing: str = _MISSING) -> Source:
    """Return where ``path`` leads. Raises Refusal for what cannot be bound, with what to do about it.

    what: the name by which people know it; "home" has to be the user's own. missing: what to do where
    there is nothing.
    """
    real, status = resolve(what, path, missing)
    if what == "home":
        _require_home(path, status, account)
    directory = stat.S_ISDIR(status.st_mode)
    if not (directory or stat.S_ISREG(status.st_mode) or stat.S_ISSOCK(status.st_mode)):
        raise Refusal(
            f"cannot bind {path}", "it is neither a directory nor a file nor a socket", step="volume"
        )
    try:
        flags = os.statvfs(real).f_flag
    except OSError as error:
        raise _unreachable(what, path, real, error, missing) from None
    return Source(real, (status.st_dev, status.st_ino), directory=directory, gid=status.st_gid, flags=flags)


def _unreachable(what: str, path: str, at: str, error: OSError, missing: str) -> Refusal:
    """Return why the source ``path`` cannot be had, which fails ``at`` a place on the way to it.

    missing: what to do where it is simply not there.
    """
    remedy = missing
    if isinstance(error, PermissionError):
        remedy = f"let the user pass through {paths.parent(at)}, or correct the policy"
    elif error.errno in _DEAD:
        from ssh2container.kernel import answering

        place = answering.mount_point(at)
        remedy = (
            "its file system does not answer; an administrator remounts it:"
            f" umount --lazy {place} && mount {place}"
        )
    return Refusal(
        f"cannot find the source of {what}, {path}",
        error.strerror or "",
        remedy,
        step="volume",
        number=error.errno or 0,
    )


def resolve(what: str, path: str, missing: str) -> tuple[str, os.stat_result]:
    """Follow ``path`` to a place without symbolic links; ``missing`` says what to do when there is none.

    what: the name by which people know it. Raises Refusal.

    Root may use links on the way to a source; a link in a directory that anybody else can write to
    could lead anywhere tomorrow (CVE-2024-42472) and is refused.
    """
    if not path.startswith("/"):
        raise Refusal(f"cannot bind {path}", "the path is not absolute", step="volume")
    current, todo, links, trusted = "", path.split("/")[::-1], 0, True
    status = os.stat("/")
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            current = current.rpartition("/")[0]
            status = os.stat(current or "/")
            continue
        try:
            entry = os.lstat(f"{current}/{name}")
        except OSError as error:
            raise _unreachable(what, path, f"{current}/{name}", error, missing) from None
        trusted = trusted and status.st_uid == 0 and not status.st_mode & 0o022
        if not stat.S_ISLNK(entry.st_mode):
            current, status = f"{current}/{name}", entry
            continue
        links += 1
        if links > _LINKS_LIMIT or not trusted:
            raise Refusal(
                f"cannot use the source of {what}, {path}",
                f"{current}/{name} is a symbolic link that users other than root can change",
                "name the place it should lead to in the policy",
                step="volume",
            )
        target = os.readlink(f"{current}/{name}")
        todo.extend(target.split("/")[::-1])
        if target.startswith("/"):
            current, status = "", os.stat("/")
    return current or "/", status

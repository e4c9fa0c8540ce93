"""A partner of the session's, outside: what a process of the user's uid can do there to what others execute.

Sessions with a range of ids have an image's tree that belongs to ids which the user is root of. Whether such
a tree yields is a matter of the mount that it is seen through, wherever the process is that tries: inside it
would use a descriptor of the same mount, handed over in a shared volume. So the partner tries, before the
session starts, with the same map of ids and every capability over it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, NoReturn

from ssh2container.admin.verify.calls import AT_FDCWD, call
from ssh2container.kernel import libc, mounts, namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.plan.operations.ranges import MapRange
    from ssh2container.plan.ranges import Range

    Answers = list[tuple[str, str]]
    """(what was tried, name of the errno); SUCCEEDED where it went through."""

SUCCEEDED = "succeeded"
_NAMESPACES = namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS
HIDDEN = "/var/lib/ssh2container/images/shifted"
"""Where the trees lie; root alone can enter it."""
_MOST_LOOKED_AT = 3000
_SEALED = mounts.ATTR_RDONLY | mounts.ATTR_NOSUID | mounts.ATTR_NODEV


def tried(ids: Range, maps: MapRange | None, hidden: str = HIDDEN) -> Answers:
    """Return what a partner can do to the tree of ``ids``.

    maps: that of the sessions, None to try as the plain user. hidden: where the tree itself lies.
    """
    reader, writer = os.pipe()
    go, went = os.pipe()
    child, pidfd = namespaces.clone(_NAMESPACES) if maps is not None else (os.fork(), -1)
    if child == 0:
        os.close(went)
        _be_the_partner(ids.root, hidden, go, writer)
    os.close(writer)
    os.close(go)
    if pidfd >= 0:
        os.close(pidfd)
    if maps is not None:
        namespaces.map_range(child, maps.uid_map, maps.gid_map)
    os.write(went, b"g" if maps is not None else b"-")
    os.close(went)
    said = b""
    while piece := os.read(reader, 65536):
        said += piece
    os.close(reader)
    os.waitpid(child, 0)
    return [(str(what), str(how)) for what, how in json.loads(said or b'[["to try at all", "no answer"]]')]


def _be_the_partner(tree: str, hidden: str, go: int, writer: int) -> NoReturn:
    answers: Answers = []
    try:
        if os.read(go, 1) == b"g":
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        for what, attempt in _attempts(tree, hidden):
            try:
                attempt()
            except OSError as error:
                answers.append((what, errno.errorcode.get(error.errno or 0, str(error))))
            else:
                answers.append((what, SUCCEEDED))
        os.write(writer, json.dumps(answers).encode())
    finally:
        os._exit(0)


def _attempts(tree: str, hidden: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield ways to change a program of the tree; what protects it is undone first, as far as it yields."""
    yield "open where the tree lies", lambda: os.open(f"{hidden}/trees", os.O_PATH)
    victim = _program(tree)
    handle = os.open(victim, os.O_PATH)
    yield from _changes(victim, handle, "")
    yield "make its mount writable", lambda: _loosen(tree)
    yield (
        "remount it writable",
        lambda: libc.syscall("mount", None, os.fsencode(tree) + b"\0", None, mounts.MS_BIND | 0x20, None),
    )
    yield "take what covers the tree away", lambda: call("umount2", os.fsencode(tree) + b"\0", 0)
    copies: list[int] = []
    yield "make a writable copy of its mount", lambda: copies.append(_loosened_copy(tree))
    for copy in copies:
        inside = os.path.relpath(victim, tree)
        yield from _changes(f"/proc/self/fd/{copy}/{inside}", handle, " in the copy")
    yield from _changes(victim, handle, " after that")


def _changes(victim: str, handle: int, when: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield ways to change ``victim``; what succeeds is undone at once."""
    path = os.fsencode(victim) + b"\0"
    by_handle = f"/proc/self/fd/{handle}".encode() + b"\0"
    yield f"chmod a program{when}", lambda: _chmod(path)
    yield f"chmod it by a descriptor{when}", lambda: _chmod(by_handle)
    yield f"write to it{when}", lambda: os.close(os.open(victim, os.O_WRONLY))
    yield f"set an attribute{when}", lambda: _mark(victim)
    yield f"make a program beside it{when}", lambda: _make(f"{os.path.dirname(victim)}/verify-program")


def _chmod(path: bytes) -> None:
    mode = stat.S_IMODE(os.stat(path[:-1]).st_mode)
    call("fchmodat", AT_FDCWD, path, mode | stat.S_ISUID)
    call("fchmodat", AT_FDCWD, path, mode)


def _mark(path: str) -> None:
    os.setxattr(path, "user.verify", b"1")
    os.removexattr(path, "user.verify")


def _make(path: str) -> None:
    os.mknod(path, 0o100755)
    os.unlink(path)


def _program(tree: str) -> str:
    """Return a program of the tree: a plain file that may be executed."""
    looked = 0
    for place, _, names in os.walk(tree):
        for name in names:
            found = os.lstat(f"{place}/{name}")
            if stat.S_ISREG(found.st_mode) and found.st_mode & 0o111:
                return f"{place}/{name}"
            looked += 1
            if looked > _MOST_LOOKED_AT:
                break
    raise OSError(errno.ENOENT, "the tree has no program")


def _loosen(tree: str) -> None:
    handle = os.open(tree, os.O_PATH)
    try:
        _clear(handle)
    finally:
        os.close(handle)


def _loosened_copy(tree: str) -> int:
    copy = mounts.clone_tree(tree, recursive=False)
    _clear(copy)
    return copy


def _clear(handle: int) -> None:
    request = bytes(8) + _SEALED.to_bytes(8, "little") + bytes(16)
    call("mount_setattr", handle, b"\0", mounts.AT_EMPTY_PATH, request, len(request))

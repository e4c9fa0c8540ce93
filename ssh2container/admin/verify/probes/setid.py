"""Set-ID bits: no file that a session leaves on the host gives its ids to who executes it there."""

from __future__ import annotations

import os
import socket
import stat
from errno import EEXIST, ENOSYS, ENOTSUP, EOPNOTSUPP, EPERM
from typing import TYPE_CHECKING

from ssh2container.admin.verify.calls import AT_FDCWD, call, words
from ssh2container.admin.verify.probe import refusal, require
from ssh2container.admin.verify.probes.files import GROUP
from ssh2container.admin.verify.verdicts import Escaped, Skipped
from ssh2container.kernel import libc

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.verify.surroundings import Surroundings

_MODE = 0o755
_O_TMPFILE = 0o20200000
_HIGH = 1 << 32
"""The kernel reads a mode and the flags as 32 bits or less (CVE-2019-10063)."""


def _changed(path: str, bit: int, change: Callable[[bytes, int, int], object]) -> None:
    """Make a plain file, then change its mode: (its path, its descriptor, the mode)."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE)
    try:
        change(os.fsencode(path) + b"\0", handle, _MODE | bit)
    finally:
        os.close(handle)


def _unnamed(path: str, bit: int) -> None:
    """Make a file without a name with the bit, then link it to ``path``."""
    directory = os.fsencode(os.path.dirname(path)) + b"\0"
    handle = call("openat", AT_FDCWD, directory, _O_TMPFILE | os.O_RDWR, _MODE | bit)
    os.link(f"/proc/self/fd/{handle}", path, follow_symlinks=True)


def _bound(path: str, bit: int) -> None:
    """Make the file of a socket, whose mode is that of the socket (unix(7))."""
    with socket.socket(socket.AF_UNIX) as listener:
        os.fchmod(listener.fileno(), _MODE | bit)
        listener.bind(path)


_BY_CHANGE: dict[str, Callable[[bytes, int, int], object]] = {
    "chmod": lambda path, _, mode: call("chmod", path, mode),
    "chmod, high bits": lambda path, _, mode: call("chmod", path, mode | _HIGH),
    "fchmod": lambda _, handle, mode: call("fchmod", handle, mode),
    "fchmodat": lambda path, _, mode: call("fchmodat", AT_FDCWD, path, mode),
    "fchmodat2": lambda path, _, mode: call("fchmodat2", AT_FDCWD, path, mode, 0),
    "fchmod of a descriptor's path": lambda _, handle, mode: os.chmod(f"/proc/self/fd/{handle}", mode),
}
_BY_MAKING: dict[str, Callable[[str, int], object]] = {
    "open": lambda path, bit: call("open", os.fsencode(path) + b"\0", os.O_CREAT | os.O_WRONLY, _MODE | bit),
    "openat": lambda path, bit: call(
        "openat", AT_FDCWD, os.fsencode(path) + b"\0", os.O_CREAT | _HIGH, _MODE | bit | _HIGH
    ),
    "openat without a name": _unnamed,
    "openat2": lambda path, bit: call(
        "openat2", AT_FDCWD, os.fsencode(path) + b"\0", words(os.O_CREAT | os.O_WRONLY, _MODE | bit, 0), 24
    ),
    "creat": lambda path, bit: call("creat", os.fsencode(path) + b"\0", _MODE | bit),
    "mknod": lambda path, bit: call("mknod", os.fsencode(path) + b"\0", stat.S_IFREG | _MODE | bit, 0),
    "mknodat": lambda path, bit: call(
        "mknodat", AT_FDCWD, os.fsencode(path) + b"\0", stat.S_IFREG | _MODE | bit, 0
    ),
    "bind": _bound,
}


def _excuse(surroundings: Surroundings) -> str:
    return (
        "userns_mode"
        if surroundings.policy.ranged
        else "home.source"
        if surroundings.policy.home
        else "volumes"
    )


def _attempt(surroundings: Surroundings, make: Callable[[str, int], object]) -> str:
    os.umask(0)
    answers = []
    for bit in (stat.S_ISUID, stat.S_ISGID):
        path = f"{surroundings.home}/.verify-set-id-{bit:o}"
        try:
            answers.append(refusal(lambda bit=bit, path=path: make(path, bit), (EPERM, ENOSYS), (EEXIST,)))  # type: ignore[misc]
        except Escaped as hole:
            if not os.path.lexists(path):
                answers.append(str(hole))  # refused for a reason of the file system's own
                continue
            mode = os.lstat(path).st_mode
            if mode & bit:
                raise Escaped(
                    f"{path} has mode {mode:o}", excusable=bool(surroundings.set_id_bits & bit)
                ) from None
            answers.append(f"made without the bit: {mode:o}")
        finally:
            if os.path.lexists(path):
                os.unlink(path)
    return ", ".join(answers)


for _name, _change in _BY_CHANGE.items():

    @GROUP.check(f"a set-ID bit by {_name}", "chmod(2), execve(2)", excuse=_excuse)
    def _by_change(surroundings: Surroundings, change: Callable[[bytes, int, int], object] = _change) -> str:
        _need_home(surroundings)
        return _attempt(surroundings, lambda path, bit: _changed(path, bit, change))


for _name, _make in _BY_MAKING.items():

    @GROUP.check(f"a file with a set-ID bit by {_name}", "open(2), mknod(2), execve(2)", excuse=_excuse)
    def _by_making(surroundings: Surroundings, make: Callable[[str, int], object] = _make) -> str:
        _need_home(surroundings)
        return _attempt(surroundings, make)


def _need_home(surroundings: Surroundings) -> None:
    if not os.access(surroundings.home, os.W_OK):
        raise Skipped("the home cannot be written")


@GROUP.check("a directory takes the group of the one above it", "mkdir(2), S_ISGID", works=True)
def _inherits(surroundings: Surroundings) -> str:
    _need_home(surroundings)
    path = f"{surroundings.home}/.verify-directory"
    os.mkdir(path, 0o7777)
    try:
        mode = os.stat(path).st_mode
        above = os.stat(surroundings.home).st_mode
        require(not mode & stat.S_ISUID, f"mkdir kept the bit: {mode:o}")
        require(mode & stat.S_ISGID == above & stat.S_ISGID, f"{mode:o} below {above:o}")
        return f"{mode:o}"
    finally:
        os.rmdir(path)


@GROUP.check("what of /usr is in memory", "preadv2(2), RWF_NOWAIT; CVE-2019-5489", calls=("preadv2",))
def _page_cache(_: Surroundings) -> str:
    """Try the second way of the attack of 2019; the first, mincore(2), needs the right to write."""
    path = next((path for path in ("/usr/bin/env", "/bin/busybox", "/bin/sh") if os.path.isfile(path)), "")
    if not path:
        raise Skipped("the image has no program that is known here")
    with open(path, "rb") as file:
        for offset in (0, _HIGH):
            buffer = bytearray(4096)
            vector = words(libc.address(buffer), len(buffer))
            refusal(
                lambda vector=vector, offset=offset: call(  # type: ignore[misc]
                    "preadv2", file.fileno(), vector, 1, offset, offset >> 32, os.RWF_NOWAIT
                ),
                (EOPNOTSUPP, ENOTSUP, EPERM, ENOSYS),
            )
    return "ENOTSUP"

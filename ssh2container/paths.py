"""Names of files: as the kernel's bytes and as text, and their parts; those that several rooms share.

What ``os`` does with its abstract classes costs a login 1 ms, so the modules of a session call ``posix``,
on which it stands; this is the rest of it that they need.
"""

from __future__ import annotations

import posix
import sys

RUNTIME = "/run/ssh2container"
"""Outside: what a boot of the host keeps, each user's directory below it. Inside: what a session is given."""
GENERATED = RUNTIME + "/etc"
"""Inside: account files made for the session, where an image's own are links to them."""
TOOLS = RUNTIME + "/tools"
"""Inside: the host's transfer programs."""
LOGIN_SHELL = "/usr/bin/ssh2container"
"""The login shell, as it stands in passwd: the one path that never changes with a version."""
COLLECTOR = RUNTIME + "/record.socket"
"""Outside: where recordings are handed over."""

WELCOMED = ".welcomed"
"""Outside: the greeting that a user was shown last, in the user's directory."""
EXPOSED = b"/tmp/sshauth."
"""Outside: how the files begin in which sshd tells how a client was authenticated (ExposeAuthInfo)."""
CGROUPS = "/sys/fs/cgroup"
"""Outside and inside: where the tree of control groups is mounted (cgroups(7))."""
RESOLV_CONF = "/etc/resolv.conf"
"""Outside and inside: which name servers are asked (resolv.conf(5))."""

_CODING = sys.getfilesystemencoding(), "surrogateescape"
_TYPE, _DIRECTORY = 0o170000, 0o040000  # inode(7)


def fsencode(name: str) -> bytes:
    """Return ``name`` as the kernel has it (PEP 383)."""
    return name.encode(*_CODING)


def fsdecode(name: bytes) -> str:
    """Return the kernel's ``name`` as text; bytes that are none become lone surrogates (PEP 383)."""
    return name.decode(*_CODING)


def parent(path: str) -> str:
    """Return the directory of ``path``, an absolute path without a slash at its end."""
    return path.rpartition("/")[0] or "/"


def basename(path: str) -> str:
    """Return what follows the last slash of ``path``."""
    return path.rpartition("/")[2]


def normal(path: str) -> str:
    """Return an absolute ``path`` without empty parts, ``.`` and ``..``; links are not looked at."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept)


def exists(path: str | bytes) -> bool:
    """Tell whether there is something under the name ``path``, be it a link that leads nowhere."""
    try:
        posix.lstat(path)
    except (OSError, ValueError):
        return False
    return True


def is_directory(path: str | bytes) -> bool:
    """Tell whether ``path`` leads to a directory."""
    try:
        return posix.stat(path).st_mode & _TYPE == _DIRECTORY
    except (OSError, ValueError):
        return False

"""The skeletons: trees of empty mount points, owned by root, that lie over an image.

Everything a session mounts on has to exist, as a real directory or file, whatever the image
contains there: a link at /proc or /etc/passwd in a hostile image is covered by ours. The installer
builds them beside the code (``/usr/lib/ssh2container/VERSION/skeleton``).
"""

from __future__ import annotations

import os

_COMMON = ("dev", "etc", "home", "proc", "run", "sys", "tmp", "var")
_HOST = (
    "media",
    "mnt",
    "opt",
    "root",
    "srv",
    "usr",
    "var/cache",
    "var/lib",
    "var/log",
    "var/mail",
    "var/spool",
)
_TOP = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_GENERATED = ("passwd", "group", "hosts", "hostname", "nsswitch.conf", "resolv.conf")


def build(directory: str, root: str = "/") -> None:
    """Make ``directory``/host and ``directory``/tree; what is there already stays as it is.

    root: the host's root, whose layout (merged /usr or not) the skeleton ``host`` repeats.
    Raises OSError.
    """
    for name in (*_COMMON, *_HOST):
        os.makedirs(f"{directory}/host/{name}", 0o755, exist_ok=True)
    for name in _COMMON:
        os.makedirs(f"{directory}/tree/{name}", 0o755, exist_ok=True)
    for name in _TOP:
        there, here = os.path.join(root, name), f"{directory}/host/{name}"
        if os.path.islink(there):
            _link(os.readlink(there), here)
        elif os.path.isdir(there):
            os.makedirs(here, 0o755, exist_ok=True)
    _link("/run", f"{directory}/host/var/run")
    _link("/run/lock", f"{directory}/host/var/lock")
    _link("/proc/self/mounts", f"{directory}/host/etc/mtab")
    for name in _GENERATED:
        _link(f"/run/ssh2container/etc/{name}", f"{directory}/tree/etc/{name}")
    _link("/proc/self/mounts", f"{directory}/tree/etc/mtab")


def _link(target: str, path: str) -> None:
    if not os.path.islink(path):
        os.symlink(target, path)
    elif os.readlink(path) != target:
        replacement = path + ".new"
        os.symlink(target, replacement)
        os.replace(replacement, path)

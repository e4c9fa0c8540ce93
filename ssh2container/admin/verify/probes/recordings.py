"""Recordings of the session in a directory of the user's: out of its own reach (part of the group of files).

Who could write there would change what was recorded, or lead the next recording elsewhere by a link.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.verify.probes.files import GROUP
from ssh2container.admin.verify.probes.mountinfo import mountinfo
from ssh2container.admin.verify.verdicts import Escaped, Skipped, Weak

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.verify.surroundings import Surroundings

_MOST_LOOKED_AT = 20_000
_NOT_FILES = {"proc", "sysfs", "devpts", "mqueue", "cgroup2", "overlay"}


@GROUP.check("the recordings are out of the session's reach", "symlink(7); record.directory", works=True)
def _recordings(surroundings: Surroundings) -> str:
    """Search by what a directory is: inside it may have any name, and a part of the way to it is enough."""
    if not surroundings.recordings:
        raise Skipped("nothing is recorded in a directory of the user's")
    looked = 0
    for path, identity in _directories():
        looked += 1
        if looked > _MOST_LOOKED_AT:
            raise Weak(f"not among the first {_MOST_LOOKED_AT} directories")
        outside = surroundings.recordings.get(identity)
        if outside is not None:
            _try_to_plant(path, outside)
    return f"in none of {looked} directories"


def _directories() -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield every directory of the session's mounts, with what it is."""
    for mount in mountinfo():
        if mount.kind in _NOT_FILES or mount.point.startswith(("/usr", "/proc", "/dev")):
            continue
        for place, _, _ in os.walk(mount.point):
            status = os.stat(place)
            yield place, (status.st_dev, status.st_ino)


def _try_to_plant(path: str, outside: str) -> None:
    """Raise Escaped where a link can be made in ``path``; a directory that can only be seen is none."""
    link = f"{path}/verify-link"
    try:
        # Undo what may protect it, as its owner can.
        os.chmod(path, os.stat(path).st_mode & 0o7777 | 0o700)
    except OSError:
        pass
    try:
        os.symlink("/etc", link)
    except OSError:
        return
    os.unlink(link)
    raise Escaped(f"links can be planted in {path}, which is {outside} on the host")

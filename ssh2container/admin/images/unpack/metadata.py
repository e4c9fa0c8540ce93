"""What a session has to know about a tree, gathered once: accounts, transfer programs, a free id."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from ssh2container.admin.images import ownership
from ssh2container.admin.images.manifest import Line
from ssh2container.errors import Refusal
from ssh2container.kernel import mounts
from ssh2container.plan.program import SFTP_SERVERS

PROGRAMS = {
    "sftp-server": SFTP_SERVERS,
    **{
        name: tuple(
            f"{directory}/{name}" for directory in ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin")
        )
        for name in ("scp", "rsync", "git-upload-pack", "git-receive-pack", "git-upload-archive")
    },
}
"""Transfer programs, and where distributions put them."""

_ACCOUNTS_LIMIT = 1 << 20
_LONGEST_ID_DIGITS = 10  # 2**32
_FIRST_FREE, _LAST_FREE = 1000, 59999


class Facts(NamedTuple):
    """What the record of an image holds besides its defaults; the names are plan.image.Image's."""

    passwd: bytes
    group: bytes
    programs: tuple[tuple[str, str], ...]
    inside_id: int
    writable: tuple[tuple[str, int], ...]


def gather(root: str, lines: list[Line]) -> Facts:
    """Return the facts of the tree ``root`` whose manifest is ``lines``; raises Refusal."""
    used: set[int] = set()
    for line in lines:
        used.add(int(line[3]))
        used.add(int(line[4]))
    passwd, group = read(root, "/etc/passwd"), read(root, "/etc/group")
    for text in (passwd, group):
        for row in text.splitlines():
            numbers = (field for field in row.split(b":")[2:4] if field.isdigit())
            used.update(int(field) for field in numbers if len(field) <= _LONGEST_ID_DIGITS)
    programs = []
    for name, places in PROGRAMS.items():
        found = next((place for place in places if _is_program(root, place)), None)
        if found:
            programs.append((name, found))
    free = next((i for i in range(_FIRST_FREE, _LAST_FREE + 1) if i not in used), 0)
    if not free:
        raise Refusal(
            "the image was refused",
            f"it uses every id from {_FIRST_FREE} to {_LAST_FREE}, none is left for the user inside",
            step="image",
        )
    return Facts(passwd, group, tuple(programs), free, tuple(ownership.writable(lines)))


def open_inside(root: str, path: str) -> int | None:
    """Open ``path`` as a process whose root is ``root`` would, without touching it (O_PATH)."""
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return mounts.open_path(path, mounts.RESOLVE_IN_ROOT, directory=directory)
    except OSError:
        return None
    finally:
        os.close(directory)


def _is_program(root: str, path: str) -> bool:
    descriptor = open_inside(root, path)
    if descriptor is None:
        return False
    mode = os.fstat(descriptor).st_mode
    os.close(descriptor)
    everybody = 0o005
    return stat.S_ISREG(mode) and mode & everybody == everybody


def read(root: str, path: str, limit: int = _ACCOUNTS_LIMIT) -> bytes:
    """Return the file ``path`` of the image at ``root``, b"" if it has none of at most ``limit`` bytes.

    Symbolic links stay inside the image: its /etc/passwd may well be one to the host's /etc/shadow.
    """
    descriptor = open_inside(root, path)
    if descriptor is None:
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return b""
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            return file.read(limit)
    finally:
        os.close(descriptor)

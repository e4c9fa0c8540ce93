"""Keys of what is mounted where, and how much can be written."""

from __future__ import annotations

from ssh2container.admin.language.declaration import Setting
from ssh2container.admin.language.mounts import TmpfsMounts, Volumes
from ssh2container.admin.language.scalars import Choice, Count, Flag, Optional, Path, Size

GIB = 1024**3

SETTINGS = [
    Setting(
        "home",
        Choice("ephemeral"),
        "ephemeral",
        "The home directory: ephemeral lives in memory and ends with the session, a map names "
        "a directory of the host that stays.",
        "home: {source: /srv/homes/%u, skel: /etc/skel}",
        mapping="kept",
    ),
    Setting(
        "home.source",
        Path("an absolute path on the host"),
        None,
        "The directory of the host that is mounted as the home.",
        "home: {source: /srv/homes/%u}",
    ),
    Setting(
        "home.skel",
        Optional(Path("an absolute path on the host"), "none"),
        None,
        "The directory whose files a new home starts with, or none.",
        "home: {source: /srv/homes/%u, skel: /etc/skel}",
    ),
    Setting(
        "home.read_only",
        Flag(),
        False,
        "Whether the home is mounted read-only.",
        "home: {source: /srv/homes/%u, read_only: true}",
    ),
    Setting(
        "unsafe_host_home",
        Flag(),
        False,
        "Allow home.source to be the user's home on the host (%h), from which user units, .forward "
        "and authorized_keys act outside.",
        "unsafe_host_home: true",
    ),
    Setting(
        "volumes",
        Volumes(),
        {},
        "Files and directories of the host to bind inside, read-only unless marked rw; a missing "
        "source refuses the login.",
        "volumes: [/srv/course:/course:ro]",
    ),
    Setting(
        "storage_opt.size",
        Size(1024**2, 1024 * GIB),
        256 * 1024**2,
        "The size of everything writable that is no volume, together, in memory.",
        "storage_opt: {size: 256m}",
    ),
    Setting(
        "storage_opt.inodes",
        Count(100, 100_000_000),
        50_000,
        "The number of files and directories in everything writable that is no volume, together.",
        "storage_opt: {inodes: 50000}",
    ),
    Setting(
        "tmpfs",
        TmpfsMounts(),
        {},
        "More memory file systems, each with a size (64m) and a mode (1777) of its own.",
        'tmpfs: ["/scratch:size=64m,mode=1777"]',
    ),
]

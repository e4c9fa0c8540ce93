"""Keys of what is mounted where, and how much can be written."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.types.devices import Devices
from ssh2container.admin.policy.types.mounts import TmpfsMounts, Volumes
from ssh2container.admin.policy.types.numbers import Count, Size
from ssh2container.admin.policy.types.scalars import Choice, Flag, Optional, Path

GIB = 1024**3

SETTINGS = [
    Setting(
        "home",
        Choice("ephemeral"),
        "ephemeral",
        "The home directory: ephemeral lives in memory and ends with the session; a map names "
        "a directory on the host that is kept.",
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
        "home.size",
        Optional(Size(1024**2, 1024**2 * GIB), "none"),
        None,
        "How much the kept home may hold: a quota of its file system, set by enable and compile.",
        "home: {source: /srv/homes/%u, size: 2g}",
    ),
    Setting(
        "home.inodes",
        Optional(Count(100, 1_000_000_000), "none"),
        None,
        "How many files and directories the kept home may hold (not on btrfs).",
        "home: {source: /srv/homes/%u, inodes: 200000}",
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
        "devices",
        Devices(),
        {},
        "Devices of the host: nodes, directories of nodes, or names of the Container Device Interface; one"
        " that is missing refuses the login.",
        "devices: [/dev/dri/renderD128]",
    ),
    Setting(
        "storage_opt.size",
        Size(1024**2, 1024 * GIB),
        256 * 1024**2,
        "The total size of everything writable except volumes, in memory.",
        "storage_opt: {size: 256m}",
    ),
    Setting(
        "storage_opt.inodes",
        Count(100, 100_000_000),
        50_000,
        "The total number of files and directories in everything writable except volumes.",
        "storage_opt: {inodes: 50000}",
    ),
    Setting(
        "storage_opt.total",
        Optional(Size(1024**2, 64 * 1024 * GIB), "none"),
        None,
        "What all of the user's sessions may write to memory together; a login beyond it is refused.",
        "storage_opt: {total: 2g}",
    ),
    Setting(
        "tmpfs",
        TmpfsMounts(),
        {},
        "Additional memory file systems, each with a size (64m) and a mode (1777) of its own.",
        'tmpfs: ["/scratch:size=64m,mode=1777"]',
    ),
]

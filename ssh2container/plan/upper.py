"""The upper layer as a session starts with it: mount points, an empty home, generated account files.

Three kinds of root need three kinds of it. The host's image and an image in the single map lie
under a skeleton that owns the mount points; what is generated for them is attached read-only. In
the range map root inside owns everything, so its files are real ones that it may change.
"""

from __future__ import annotations

from ssh2container import paths

from . import tools
from .operations import filesystem as fs
from .operations.filesystem import BASE, ROOT, UPPER, WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .host import Host
    from .insider import Insider
    from .operations import Operation

    Entry = tuple[str, int | None, bytes | str | None]
    """(path, mode, content): content None is a directory, bytes a file, str a symbolic link."""

GENERATED = paths.GENERATED
"""Where the generated files of an image are inside; its skeleton links /etc/passwd there."""

PREPARED = ("pam.d", "shells")
"""What the skeleton of the host's image has in that place, for /etc to link to."""
STAND_IN = paths.RUNTIME + "/stand-in"
"""The skeleton's program that says of any name it is called by that it cannot work inside."""
BENEATH = "-beneath"
"""What the name of the skeleton of an image is followed by for the layer that lies below the image: of that a
session sees what the image has nothing in the place of."""
_SEALED = 0o555
"""The mode of a directory in which only pid 1 makes anything, by its capability, while it makes the tree."""
_BELOW_MOUNTS = ("/tmp/", "/dev/shm/")
_OWN = ("/dev", "/proc", "/sys", "/run", "/etc")
"""Where an image has no say."""


def prepare(
    host: Host,
    who: Insider,
    generated: Mapping[str, bytes],
    places: list[tuple[str, bool]],
    links: list[tuple[str, str]],
) -> list[Operation]:
    """Return what makes the upper layer and the other directories of the memory file system.

    generated: name below /etc -> content. places: (target, is a directory) of all that is attached.
    links: (path, target) of symbolic links over the image.
    """
    entries = [
        *_directories(sealed=not who.ranged),
        *_mount_points(places, () if who.ranged else host.image.writable, links, sealed=not who.ranged),
        *(_for_range(host, generated) if who.ranged else _for_single(host, generated)),
        *((f"{BASE}/home/{path}", mode, content) for path, mode, content in host.skel),
    ]
    operations: list[Operation] = [fs.MakeTree("the upper layer and its mount points", tuple(entries))]
    if who.ranged:
        operations.append(fs.RequireAttributes())
    if who.uid and who.ranged:
        operations.append(fs.GiveTo(BASE + "/home", who.uid, who.gid))
    return operations


def _directories(*, sealed: bool) -> list[Entry]:
    around = _SEALED if sealed else 0o755
    return [
        (path, mode, None)
        for path, mode in (
            (WORK, 0o700),
            (ROOT, 0o755),
            (UPPER, around),
            (BASE + "/tmp", 0o1777),
            (BASE + "/shm", 0o1777),
            (BASE + "/home", 0o700),
            (UPPER + "/run", 0o755),
            (UPPER + "/run/lock", 0o1777),
            (UPPER + "/var", around),
            (UPPER + "/var/tmp", 0o1777),
        )
    ]


def _mount_points(
    places: list[tuple[str, bool]],
    writable: tuple[tuple[str, int], ...],
    links: list[tuple[str, str]],
    *,
    sealed: bool,
) -> list[Entry]:
    """Make the targets, the links, and the directories that the image means for everybody to write to.

    sealed: as anywhere, a user cannot write to the directories around them.
    """
    entries: list[Entry] = []
    made = {"", "/run", "/var", "/var/tmp", "/tmp"}

    def make(path: str, mode: int | None, content: bytes | str | None) -> None:
        parents = path.split("/")[1:-1]
        for depth in range(1, len(parents) + 1):
            parent = "/" + "/".join(parents[:depth])
            if parent not in made:
                made.add(parent)
                entries.append((UPPER + parent, _SEALED if sealed else 0o755, None))
        if path not in made:
            made.add(path)
            entries.append((UPPER + path, mode, content))

    for target, directory in sorted(places):
        if not _is_covered(target, places):
            make(target, 0o755 if directory else 0o644, None if directory else b"")
    for path, content in links:
        make(path, None, content)
    for path, mode in sorted(writable):
        if not _is_covered(path + "/", places) and not path.startswith(_OWN):
            make(path, mode, None)
    return entries


def _is_covered(path: str, places: list[tuple[str, bool]]) -> bool:
    """Whether ``path`` is inside something attached later, and is made then if it has to be."""
    return path.startswith(_BELOW_MOUNTS) or any(path.startswith(other + "/") for other, _ in places)


def _for_single(host: Host, generated: Mapping[str, bytes]) -> list[Entry]:
    etc = BASE + "/etc"
    entries: list[Entry] = [(etc, 0o755, None)]
    if host.image.kind != "host":
        entries += [(UPPER + path, 0o755, None) for path in (paths.RUNTIME, GENERATED, tools.INSIDE)]
    else:
        entries += [(f"{etc}/{name}", None, f"{GENERATED}/{name}") for name in PREPARED]
    entries += [(f"{etc}/{name}", 0o444, content) for name, content in generated.items()]
    entries += [(f"{etc}/{name}", None, target) for name, target in host.etc_links]
    entries.append((etc + "/mtab", None, "/proc/self/mounts"))
    made = set()
    for name, directory in host.etc:
        above = name.rpartition("/")[0]
        if above and above not in made:
            made.add(above)
            entries.append((f"{etc}/{above}", 0o755, None))
        entries.append((f"{etc}/{name}", None, None if directory else b""))
    return entries


def _for_range(host: Host, generated: Mapping[str, bytes]) -> list[Entry]:
    mount_points = ("/dev", "/etc", "/proc", "/sys", "/tmp", paths.RUNTIME, tools.INSIDE)
    kept = ("nsswitch.conf",) if host.image.passwd else ()
    return [
        *((UPPER + path, 0o755, None) for path in mount_points),
        *((f"{UPPER}/etc/{name}", 0o644, content) for name, content in generated.items() if name not in kept),
    ]

"""What the registry says: read as the user who wrote it, and believed by nobody until verified."""

from __future__ import annotations

import functools
import os
import re
import stat
import time
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import impersonate
from ssh2container.errors import printable
from ssh2container.record import registry

if TYPE_CHECKING:
    from typing import Any

ID = re.compile("[0-9a-f]{10}")
_NAME = re.compile(r"\.?(?:container-[a-z0-9]{1,32}-)?([0-9a-f]{10})")
_MOST_ENTRIES = 4096
_LARGEST_ENTRY = 64 << 10
_SETTLED_S = 1.0
_KEYS = frozenset(("cgroup", "client", "command", "container", "format", "image", "kind", "monitor"))


class Hint:
    """One entry. name: of its file; id: of the session or container; fields: what it says.

    directory: where it is, "" for what the registry does not know.
    """

    __slots__ = ("directory", "fields", "id", "name")

    def __init__(self, name: str, fields: dict[str, str], directory: str = "") -> None:
        self.name = name
        self.directory = directory
        self.id = name[-10:]
        self.fields = fields

    @property
    def is_container(self) -> bool:
        """Whether this is a shared container, not a session."""
        return self.name.removeprefix(".").startswith(registry.CONTAINER)

    @property
    def is_starting(self) -> bool:
        """Whether its program does not run yet: it may wait for a policy, a source or a name service."""
        return registry.is_starting(self.name)

    @property
    def claim(self) -> tuple[int, str]:
        """The (pid, start time) of the process that is said to hold the entry; (0, "") for nonsense."""
        words = self.fields.get("monitor", "").split()
        if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words):  # noqa: PLR2004
            return int(words[0][:10]), words[1]
        return 0, ""


def users() -> dict[int, int]:
    """Return uid -> gid of all who have a runtime directory of their own."""
    found: dict[int, int] = {}
    for below in (registry.DIRECTORY, registry.SHARED):
        try:
            names = os.listdir(below)
        except FileNotFoundError:
            continue
        except PermissionError:
            names = [str(os.getuid())]  # nobody but root lists what others have made
        for name in names:
            status = _own(f"{below}/{name}") if name.isascii() and name.isdigit() else None
            if status is not None:
                found.setdefault(status.st_uid, status.st_gid)
    return dict(sorted(found.items()))


def state(uid: int) -> tuple[tuple[int, int], ...] | None:
    """Return what changes whenever an entry of ``uid`` comes, goes or gets another name; None if it just did.

    The kernel's clock of changes has ticks: within one of them, a second change would not be seen. Nobody can
    set that time (inode(7), ctime).
    """
    found = []
    for below in (registry.DIRECTORY, registry.SHARED):
        status = _own(f"{below}/{uid}")
        if status is not None:
            if time.time() - status.st_ctime < _SETTLED_S:
                return None
            found.append((status.st_ino, status.st_ctime_ns))
    return tuple(found)


def _own(path: str) -> os.stat_result | None:
    """Return what is at ``path`` if it is the directory of the user whose uid it is named after.

    Below :data:`registry.SHARED` anybody can make any name: whatever else there may be is nobody's registry.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == int(os.path.basename(path)) != 0
    return status if ours else None


def read(who: impersonate.Identity) -> tuple[list[Hint], list[str]]:
    """Return the live entries of ``who`` and what is wrong with others. Raises SessionError."""
    hints: list[Hint] = []
    strange: list[str] = []
    for below in (registry.DIRECTORY, registry.SHARED):
        directory = f"{below}/{who.uid}"
        if _own(directory) is None:
            continue
        answer = impersonate.ask(who, functools.partial(_read_all, directory))
        hints += [Hint(name, fields, directory) for name, fields in answer["entries"]]
        strange += [printable(f"{who.name}: {text}") for text in answer["strange"]]
    return hints, strange


def _read_all(directory: str) -> dict[str, Any]:
    """As the user: read every live entry and remove those of the dead."""
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    names = sorted(name for name in os.listdir(place) if registry.is_entry(name) or _NAME.fullmatch(name))
    strange = []
    if len(names) > _MOST_ENTRIES:
        strange.append(f"{len(names)} entries, of which only {_MOST_ENTRIES} are looked at")
    entries = []
    for name in names[:_MOST_ENTRIES]:
        if not _NAME.fullmatch(name):
            strange.append(f"{name[:100]} is not an entry of ssh2container")
            continue
        try:
            name, fields = _read_whatever_its_name(place, name)  # noqa: PLW2901
        except (OSError, ValueError) as error:
            strange.append(f"the entry {name} cannot be read: {error}")
            continue
        if fields is not None:
            entries.append((name, fields))
        elif not registry.is_starting(name):  # that one may be about to be locked
            registry.remove(directory, name)
    return {"entries": entries, "strange": strange}


def _read_whatever_its_name(place: int, name: str) -> tuple[str, dict[str, str] | None]:
    """Return the name and what the entry says; one that was starting may have got its other name just now."""
    try:
        return name, _read_entry(place, name)
    except FileNotFoundError:
        if not registry.is_starting(name):
            raise
        return name[1:], _read_entry(place, name[1:])


def _read_entry(place: int, name: str) -> dict[str, str] | None:
    """Return what a live entry says, None for a dead one."""
    # Neither a link nor a FIFO can hold us up (open(2)).
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=place)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a file")
        if status.st_size > _LARGEST_ENTRY:
            raise ValueError(f"it has {status.st_size} bytes")
        if not registry.is_locked(descriptor):
            return None
        text = os.read(descriptor, _LARGEST_ENTRY).decode("utf-8", "backslashreplace")
    finally:
        os.close(descriptor)
    pairs = [line.partition(" ") for line in text.split("\n")]
    return {key: printable(value[: registry.LONGEST_VALUE]) for key, _, value in pairs if key in _KEYS}

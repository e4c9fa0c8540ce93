"""What the registry says: read as the user who wrote it, and believed by nobody until verified."""

from __future__ import annotations

import os
import re
import stat

from ssh2container.admin import impersonate
from ssh2container.errors import printable
from ssh2container.record import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ID = re.compile("[0-9a-f]{10}")
_NAME = re.compile(r"(?:container-[a-z0-9]{1,32}-)?([0-9a-f]{10})")
_MOST_ENTRIES = 4096
_LARGEST_ENTRY = 64 << 10
_KEYS = frozenset(("client", "command", "container", "format", "image", "kind", "monitor"))


class Hint:
    """One entry. name: of its file; id: of the session or container; fields: what it says."""

    __slots__ = ("fields", "id", "name")

    def __init__(self, name: str, fields: dict[str, str]) -> None:
        self.name = name
        self.id = name[-10:]
        self.fields = fields

    @property
    def is_container(self) -> bool:
        """Whether this is a shared container, not a session."""
        return self.name.startswith(registry.CONTAINER)

    @property
    def claim(self) -> tuple[int, str]:
        """The (pid, start time) of the process that is said to hold the entry; (0, "") for nonsense."""
        words = self.fields.get("monitor", "").split()
        if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words):  # noqa: PLR2004
            return int(words[0][:10]), words[1]
        return 0, ""


def users() -> list[impersonate.Identity]:
    """Return who has a runtime directory of his own."""
    try:
        names = os.listdir(registry.DIRECTORY)
    except FileNotFoundError:
        return []
    found = []
    for name in sorted(names):
        if not (name.isascii() and name.isdigit()):
            continue
        status = os.lstat(f"{registry.DIRECTORY}/{name}")
        # Only root makes directories here; whatever else it may be is nobody's registry.
        if stat.S_ISDIR(status.st_mode) and status.st_uid == int(name) != 0:
            found.append(impersonate.Identity.of(status.st_uid, status.st_gid))
    return found


def read(who: impersonate.Identity) -> tuple[list[Hint], list[str]]:
    """Return the live entries of ``who`` and what is wrong with others. Raises SessionError."""
    answer = impersonate.ask(who, lambda: _read_all(f"{registry.DIRECTORY}/{who.uid}"))
    hints = [Hint(name, fields) for name, fields in answer["entries"]]
    return hints, [printable(f"{who.name}: {text}") for text in answer["strange"]]


def _read_all(directory: str) -> dict[str, Any]:
    """As the user: read every live entry and remove those of the dead."""
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    names = sorted(name for name in os.listdir(place) if registry.is_entry(name))
    strange = []
    if len(names) > _MOST_ENTRIES:
        strange.append(f"{len(names)} entries, of which only {_MOST_ENTRIES} are looked at")
    entries = []
    for name in names[:_MOST_ENTRIES]:
        if not _NAME.fullmatch(name):
            strange.append(f"{name[:100]} is no entry of ours")
            continue
        try:
            fields = _read_entry(place, name)
        except (OSError, ValueError) as error:
            strange.append(f"the entry {name} cannot be read: {error}")
            continue
        if fields is None:
            registry.remove(directory, name)
        else:
            entries.append((name, fields))
    return {"entries": entries, "strange": strange}


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

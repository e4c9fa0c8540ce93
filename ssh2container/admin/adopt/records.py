"""What root keeps of each account that was taken over: enough to give back all of it, after any crash."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssh2container.admin import atomic
from ssh2container.admin.adopt.facts import Saved
from ssh2container.admin.change import Change, make_directories
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from typing import Any

DIRECTORY = "/var/lib/ssh2container/adopted"
ADOPTING, ADOPTED, RETURNING = "adopting", "adopted", "returning"
"""The states of a record: begun, complete, being taken back."""
_PRIVATE = 0o600
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One account as it was before.

    mode: "keep", "copy", "move" or "apart". home, device, inode: the home that it had. source: the home
    of sessions, "" where that is the same, or was no part of the account. outer: what was laid in the place
    of a home that was moved. policy: the text that was written. left: groups that it was taken out of.
    member: whether it was in our group before.
    made: directories that were made, the outermost first. files: what was set aside. former_record: that of
    an earlier ``enable``. since: when it was complete, in seconds since 1970, 0 before.
    """

    name: str
    uid: int
    shell: str
    mode: str
    home: str
    policy: str
    since: float = 0.0
    source: str = ""
    device: int = 0
    inode: int = 0
    outer: tuple[tuple[str, str], ...] = ()
    left: tuple[str, ...] = ()
    member: bool = False
    had_host_key: bool = False
    lingered: bool = False
    made: tuple[str, ...] = ()
    files: tuple[Saved, ...] = ()
    state: str = ADOPTING
    former_record: str = ""

    def text(self) -> str:
        """Return it as it is kept."""
        return json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"


def path_of(name: str) -> str:
    """Return the file of an account's record."""
    return f"{DIRECTORY}/{name}.json"


def _read(text: str) -> Record:
    value: dict[str, Any] = json.loads(text)
    if value.pop("format", None) != _FORMAT:
        raise ValueError("another format")
    value["files"] = tuple(Saved(**one) for one in value["files"])
    value["outer"] = tuple((name, content) for name, content in value["outer"])
    for name in ("left", "made"):
        value[name] = tuple(value[name])
    return Record(**value)


def of(name: str) -> Record | None:
    """Return the record of an account, None where it was never taken over.

    Raises SessionError for one that cannot be read: nobody knows then what to give back.
    """
    path = path_of(name)
    try:
        with open(path, encoding="utf-8") as file:
            return _read(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SessionError(
            f"cannot read {path}",
            str(error),
            "it says how the account was before it was taken over; see what is in it",
            "adopt",
        ) from None


def names() -> list[str]:
    """Return who was taken over, or is about to be, by name."""
    try:
        listed = os.listdir(DIRECTORY)
    except FileNotFoundError:
        return []
    return sorted(name[:-5] for name in listed if name.endswith(".json") and name[:1] != ".")


def keep(record: Record) -> None:
    """Write a record, on the disk when this returns. Raises OSError."""
    make_directories(DIRECTORY, 0o700)
    atomic.write(path_of(record.name), record.text(), _PRIVATE)


def drop(name: str) -> None:
    """Remove a record. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path_of(name))


class Keep(Change):
    """The record of an account in one of its states; the first one goes when the others are taken back."""

    def __init__(self, record: Record, state: str) -> None:
        self.record = dataclasses.replace(record, state=state)

    def describe(self) -> str:
        """See :class:`Change`."""
        what = {
            ADOPTING: "record how {0} is now in {1}",
            ADOPTED: "record in {1} that {0} was taken over",
            RETURNING: "record in {1} that {0} is given back",
        }[self.record.state]
        return what.format(self.record.name, path_of(self.record.name))

    def done(self) -> bool:
        """See :class:`Change`."""
        return False

    def do(self) -> None:
        """See :class:`Change`."""
        if self.record.state == ADOPTED:
            self.record = dataclasses.replace(self.record, since=time.time())
        keep(self.record)

    def undo(self) -> None:
        """See :class:`Change`."""
        if self.record.state == ADOPTING:
            drop(self.record.name)

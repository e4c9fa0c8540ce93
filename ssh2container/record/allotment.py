"""What all of a user's sessions may write to memory together (``storage_opt.total``).

A session's own file system has a limit of its own; here is only whether one more of that size may be made,
by what the entries of the registry say. An entry counts as long as it is locked, that is until its monitor,
or a shared container's owner, is gone.
"""

from __future__ import annotations

from ssh2container.errors import Refusal, printable

FIELD = b"storage"
"""What an entry says of it: bytes, 0 for a session in a shared container, which says it for all."""
_MIB = 1024**2
_ID = 10
"""The length of an id, which every entry's name ends with."""
_SHOWN = 4
"""So many of those that have the memory are named, the largest first."""


def size(content: bytes | None, otherwise: int) -> int:
    """Return what an entry says that it takes: ``otherwise`` if nothing yet, 0 for a dead one (None)."""
    if content is None:
        return 0
    # A line without an end may have been cut by a write of its session at this moment.
    for line in content.split(b"\n")[:-1]:
        word, _, value = line.partition(b" ")
        if word == FIELD and value.isdigit():
            return int(value[:20])
    return otherwise


def require(sizes: list[tuple[int, str]], needed: int, total: int) -> None:
    """Raise Refusal where ``sizes``, each with its entry's name, leave less than ``needed`` of ``total``."""
    found = sorted((one for one in sizes if one[0]), reverse=True)
    taken = sum(one for one, _ in found)
    if taken + needed > total:
        live = f"{len(found)} live session{'' if len(found) == 1 else 's'}"
        raise Refusal(
            "too little memory for files is left",
            f"{live} may use {taken // _MIB} of {total // _MIB} MiB (storage_opt.total),"
            f" and this one asks for {-(-needed // _MIB)}{_who(found)}",
            "log out of one of them first",
            "sessions",
        )


def _who(found: list[tuple[int, str]]) -> str:
    # A name may be anything that the user's uid has put there.
    shown = [f"{printable(name[-_ID:])} has {one // _MIB}" for one, name in found[:_SHOWN]]
    if len(found) > _SHOWN:
        shown.append(f"{len(found) - _SHOWN} more the rest")
    return f" ({', '.join(shown)})" if shown else ""

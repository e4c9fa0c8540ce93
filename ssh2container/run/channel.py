"""Messages between the monitor and pid 1, over one socket pair of whole packets (:mod:`.packets`).

Their letters are those of ``ssh2container/native/init/messages.h``.

The pair is also each side's sign of life: end-of-file means that the other is gone.
"""

from __future__ import annotations

from ssh2container.errors import NotFound, Refusal, SessionError
from ssh2container.kernel.script import PROTOCOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def _letter(name: str) -> bytes:
    return bytes((PROTOCOL[name],))


STARTED = _letter("STARTED")
"""pid 1: the payload's program runs."""
STATUS = _letter("STATUS")
"""pid 1: the payload ended; four bytes of raw wait status follow."""
TERMINAL = _letter("TERMINAL")
"""pid 1: the other side of the payload's terminal is attached to this message."""
TAP = _letter("TAP")
"""pid 1: the other side of the network's interface is attached to this message."""
WAITING = _letter("WAITING")
"""pid 1: the container is made; it waits for the word that the hooks outside have run."""
HOOK = _letter("HOOK")
"""pid 1: a hook inside has ended; its place among them, how, a number and what it said follow."""
GO = _letter("GO")
"""Monitor: the range of ids is mapped; later, of a session with limits: pid 1 is in its scope."""
ORDER = _letter("ORDER")
"""Monitor: the container specification is in the file that pid 1 was given."""
ERROR = _letter("ERROR")
"""pid 1 or the payload: something failed; a marshalled error follows."""
FAILED = _letter("FAILED")
"""pid 1 or the payload: an operation failed; phase, record and errno follow (``order.error_of``)."""
SIGNAL = _letter("SIGNAL")
"""Monitor: send the payload's process group the signal whose number follows."""
END = _letter("END")
"""Owner of a shared container: ask everything inside to end, then end."""
HELLO = _letter("HELLO")
"""Who joins: :data:`VERSION` and the digest of the container that is meant, none for any."""
ADMITTED = _letter("ADMITTED")
"""pid 1, to HELLO: counted in; a request may follow."""
RETIRED = _letter("RETIRED")
"""pid 1, to HELLO: this container was made under another policy and takes nobody in any more."""
REQUEST = _letter("REQUEST")
"""Who joins: a sealed file with what to run is attached, then the standard descriptors that follow."""
OPENING, MAKING = _letter("OPENING"), _letter("MAKING")
"""In FAILED: which script the record is of; any other is that of the payload."""
VERSION = _letter("VERSION")
"""Of the three messages above: an upgrade leaves live containers alone."""

_KINDS = (SessionError, Refusal, NotFound)


def pack(items: Iterable[bytes]) -> bytes:
    """Return texts of any bytes as one."""
    return b"".join(len(item).to_bytes(4, "little") + item for item in items)


def unpack(packed: bytes) -> list[bytes]:
    """Return the texts of :func:`pack`. Raises ValueError for what did not come from it."""
    items, at = [], 0
    while at < len(packed):
        end = at + 4 + int.from_bytes(packed[at : at + 4], "little")
        if end > len(packed):
            raise ValueError("a text is cut off")
        items.append(packed[at + 4 : end])
        at = end
    return items


def pack_error(error: BaseException) -> bytes:
    """Return the message that carries ``error`` to the monitor."""
    if not isinstance(error, SessionError):
        error = SessionError("the container could not be made", f"{type(error).__name__}: {error}")
    kind = _KINDS.index(type(error)) if type(error) in _KINDS else 0
    fields = (str(kind), error.what, error.why, error.remedy, error.step, str(error.number))
    return ERROR + pack(field.encode("utf-8", "surrogateescape") for field in fields)


def unpack_error(content: bytes) -> SessionError:
    """Return the error of :func:`pack_error`. Raises ValueError for what did not come from it."""
    kind, what, why, remedy, step, number = (
        field.decode("utf-8", "surrogateescape") for field in unpack(content)
    )
    return _KINDS[int(kind)](what, why, remedy, step, int(number))

"""What pid 1 is told: a plan as one sealed file in memory that ``ssh2container/init`` reads.

Head, records of both scripts, texts, the program that is asked for, names: ``init/container.h`` says
where each lies. Who joins a container later sends a file with the program alone.
"""

from __future__ import annotations

import _struct
import fcntl
import posix as os
from binascii import crc32

from ssh2container import paths
from ssh2container.errors import SessionError
from ssh2container.kernel.script import MARGIN, Script
from ssh2container.plan import operations

from . import channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ssh2container.plan.make import Plan
    from ssh2container.plan.operations import Operation

_MAGIC = b"sorder01"
_HEAD = _struct.Struct("=8s12I2q")
_WRITABLE, _CALL, _SHARED = 1, 2, 4
_F_ADD_SEALS, _SEALED = 1033, 0xF
_EFBIG = 27
_OPENING, _MAKING = b"o", b"i"


def new() -> int:
    """Return the descriptor of an empty file in memory. Raises SessionError."""
    try:
        return os.memfd_create("order", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise _failed(error) from None


def write(plan: Plan, like: bytes, file: int, *, writable: bool = False) -> None:
    """Write what makes ``plan`` to ``file``, of :func:`new`. Raises SessionError.

    like: modes and size of the client's terminal (``terminal.likeness``), b"" for none.
    writable: leave it unsealed, and have pid 1 note the times that a script asks for in it.
    """
    making = operations.write(_making(plan), Script())
    confining = operations.write(plan.payload, Script(making.texts))
    umask = b"" if plan.program.umask is None else b"%d" % plan.program.umask
    attempts = [[paths.fsencode(path), *arguments] for path, arguments in plan.program.attempts]
    wanted = request(like, paths.fsencode(plan.directory), umask, plan.environment, attempts)
    names = channel.pack((plan.session.encode(), plan.container, paths.fsencode(plan.image.name)))
    # The records first, which want to be aligned.
    records = b"".join(making.records + confining.records)
    at_texts = _HEAD.size + len(records)
    at_request = at_texts + len(making.texts) + len(MARGIN)
    at_names = at_request + len(wanted)
    flags = _WRITABLE * writable | _CALL * (plan.call is not None) | _SHARED * plan.shared
    linger = -1 if plan.linger < 0 else int(plan.linger * 1000)
    fields = (
        at_names + len(names),
        flags,
        _HEAD.size,
        len(making.records),
        len(confining.records),
        at_texts,
        len(making.texts),
        at_request,
        len(wanted),
        at_names,
        len(names),
    )
    times = linger, int(plan.grace * 1000)
    rest = (records, making.texts, MARGIN, wanted, names)
    check = crc32(_HEAD.pack(_MAGIC, *fields, 0, *times))
    for part in rest:
        check = crc32(part, check)
    try:
        _fill(file, (_HEAD.pack(_MAGIC, *fields, check, *times), *rest), seals=0 if writable else _SEALED)
    except OSError as error:
        raise _failed(error) from None


def request(
    like: bytes,
    directory: bytes,
    umask: bytes,
    environment: Mapping[bytes, bytes],
    attempts: Iterable[Iterable[bytes]],
) -> bytes:
    """Return what asks for a program; see :func:`ssh2container.run.joining.ask`."""
    pairs = channel.pack(key + b"=" + value for key, value in environment.items())
    tries = [channel.pack(map(_word, words)) for words in attempts]
    return channel.pack([like, directory, umask, pairs, *tries])


def texts_at(head: bytes) -> int:
    """Return where the texts of the scripts lie in a file of :func:`write`."""
    return int(_HEAD.unpack_from(head)[6])


def seal(content: bytes) -> int:
    """Return the descriptor of a file in memory that nobody can change. Raises OSError, SessionError."""
    file = new()
    try:
        _fill(file, (content,), _SEALED)
    except OSError:
        os.close(file)
        raise
    return file


def error_of(plan: Plan, failed: bytes) -> SessionError:
    """Return the error that pid 1 tells with FAILED: the operation of ``plan`` whose record did not work."""
    record, number = int.from_bytes(failed[1:5], "little"), int.from_bytes(failed[5:9], "little")
    phase = {_OPENING: _opening, _MAKING: _making}.get(failed[:1], _confining)
    return operations.find(phase(plan), record, number)


def opening(plan: Plan) -> Script:
    """Return what happens in pid 1 before its program is executed. Raises SessionError."""
    return operations.write(_opening(plan), Script())


def _opening(plan: Plan) -> list[Operation]:
    return [operation for operation in plan.init if operation.opening]


def _making(plan: Plan) -> list[Operation]:
    return [operation for operation in plan.init if not operation.opening]


def _confining(plan: Plan) -> Iterable[Operation]:
    return plan.payload


def _word(word: bytes) -> bytes:
    """Return a word as a request has it: a file name pattern stands behind a zero byte."""
    pattern: bytes | None = getattr(word, "pattern", None)
    return word if pattern is None else word + b"\0" + pattern


def _failed(error: OSError) -> SessionError:
    what, why = "cannot hand over what the container is to be", error.strerror or ""
    return SessionError(what, why, "", "order", error.errno or 0)


def _fill(file: int, parts: tuple[bytes | bytearray, ...], seals: int) -> None:
    written = os.writev(file, parts)
    if written != sum(map(len, parts)):
        raise OSError(_EFBIG, "a limit on the size of files lets only a part of it through")
    if seals:
        fcntl.fcntl(file, _F_ADD_SEALS, seals)

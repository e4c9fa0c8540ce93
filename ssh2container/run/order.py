"""What pid 1 is told: a plan as one sealed file in memory that ``ssh2container/native/init`` reads.

Head, records of both scripts, texts, the program that is asked for, names: ``native/init/container.h`` says
where each lies. Who joins a container later sends a file with the program alone.
"""

from __future__ import annotations

import _struct
import fcntl
import posix as os
from binascii import crc32

from ssh2container import paths
from ssh2container.errors import SessionError
from ssh2container.kernel.script import MARGIN, PROTOCOL, Script
from ssh2container.plan import operations

from . import channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ssh2container.plan.hooks import Hooks
    from ssh2container.plan.make import Container, Payload, Plan
    from ssh2container.plan.operations import Operation
    from ssh2container.plan.whole import SystemScope

_MAGIC = PROTOCOL["ORDER_MAGIC"].to_bytes(8, "little")
_HEAD = _struct.Struct("=8s12I2q")
_F_ADD_SEALS, _SEALED = 1033, 0xF
_EFBIG = 27


def new() -> int:
    """Return the descriptor of an empty file in memory. Raises SessionError."""
    try:
        return os.memfd_create("order", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise _failed(error) from None


def write(
    container: Container,
    payload: Payload,
    like: bytes,
    file: int,
    *,
    writable: bool = False,
    rehearsed: bool = False,
) -> None:
    """Write to ``file``, of :func:`new`, what makes ``container`` and runs ``payload`` in it.

    Raises SessionError.

    like: modes and size of the client's terminal (``terminal.likeness``), b"" for none.
    writable: leave it unsealed, and have pid 1 note the times that a script asks for in it.
    rehearsed: have the payload end where it would execute its program, with 0 if it can be executed.
    """
    making = operations.write(_making(container), Script())
    confining = operations.write(payload.operations, Script(making.texts))
    wanted = request_of(payload, like)
    names = channel.pack((container.name.encode(), container.digest, paths.fsencode(container.image.name)))
    if container.hooks is not None and container.hooks.start:
        names += channel.pack((_hooks_of(container.hooks, container.name),))
    # The records first, which want to be aligned.
    records = b"".join(making.records + confining.records)
    at_texts = _HEAD.size + len(records)
    at_request = at_texts + len(making.texts) + len(MARGIN)
    at_names = at_request + len(wanted)
    flags = _flags(
        FLAG_WRITABLE=writable,
        FLAG_CALL=payload.call is not None,
        FLAG_SHARED=container.shared,
        FLAG_REHEARSED=rehearsed,
        FLAG_COUNTED=container.scope is not None,
    )
    linger = -1 if container.linger < 0 else int(container.linger * 1000)
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
    times = linger, int(container.grace * 1000)
    rest = (records, making.texts, MARGIN, wanted, names)
    check = crc32(_HEAD.pack(_MAGIC, *fields, 0, *times))
    for part in rest:
        check = crc32(part, check)
    try:
        _fill(file, (_HEAD.pack(_MAGIC, *fields, check, *times), *rest), seals=0 if writable else _SEALED)
    except OSError as error:
        raise _failed(error) from None


def _flags(**wanted: bool) -> int:
    return sum(PROTOCOL[name] for name, is_wanted in wanted.items() if is_wanted)


def request_of(payload: Payload | SystemScope, like: bytes) -> bytes:
    """Return what asks for the program of ``payload``, with :func:`request`."""
    attempts = [[paths.fsencode(path), *arguments] for path, arguments in payload.program.attempts]
    directory, mask = paths.fsencode(payload.directory), payload.program.mask()
    return request(like, directory, mask, payload.environment, attempts)


def request(
    like: bytes,
    directory: bytes,
    umask: bytes,
    environment: Mapping[bytes, bytes],
    attempts: Iterable[Iterable[bytes]],
) -> bytes:
    """Return what asks for a program (:func:`ssh2container.run.joining.ask`).

    like: of ``terminal.likeness``, or b"" for no terminal. directory, umask: b"" for the container's
    own; with a directory, ``environment`` is complete. attempts: program and arguments, each in turn;
    none is a shell.
    """
    pairs = channel.pack(key + b"=" + value for key, value in environment.items())
    tries = [channel.pack(map(_word, words)) for words in attempts]
    return channel.pack([like, directory, umask, pairs, *tries])


def _hooks_of(hooks: Hooks, session: str) -> bytes:
    """Return the hooks inside as pid 1 reads them (``native/init/hooks.c``)."""
    packed = []
    for operation in hooks.start:
        hook = operation.hook
        variables = hooks.environment(hook, session, 1).items()
        fields = (
            paths.fsencode(hook.path),
            channel.pack(map(paths.fsencode, hook.args)),
            channel.pack(paths.fsencode(f"{name}={value}") for name, value in variables),
            b"%d" % (hook.timeout * 1000),
            b"%d" % hook.ignore_failure,
        )
        packed.append(channel.pack(fields))
    return channel.pack(packed)


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
    if failed[:1] == channel.OPENING:
        return operations.find(_opening(plan.container), record, number)
    if failed[:1] == channel.MAKING:
        return operations.find(_making(plan.container), record, number)
    return operations.find(plan.payload.operations, record, number)


def opening(container: Container) -> Script:
    """Return what happens in pid 1 before its program is executed. Raises SessionError."""
    return operations.write(_opening(container), Script())


def _opening(container: Container) -> list[Operation]:
    return [operation for operation in container.init if operation.opening]


def _making(container: Container) -> list[Operation]:
    return [operation for operation in container.init if not operation.opening]


def _word(word: bytes) -> bytes:
    """Return a word as a request has it: a file name pattern stands behind a zero byte."""
    pattern: bytes | None = getattr(word, "pattern", None)
    return word if pattern is None else word + b"\0" + pattern


def _failed(error: OSError) -> SessionError:
    what, why = "cannot hand over the container specification", error.strerror or ""
    return SessionError(what, why, "", "order", error.errno or 0)


def _fill(file: int, parts: tuple[bytes | bytearray, ...], seals: int) -> None:
    written = os.writev(file, parts)
    if written != sum(map(len, parts)):
        raise OSError(_EFBIG, "a limit on file sizes lets only part of it through")
    if seals:
        fcntl.fcntl(file, _F_ADD_SEALS, seals)

"""The payload: pid 1's child on its way to becoming the user's program."""

from __future__ import annotations

import errno
import os

from ssh2container.errors import EXIT_OURS, NotFound, Refusal, SessionError
from ssh2container.kernel import process
from ssh2container.plan.operations import State, perform
from ssh2container.policy import globs

from . import channel, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ssh2container.plan.make import Plan

_NOT_HERE = (errno.ENOENT, errno.ENOTDIR)


def run(plan: Plan, tells: int, slave: int, standard: tuple[int, ...] = ()) -> NoReturn:
    """Become the program. ``tells`` is closed by the exec, or carries the reason why there is none.

    slave: the terminal that takes the place of the standard descriptors that are one, or -1.
    standard: what to have as 0, 1 and 2, -1 for the terminal; () for pid 1's own.
    """
    try:
        os.setsid()
        for number, descriptor in enumerate(standard):
            os.dup2(slave if descriptor < 0 else descriptor, number)
        if slave >= 0:
            terminal.adopt(slave)
            if standard:
                # Not the container's first terminal, perhaps.
                plan.environment[b"SSH_TTY"] = os.fsencode(os.ttyname(slave))
        process.close_all_but((tells,))
        _enter(plan.directory)
        if plan.program.umask is not None:
            os.umask(plan.program.umask)
        process.reset_signals()
        process.unblock_signals()
        perform(plan.payload, State())
        if plan.call is not None:
            _call(plan.call, tells)
        _execute(plan)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the monitor must hear of it
        os.write(tells, channel.pack_error(error))
    os._exit(EXIT_OURS)


def _enter(directory: str) -> None:
    """Start in the home, or in / when the home cannot be entered, as login(1) does."""
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")


def _call(function: Callable[[], int], tells: int) -> NoReturn:
    """Run ``function`` where the program would run, and end with its status."""
    status = EXIT_OURS
    try:
        os.close(tells)
        status = function()
    finally:
        os._exit(status)


def _execute(plan: Plan) -> NoReturn:
    refused: OSError | None = None
    home = plan.environment[b"HOME"]
    for path, arguments in plan.program.attempts:
        try:
            os.execve(path, globs.expand(arguments, home), plan.environment)  # noqa: S606
        except OSError as error:
            if error.errno not in _NOT_HERE:
                refused = error
                if error.errno != errno.EACCES:
                    break
    path = plan.program.attempts[0][0]
    name = path if len(plan.program.attempts) == 1 else os.path.basename(path)
    if refused is None:
        raise NotFound(
            f"cannot run {name}", f"it is not in the image {plan.image.name}", "", "execute", errno.ENOENT
        )
    if refused.errno in (errno.EACCES, errno.ENOEXEC):
        raise Refusal(f"cannot run {name}", refused.strerror or "", "", "execute", refused.errno)
    raise SessionError(f"cannot run {name}", refused.strerror or "", "", "execute", refused.errno or 0)

"""Whether what a policy or an account names answers at all: a file server that is gone hangs root, too."""

from __future__ import annotations

import errno
import os
import signal

from ssh2container.errors import SessionError
from ssh2container.kernel import answering, mounts

_points: dict[str, bool] = {}
"""Mount point -> whether the server behind it has answered this program."""
_paths: dict[str, bool] = {}
"""The same of a path, which links may lead to another server than the one that it is spelt below."""


def answers(path: str) -> bool:
    """Whether ``path`` can be looked at; of each server that does not answer only the first question waits.

    Raises SessionError when a signal asks to end meanwhile.
    """
    if not path.startswith("/") or not mounts.leads_over_a_mount(path):
        return True
    path = os.path.normpath(path)
    if path not in _paths:
        _paths[path] = _point_answers(path) and _ask(path)
    return _paths[path]


def require(path: str, what: str) -> None:
    """Raise SessionError for a ``path`` that cannot be looked at; ``what`` it is, in words."""
    if not answers(path):
        error = answering.not_answering((path,), answering.PATIENCE_S)
        raise SessionError(f"{error.what}, {what}", error.why, error.remedy, error.step, error.number)


def require_home(name: str, home: str) -> None:
    """Raise SessionError for a home in passwd that does not answer: no session starts before it does."""
    if not answers(home):
        error = answering.not_answering((home,), answering.PATIENCE_S)
        raise SessionError(
            f"{error.what}, {name}'s home on the host",
            f"sshd waits for it before any session starts, and {error.why}",
            error.remedy,
            "account",
            error.number,
        )


def _point_answers(path: str) -> bool:
    point = answering.mount_point(path)
    if point == "/":
        return True  # links lead over the mount
    if point not in _points:
        _points[point] = _ask(point)
    return _points[point]


def _ask(path: str) -> bool:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        answering.require((path,))
    except SessionError as error:
        if error.number == errno.EINTR:
            raise
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return True

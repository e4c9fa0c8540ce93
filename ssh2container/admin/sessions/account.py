"""Names of users that were asked for: nobody is looked for in silence who does not exist."""

from __future__ import annotations

import os
import pwd

from ssh2container.admin.sessions import kernel
from ssh2container.errors import SessionError
from ssh2container.record import registry


def exists(name: str) -> bool:
    """Tell whether ``name`` is a user, or a uid that was one: it has a runtime directory or a process yet."""
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return (
            name.isascii()
            and name.isdigit()
            and (os.path.isdir(f"{registry.DIRECTORY}/{name}") or _has_a_process(name))
        )
    return True


def _has_a_process(uid: str) -> bool:
    return any(uid in map(str, process.uids) for process in kernel.Snapshot().processes.values())


def require(name: str) -> None:
    """Raise SessionError unless :func:`exists`."""
    if not exists(name):
        raise SessionError(f"there is no user {name}", "", "see: ssh2containerctl sessions")

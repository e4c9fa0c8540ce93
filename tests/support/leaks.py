"""What a session leaves behind: nothing. Processes, mounts and files are looked for on the host."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

from ssh2container.plan.ranges import SHARED_TREES
from ssh2container.record.registry import SHARED
from support.host import DEADLINE_SECONDS, mount_table, processes, until
from support.ledger import end_processes, remove_path
from support.users import User

SHARED_DIRECTORIES = (
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    "/run",
    "/var/lib/ssh2container",
    "/var/log/ssh2container",
)
OF_ALL_SESSIONS = (SHARED_TREES, SHARED)
"""Mounts of the host's own, which whatever needs one first makes; they stay."""
SERVICE_MANAGERS = "/run/credentials/"
"""Where systemd mounts what a service of the host is given when it starts (systemd.exec(5), CREDENTIALS)."""
_SOON_SECONDS = DEADLINE_SECONDS / 2
"""Half of what a test may have waited for before, so that there is time left to clean up."""


def files_of(uid: int, top: str) -> Iterator[str]:
    """Everything below ``top`` that belongs to ``uid``, without leaving the file system it is on.

    pytest's own directory apart: there the tests' clients keep files under the owner they got them from.
    """
    device = os.lstat(top).st_dev
    for directory, names, files in os.walk(top):
        names[:] = [
            name
            for name in names
            if _device(f"{directory}/{name}") == device and not name.startswith("pytest-of-")
        ]
        for name in [*names, *files]:
            path = f"{directory}/{name}"
            try:
                if os.lstat(path).st_uid == uid:
                    yield path
            except (FileNotFoundError, NotADirectoryError):
                continue


def _device(path: str) -> int:
    try:
        return os.lstat(path).st_dev
    except (FileNotFoundError, NotADirectoryError):
        return -1


def left_files(user: User) -> list[str]:
    """The user's files outside his home, apart from his runtime directory and its note of a welcome."""
    return [
        path
        for top in SHARED_DIRECTORIES
        if os.path.isdir(top)
        for path in files_of(user.uid, top)
        if path not in (user.runtime_directory, f"{user.runtime_directory}/.welcomed")
    ]


def assert_nothing_left(user: User, mounts_before: list[str]) -> None:
    """No process, mount or file of the user, soon after his last session ended."""
    try:
        until(lambda: not processes(user.uid), "no process of the user is left", _SOON_SECONDS)
        until(lambda: not left_files(user), "no file of the user is left", _SOON_SECONDS)
        until(lambda: not _new_mounts(mounts_before), "no mount is left", _SOON_SECONDS)
    except AssertionError as failure:
        left = [(process.pid, process.name, process.command()) for process in processes(user.uid)]
        raise AssertionError(
            f"{failure}; processes: {left}; files: {left_files(user)}; mounts: {_new_mounts(mounts_before)}"
        ) from None
    finally:
        end_processes(user.uid)
        for path in sorted(left_files(user), reverse=True):
            remove_path(path)


def tidy_after_a_killed_monitor(user: User) -> None:
    """Check that what it left in the registry is known to be stale (its lock is free), and remove it.

    The product removes such an entry at the user's next login.
    """
    assert not processes(user.uid)
    for name in os.listdir(user.runtime_directory):
        if name == ".welcomed":
            continue
        path = f"{user.runtime_directory}/{name}"
        if not name.endswith(".socket"):
            with open(path, "rb") as entry:
                fcntl.flock(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)


def _new_mounts(before: list[str]) -> list[str]:
    return [
        mount
        for mount in mount_table()
        if mount not in before
        and mount.split()[0] not in OF_ALL_SESSIONS
        and not mount.startswith(SERVICE_MANAGERS)
    ]

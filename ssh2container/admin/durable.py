"""Files and directories that have to survive a crash, a full disk or a second administrator."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

from ssh2container.errors import SessionError


@contextlib.contextmanager
def locked(path: str) -> Iterator[int]:
    """Hold the directory ``path`` exclusively for the length of a ``with``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def flush(path: str) -> None:
    """Wait until the filesystem of ``path`` is on the disk (syncfs(2)); raises SessionError."""
    result = subprocess.run(["sync", "-f", path], check=False, capture_output=True)
    if result.returncode:
        raise SessionError(
            "cannot write to the image store", result.stderr.decode("utf-8", "replace").strip(), step="image"
        )


def write(path: str, content: bytes) -> None:
    """Write a new file of mode 644 that is on the disk when we return; raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)


def read_json(path: str) -> dict[str, Any]:
    """Return the object in a JSON file; raises OSError, ValueError."""
    with open(path, encoding="utf-8") as text:
        content: dict[str, Any] = json.load(text)
    return content


def listed(path: str) -> list[str]:
    """Return the names in a directory, none where there is no directory."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def remove(path: str) -> None:
    """Remove a file or a tree of any depth, whatever modes its directories have; a failure is no error.

    rm(1), not shutil: a tool stopped in the middle of a hostile file system leaves thousands of
    directories inside each other.
    """
    subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=False, capture_output=True)


def is_held(path: str, flags: int = 0) -> bool:
    """Tell whether somebody has locked ``path``; what is not there, nobody has. flags: more of open(2)'s."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False

"""A copy of a tree of policies that every user can read: sessions of policy tests load it as their users."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from typing import TYPE_CHECKING

from ssh2container.admin.policy.yaml import files
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORIES = ("", "groups", "profiles", "users")


@contextlib.contextmanager
def readable(policies: str) -> Iterator[str]:
    """Yield a path of what is at ``policies`` now, a configuration directory or a file, for all to read.

    A work tree often lies where only its owner gets to. Others than root test as themselves, from the
    tree itself. Raises SessionError when there is nothing to copy.
    """
    if not policies or os.getuid():
        yield policies
        return
    place = tempfile.mkdtemp(prefix="ssh2container-test-policies-")
    try:
        os.chmod(place, 0o755)  # noqa: S103 - policies are readable by their users
        copy = os.path.join(place, os.path.basename(os.path.abspath(policies)) or "etc")
        if os.path.isdir(policies):
            for name in _DIRECTORIES:
                _copy_directory(os.path.join(policies, name), os.path.join(copy, name))
        else:
            _copy(policies, copy)
        yield copy
    except OSError as error:
        raise SessionError(f"cannot copy the policies {policies}", error.strerror or "") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _copy_directory(source: str, target: str) -> None:
    try:
        names = os.listdir(source)
    except FileNotFoundError:
        return
    os.makedirs(target, mode=0o755)
    for name in names:
        if name.endswith(".yaml"):
            _copy(os.path.join(source, name), os.path.join(target, name))


def _copy(source: str, target: str) -> None:
    """Copy a regular file; a link stays a link, so that nobody is shown what root alone can read."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    # O_NONBLOCK: opening a FIFO would wait for a writer.
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return
        with open(target, "wb") as copy:
            copy.write(file.read(files.SIZE_LIMIT_BYTES + 1))
            os.fchmod(copy.fileno(), 0o644)

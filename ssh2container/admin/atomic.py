"""Files that appear under their name complete and on the disk, or not at all.

The only place in ``admin/`` that makes a file beside its name and renames it. It imports nothing but ``os``:
the installer's tools run it in an interpreter that is not to have loaded more.
"""

from __future__ import annotations

import contextlib
import os

READABLE = 0o644
"""For what every user's login reads."""


def write(
    path: str,
    content: str | bytes,
    mode: int = READABLE,
    *,
    beside: str = "",
    owner: tuple[int, int] | None = None,
) -> None:
    """Put ``content`` at ``path`` in one step, owned by the caller, on the disk before it is visible.

    owner: whose it is to be where that is not the caller, as uid and gid.
    beside: the directory of the same file system to make it in, where it is not to be seen beside ``path``.

    Raises OSError, and leaves nothing then.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    temporary = _name(path, beside)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def update(path: str, content: bytes, mode: int = READABLE) -> bool:
    """Do as :func:`write`, unless ``path`` has this content and mode; return whether it was written.

    Raises OSError, FileNotFoundError where there is no directory for it.
    """
    try:
        with open(path, "rb") as file:
            if file.read() == content and os.fstat(file.fileno()).st_mode & 0o777 == mode:
                return False
    except FileNotFoundError:
        pass
    write(path, content, mode)
    return True


def link(path: str, target: str, *, beside: str = "") -> None:
    """Make ``path`` a symbolic link to ``target`` in one step, whatever was there. Raises OSError."""
    temporary = _name(path, beside)
    try:
        os.symlink(target, temporary)
        os.rename(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _name(path: str, beside: str) -> str:
    """Return a name that nobody guesses, and that readers of directories of policies pass over."""
    directory = beside or os.path.dirname(path) or "."
    return f"{directory}/.{os.path.basename(path)[:64]}.{os.urandom(6).hex()}.new"


def _remove(temporary: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(temporary)

"""Preparing and tidying up a path for a policy test; runs as the user, in a process of its own."""

from __future__ import annotations

import os
import sys

EXISTS = 2
"""Exit status: the path is there already."""


def main(what: str, path: str) -> None:
    """Do ``what`` at ``path``: "absent" checks that nothing is there; "make" and "remove" a file."""
    try:
        if what == "absent":
            sys.exit(EXISTS if os.path.lexists(path) else 0)
        elif what == "make":
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        else:
            _remove(path)
    except FileExistsError:
        sys.exit(EXISTS)
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")


def _remove(path: str) -> None:
    for made in (path, path + ".renamed"):
        if os.path.isdir(made) and not os.path.islink(made):
            os.rmdir(made)
        elif os.path.lexists(made):
            os.unlink(made)

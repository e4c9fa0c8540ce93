"""A directory of the host: read by root with tar, unpacked like any archive."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator

from ssh2container.admin.images import sandbox
from ssh2container.admin.images.safety import Limits
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.staging import Staging
from ssh2container.admin.images.streams import Progress, Stream


class Directory(Source):
    """The tree below a directory, its mounts left out."""

    kind = "directory"

    def streams(self, staging: Staging, limits: Limits, progress: Progress) -> Iterator[Stream]:
        """Yield the one stream."""
        yield stream(self.reference)


def stream(path: str) -> Stream:
    """Return the tree at ``path`` as a tar, written by root: nothing in it is interpreted."""
    argv = [
        sandbox.need("tar", "importing a directory"),
        "--create", "--format=pax", "--numeric-owner", "--one-file-system", "--sparse", "--sort=name",
        "--xattrs", "--xattrs-include=user.*", "--xattrs-exclude=user.overlay.*", "--no-selinux", "--no-acls",
        "--warning=no-file-ignored", "--warning=no-xdev",
        "--directory", os.path.abspath(path), ".",
    ]  # fmt: skip
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process object
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
    process.stderr = errors
    return Stream(f"directory {path}", process)

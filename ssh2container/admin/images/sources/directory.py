"""A directory of the host: read by root with tar, unpacked like any archive."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator

from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.sources import tools
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.unpack.streams import Progress, Stream


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
        *tools.WHOLE, "--one-file-system", "--xattrs-exclude=security.selinux",
        "--warning=no-xdev", "--quoting-style=escape",
        "--directory", os.path.abspath(path), ".",
    ]  # fmt: skip
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process object
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    process.stderr = errors
    made = Stream(f"directory {path}", process)
    made.excuse = _heed
    return made


def _heed(stream: Stream, status: int, complaint: bytes) -> bool:
    """Take over what tar says about single files; say whether that is all that was wrong.

    Its status is 1 when files changed, shrank or went while it read them: no reason to give up a live
    directory (GNU tar manual, "Synopsis").
    """
    for line in complaint.decode("utf-8", "backslashreplace").splitlines():
        name, colon, what = line.partition(": ")[2].rpartition(": ")
        name = name.removeprefix("./")
        if what == "socket ignored":
            stream.neutralised.setdefault("sockets left out", []).append(name)
        elif colon:
            stream.warnings.append(f"{name}: {what}")
    return status == 1

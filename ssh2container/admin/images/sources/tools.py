"""Tools that write files of their own accord, watched: what they take is bounded like an archive."""

from __future__ import annotations

import os
import subprocess
from typing import IO, Any

from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.unpack.rules import HostileError, Limits
from ssh2container.admin.images.unpack.streams import Progress, Stream

WHOLE = (
    "--create", "--format=pax", "--numeric-owner", "--sparse", "--sort=name",
    "--xattrs", "--xattrs-include=*", "--acls", "--no-selinux",
)  # fmt: skip
"""What has tar(1) write all that a tree is, each time in the same order."""
_SLACK = 64 << 20  # bytes that others may write to the filesystem meanwhile without our noticing


def run(
    box: sandbox.Sandbox,
    argv: list[str],
    out: str,
    limits: Limits,
    progress: Progress,
    *,
    what: str,
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = subprocess.DEVNULL,
) -> None:
    """Run ``argv`` in ``box`` until it ends or takes more of the disk of ``out`` than ``limits`` allow.

    Raises SessionError where it fails, HostileError where it grows too far.
    """
    before = os.statvfs(out)

    def look() -> None:
        now = os.statvfs(out)
        taken = (before.f_bavail - now.f_bavail) * now.f_frsize
        progress(what, max(taken, 0), 0)
        if taken > limits.size + _SLACK:
            raise HostileError("", f"{what} makes more than {limits.size} bytes; see --max-size")
        if before.f_favail - now.f_favail > limits.entries * 2:
            raise HostileError("", f"{what} makes more than {limits.entries} files")

    sandbox.watch(box.start(argv, stdin=stdin, stdout=stdout), argv[0], look)


def tar_of(box: sandbox.Sandbox, directory: str, what: str, *, without: str = "") -> Stream:
    """Return the tree that a tool left in ``directory`` of ``box``, but for a path, as a tar stream."""
    argv = [sandbox.need("tar", "importing a filesystem"), *WHOLE]
    if without:
        argv.append(f"--exclude={without}")
    return Stream(what, box.start([*argv, "--directory", directory, "."]))

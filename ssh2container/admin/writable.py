"""What of the host a user's sessions can write to, and whether the host honours set-ID bits there.

A set-user-ID file gives its owner's uid to whoever executes it (execve(2)). Sessions make none
(:mod:`ssh2container.admin.seccomp.floor`); a mount with nosuid is the second lock, and the only one over
files that were made before, by another program of the user's, or under a policy that lets io_uring pass.
"""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING, NamedTuple

from ssh2container.admin.mountpoints import is_mount_point
from ssh2container.admin.reachable import answers
from ssh2container.errors import Refusal
from ssh2container.kernel import answering
from ssh2container.policy import specifiers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ssh2container.policy.policy import Policy

PRIVATE = os.ST_NOSUID | os.ST_NODEV
MOST_ENTRIES = 500_000
"""Of one source, that a search looks at: some seconds of work."""
_SYSTEM_MOUNTS = ("/", "/usr", "/var", "/opt")
"""Mount points on which the host's own programs need their bits."""


class Place(NamedTuple):
    """A writable source. key: of the policy; directory: what is to be mounted nosuid, path or above it."""

    key: str
    path: str
    directory: str


def places(policy: Policy, values: Mapping[str, str]) -> Iterator[Place]:
    """Yield the writable sources that exist. values: what specifiers stand for.

    One behind a file server that does not answer is left out: the rehearsal of a login tells of it.
    """
    named = [(f"volumes.{each.target}", each.source) for each in policy.volumes if not each.read_only]
    if policy.home is not None and policy.home.source and not policy.home.read_only:
        named.append(("home.source", policy.home.source))
    for key, source in named:
        if "%i" in source:
            continue
        try:
            expanded = specifiers.expand(source, values)
        except Refusal:
            continue
        if not answers(expanded):
            continue
        path = os.path.realpath(expanded)
        if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
            above = key == "home.source" or not os.path.isdir(path)
            yield Place(key, path, os.path.dirname(path) if above else path)


def ignores_set_id(path: str) -> bool:
    """Whether the host ignores set-ID bits and devices at ``path``; also where there is nothing."""
    try:
        return os.statvfs(path).f_flag & PRIVATE == PRIVATE
    except OSError:
        return True


def remedy(place: Place) -> str:
    """Return the command that mounts it so for good."""
    point = place.directory
    while not is_mount_point(point):
        point = os.path.dirname(point)
    if point not in _SYSTEM_MOUNTS:
        return f"mount -o remount,nosuid,nodev {shlex.quote(point)}, and add both options in /etc/fstab"
    line = f"{place.directory} {place.directory} none bind,nosuid,nodev 0 0"
    return f"echo {shlex.quote(line)} >>/etc/fstab && mount {shlex.quote(place.directory)}"


def set_id_files(path: str, uids: frozenset[int]) -> tuple[list[str], bool]:
    """Return the files of ``uids`` below ``path`` that hand ids out, and whether all of it was looked at.

    Follows no link and stays on the file system. S_ISGID without the right to execute means nothing.
    """
    found: list[str] = []
    try:
        device = os.lstat(path).st_dev
    except OSError:
        return [], True
    waiting, left = [path], MOST_ENTRIES
    others = answering.mount_points()  # what is mounted there may not even answer
    while waiting:
        try:
            listing = list(os.scandir(waiting.pop()))
        except OSError:
            continue  # gone meanwhile, or a file
        left -= len(listing)
        if left < 0:
            return found, False
        for entry in listing:
            if entry.path in others:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                waiting.append(entry.path)
            elif stat.S_ISREG(status.st_mode) and status.st_uid in uids and hands_out(status.st_mode):
                found.append(entry.path)
    return sorted(found), True


def hands_out(mode: int) -> bool:
    """Whether executing a file with ``mode`` changes ids."""
    return bool(mode & stat.S_ISUID) or mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP

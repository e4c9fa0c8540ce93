"""What a login would refuse of the modes and owners that policies have where they lie."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ssh2container.admin.policy.compile import compiler
from ssh2container.admin.policy.yaml import files
from ssh2container.admin.policy.yaml.problems import ERROR, WARNING, PolicyError, Problem
from ssh2container.errors import Refusal
from ssh2container.policy import store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.store import Places


def problems(places: Places) -> Iterator[Problem]:
    """Yield what a login would refuse of the modes and owners that a tree has."""
    yield from directories(places)
    names = [*compiler.part_names(places)]
    names += [f"profiles/{name}" for name in compiler.names_in(f"{places.configuration}/profiles")]
    for name in names:
        path = places.source(name)
        try:
            files.read_trusted(path, places.anchor, places.owner)
        except FileNotFoundError:
            continue
        except PolicyError as error:
            yield from error.problems
        yield from readable(path, places)


def directories(places: Places) -> Iterator[Problem]:
    """Yield the directories for which every login is refused, with files in them or not."""
    try:
        for directory in store.untrusted(places):
            found = "users other than the administrator can write to it, or it is a link: logins are refused"
            hint = f"chown {places.owner} {directory}; chmod go-w {directory}"
            yield Problem(directory, 0, 0, found, hint=hint)
    except Refusal as error:
        yield Problem(places.configuration, 0, 0, error.reason(), hint=error.remedy)


def readable(path: str, places: Places) -> Iterator[Problem]:
    """Yield what root can read and a login cannot, which has nothing but its user's rights."""
    for directory in (places.configuration, os.path.dirname(path)):
        found = "users cannot reach what is in it: their logins are refused"
        yield from _granted(directory, stat.S_IXOTH, ERROR, found, f"chmod a+rx {directory}")
    found = "users cannot read it: once it has changed since it was compiled, their logins are refused"
    yield from _granted(path, stat.S_IROTH, WARNING, found, f"chmod a+r {path}")


def _granted(path: str, right: int, severity: str, found: str, remedy: str) -> Iterator[Problem]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    # A group other than root's is surely meant for them.
    if not status.st_mode & (right | (right << 3 if status.st_gid else 0)):
        found += f" (mode {stat.S_IMODE(status.st_mode):04o})"
        yield Problem(path, 0, 0, found, hint=remedy, severity=severity)

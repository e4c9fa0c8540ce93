"""Garbage: versions that no name, no policy and no session needs, and who needs the others."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import NamedTuple

from ssh2container.admin.durable import is_held, listed, locked, remove
from ssh2container.admin.images.store.staging import sweep
from ssh2container.admin.images.store.store import Store, Version
from ssh2container.errors import SessionError
from ssh2container.plan.ranges import OWN_TREES, SHARED_TREES
from ssh2container.policy.store import STANDARD

_DIGEST = re.compile(rb"sha256:([0-9a-f]{64})")
POLICIES = STANDARD.configuration


class Fate(NamedTuple):
    """What becomes of a version and why; ``size`` in bytes."""

    version: Version
    kept: str
    size: int


def collect(store: Store, *, dry_run: bool = False, policies: str = POLICIES) -> list[Fate]:
    """Remove every version that nobody needs; return what became of each.

    Needed is what a name or a file below ``policies`` refers to and what a session holds: by the
    lock that plan.image.Image takes, or by a mount of its files in any mount namespace.
    """
    store.prepare()
    named: dict[str, list[str]] = {}
    fates = []
    # Nobody gives a name meanwhile: what has none, and nobody holds, has none when it goes, either.
    with locked(f"{store.path}/names"), locked(f"{store.path}/staging"):
        for name, digest in store.names().items():
            named.setdefault(digest, []).append(name)
        pinned = _pinned(store, policies)
        mounted = _mounted(store)
        sweep(f"{store.path}/staging")
        for version in store.versions().values():
            kept = ", ".join(named.get(version.digest, []))
            if not kept and version.digest in pinned:
                kept = f"a policy pins it ({pinned[version.digest]})"
            if not kept and version.hexadecimal in mounted:
                kept = "a session runs in it"
            if not kept and not _retire(store, version, dry_run=dry_run):
                kept = "a session runs in it"
            fates.append(Fate(version, kept, size_of(version)))
        if not dry_run:
            _orphans(store)
            sweep(f"{store.path}/staging")
    return fates


def size_of(version: Version) -> int:
    """Return the bytes of all trees of ``version``, blocks that they share counted twice."""
    trees = 2 if version.info["range"][1] else 1
    return int(version.info["size"]) * trees


def _retire(store: Store, version: Version, *, dry_run: bool) -> bool:
    """Move the version out of the store unless a session holds it; say whether it may go."""
    tree = store.tree(version)
    descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not dry_run:
            gone = f"{store.path}/staging/{version.hexadecimal}"
            os.rename(tree, gone)
            remove(gone)
            _remove_shifted(store, version.hexadecimal)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _orphans(store: Store) -> None:
    """Remove trees without info.json, and shifted trees and registry digests of what is gone."""
    for entry in os.listdir(f"{store.path}/trees"):
        path = f"{store.path}/trees/{entry}"
        if not os.path.exists(f"{path}/info.json"):
            remove(path)
    for entry in os.listdir(store.shifted_trees):
        if not os.path.isdir(f"{store.path}/trees/{entry.partition('-')[0]}"):
            remove(f"{store.shifted_trees}/{entry}")
    for entry in listed(f"{store.path}/shifted"):
        tree = f"{store.path}/trees/{entry.partition('.')[0]}"
        if "." in entry and not is_held(tree, os.O_DIRECTORY):
            remove(f"{store.path}/shifted/{entry}")  # put away: see shifting.put_away
    for entry in os.listdir(f"{store.path}/digests"):
        path = f"{store.path}/digests/{entry}"
        if not os.path.exists(path):
            os.unlink(path)


def _remove_shifted(store: Store, hexadecimal: str) -> None:
    for entry in listed(store.shifted_trees):
        if entry.startswith(f"{hexadecimal}-"):
            remove(f"{store.shifted_trees}/{entry}")


def _pinned(store: Store, policies: str) -> dict[str, str]:
    """Return digest of a version → the policy file that names it, or its registry's digest."""
    pinned = {}
    for directory, _, files in os.walk(policies):
        for name in files:
            path = f"{directory}/{name}"
            with contextlib.suppress(OSError), open(path, "rb") as file:
                for match in _DIGEST.findall(file.read(1 << 20)):
                    with contextlib.suppress(SessionError):
                        pinned[store.version(f"pinned@sha256:{match.decode()}").digest] = path
    return pinned


def _mounted(store: Store) -> set[str]:
    """Return the versions whose trees a mount of any process names (proc(5), mountinfo)."""
    trees = os.fsencode(store.path) + b"/trees/"
    # Where sessions with a range see the same under other ids.
    shown = re.escape(os.fsencode(SHARED_TREES)), re.escape(os.fsencode(OWN_TREES))
    pattern = re.compile(b"(?:%s|%s/|%s/[0-9]+/[0-9]+/)([0-9a-f]{64})" % (re.escape(trees), *shown))
    found: set[str] = set()
    seen: set[str] = set()
    for process in os.listdir("/proc"):
        if not process.isdecimal():
            continue
        with contextlib.suppress(OSError):
            namespace = os.readlink(f"/proc/{process}/ns/mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            with open(f"/proc/{process}/mountinfo", "rb") as file:
                text = file.read()
            found.update(match.group(1).decode() for match in pattern.finditer(text))
    return found

"""Checking one file: anywhere by its name, or as a draft of a file of the installation."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin.login import verdict
from ssh2container.admin.policy import check, check_policy, diff, lint, logins, origins, sums
from ssh2container.admin.policy.compile import compiler, loader
from ssh2container.admin.policy.schema.settings import POLICY, SITE
from ssh2container.admin.policy.yaml import files
from ssh2container.admin.policy.yaml.problems import WARNING, PolicyError, Problem
from ssh2container.errors import Refusal
from ssh2container.policy import store

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ssh2container.admin.policy.check_policy import Findings
    from ssh2container.policy.merge import Layer
    from ssh2container.policy.policy import Policy
    from ssh2container.policy.store import Places


def file(path: str, places: Places) -> Findings:
    """Check one file anywhere. Its name and its directory's say what it is, e.g. users/alice.yaml.

    In a tree of policies it is checked with the other files of its chain; elsewhere for itself,
    with the profiles of ``places``.
    """
    part = _part_of(path)
    root = _root_of(path, part)
    if root is None:
        return _check(path, part, places, None, here=False)
    if os.path.realpath(root) == os.path.realpath(places.configuration):
        return _installed(path, part, places)
    found = _check(path, part, store.Places(root, places.shipped, places.compiled, anchor=""), (), here=False)
    if os.path.isfile(path) and os.stat(path).st_mode & 0o022:
        message = "users other than its owner can write to it: once installed, logins are refused"
        found.add(Problem(path, 0, 0, message, hint=f"chmod go-w {path}", severity=WARNING))
    return found


def _installed(path: str, part: str, places: Places) -> Findings:
    """Check a file that logins read, as they read it."""
    findings = check_policy.Findings()
    try:
        files.read_trusted(
            os.path.join(places.configuration, part + compiler.SUFFIX), places.anchor, places.owner
        )
    except PolicyError as error:
        findings.add(*error.problems)
    except FileNotFoundError:
        pass  # said below
    findings.add(*_check(path, part, places, _groups(part), here=True, installed=True).all())
    return findings


def draft(path: str, part: str, places: Places) -> Findings:
    """Check a file that is meant to become ``part`` of ``places``."""
    return _check(path, part, places, _groups(part), here=True)


def _meant(path: str) -> str:
    """Return what whoever has named a file that is not there may have meant: a user, say."""
    for part in (path, f"users/{path}", f"groups/{path}"):
        found = store.STANDARD.source(part.removesuffix(compiler.SUFFIX))
        if os.path.isfile(found):
            return f"ssh2containerctl check {shlex.quote(found)}"
    return ""


def _groups(part: str) -> Collection[str]:
    if not part.startswith("users/"):
        return ()
    try:
        return origins.groups_of(part.removeprefix("users/"))
    except Refusal:
        return ()  # nobody's file yet: `check` warns of it


def _check(
    path: str,
    part: str,
    places: Places,
    groups: Collection[str] | None,
    *,
    here: bool,
    installed: bool = False,
) -> Findings:
    """Check a file as ``part`` of ``places``. groups: of its user; None for a file that has no chain."""
    findings = check_policy.Findings()
    if part.startswith("tests/"):
        findings.add(*check.promises(path))
        return findings
    try:
        source = files.read_any(path)
    except FileNotFoundError:
        findings.add(Problem(path, 0, 0, "there is no such file", hint=_meant(path)))
        return findings
    except PolicyError as error:
        findings.add(*error.problems)
        return findings
    loaded = loader.load(source, SITE if part == "config" else POLICY)
    findings.add(*loaded.problems)
    if part == "config":
        findings.add(*sums.of_site(source, loaded))
        return findings
    layers, problems = compiler.profile_layers(source, loaded, places)
    findings.add(*problems, *lint.of_file(source, loaded, part))
    around = None if findings.errors() else _around(part, places, groups)
    if around is not None:
        chain = (around[0], layers) if part == "enforced" else ([*around[0], *layers], around[1])
        complete = part not in compiler.FOR_EVERYBODY and not part.startswith("profiles/")
        asked = part.startswith("users/") and verdict.can_ask(part.removeprefix("users/"))
        policy = check_policy.check_policy(
            findings, chain, {path: source}, complete=complete, here=here, asked=asked
        )
        if complete:
            findings.add(*check_policy.losses(policy, path))
        if part.startswith("users/") and not findings.errors():
            _logins(findings, part.removeprefix("users/"), policy, {path: source}, installed=installed)
    return findings


def _logins(
    findings: Findings, name: str, policy: Policy, sources: dict[str, files.Source], *, installed: bool
) -> None:
    """Add why the user's logins would not start.

    Of a file that is not in place, for which a home or an image may be made yet, these are warnings.
    """
    for key, message, hint, severity in logins.of_user(name, policy, installed=installed):
        shown = severity if installed else WARNING
        findings.add(check_policy.at(policy, key, message, sources, hint=hint, severity=shown))


def _around(
    part: str, places: Places, groups: Collection[str] | None
) -> tuple[Sequence[Layer], Sequence[Layer]] | None:
    """Return the layers below and above ``part``; None when one of them is not valid itself."""
    if groups is None or part.startswith("profiles/"):
        return [compiler.BUILT_IN], []
    try:
        below = [compiler.BUILT_IN] if part == "defaults" else diff.below(groups, places)
        return below, [] if part == "enforced" else compiler.part("enforced", places).layers
    except PolicyError:
        return None


def _part_of(path: str) -> str:
    """Say what a file anywhere is, by its name and its directory's."""
    directory, name = os.path.split(os.path.abspath(path))
    stem = name.removesuffix(compiler.SUFFIX)
    below = os.path.basename(directory)
    return f"{below}/{stem}" if below in compiler.DIRECTORIES else stem


def _root_of(path: str, part: str) -> str | None:
    """Return the tree of policies that ``path`` stands in, None when it stands alone."""
    directory = os.path.dirname(os.path.abspath(path))
    above = os.path.dirname(directory)
    if "/" in part:
        return above
    if part in compiler.FOR_EVERYBODY:
        return directory
    return next((root for root in (directory, above) if os.path.isdir(f"{root}/profiles")), None)

"""Checking one file: anywhere by its name, or as a draft of a file of the installation."""

from __future__ import annotations

import os

from ssh2container.admin.language import checking, comparing, compiler, lints, loader, provenance, reading
from ssh2container.admin.language.problems import PolicyError, Problem
from ssh2container.admin.language.settings import POLICY, SITE
from ssh2container.errors import Refusal
from ssh2container.policy import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ssh2container.admin.language.checking import Findings
    from ssh2container.policy.merge import Layer
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
    return _check(path, part, store.Places(root, places.shipped, places.compiled, anchor=""), (), here=False)


def draft(path: str, part: str, places: Places) -> Findings:
    """Check a file that is meant to become ``part`` of ``places``."""
    groups: Collection[str] = ()
    if part.startswith("users/"):
        try:
            groups = provenance.groups_of(part.removeprefix("users/"))
        except Refusal:
            groups = ()  # nobody's file yet: `check` warns of it
    return _check(path, part, places, groups, here=True)


def _check(path: str, part: str, places: Places, groups: Collection[str] | None, *, here: bool) -> Findings:
    """Check a file as ``part`` of ``places``. groups: of its user; None for a file that has no chain."""
    findings = checking.Findings()
    if part.startswith("tests/"):
        findings.add(*checking.promises(path))
        return findings
    try:
        source = reading.read_any(path)
    except FileNotFoundError:
        findings.add(Problem(path, 0, 0, "there is no such file"))
        return findings
    except PolicyError as error:
        findings.add(*error.problems)
        return findings
    loaded = loader.load(source, SITE if part == "config" else POLICY)
    findings.add(*loaded.problems)
    if part == "config":
        return findings
    layers, problems = compiler.profile_layers(source, loaded, places)
    findings.add(*problems, *lints.of_file(source, loaded, part))
    around = None if findings.errors() else _around(part, places, groups)
    if around is not None:
        chain = [*around[0], *layers, *around[1]]
        complete = part not in _TOP and not part.startswith("profiles/")
        checking.check_policy(findings, chain, {path: source}, complete=complete, here=here)
    return findings


def _around(
    part: str, places: Places, groups: Collection[str] | None
) -> tuple[Sequence[Layer], Sequence[Layer]] | None:
    """Return the layers below and above ``part``; None when one of them is not valid itself."""
    if groups is None or part.startswith("profiles/"):
        return [compiler.BUILT_IN], []
    try:
        below = [compiler.BUILT_IN] if part == "defaults" else comparing.below(groups, places)
        return below, [] if part == "enforced" else compiler.part("enforced", places).layers
    except PolicyError:
        return None


def _part_of(path: str) -> str:
    """Say what a file anywhere is, by its name and its directory's."""
    directory, name = os.path.split(os.path.abspath(path))
    stem = name.removesuffix(compiler.SUFFIX)
    below = os.path.basename(directory)
    return f"{below}/{stem}" if below in _BELOW else stem


_BELOW = ("users", "groups", "profiles", "tests")
_TOP = ("config", "defaults", "enforced")


def _root_of(path: str, part: str) -> str | None:
    """Return the tree of policies that ``path`` stands in, None when it stands alone."""
    directory = os.path.dirname(os.path.abspath(path))
    above = os.path.dirname(directory)
    if "/" in part:
        return above
    if part in _TOP:
        return directory
    return next((root for root in (directory, above) if os.path.isdir(f"{root}/profiles")), None)

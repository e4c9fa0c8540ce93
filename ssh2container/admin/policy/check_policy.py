"""Checking a user's policy as it comes out of its files, against the host."""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING

from ssh2container.admin.policy import keeping, lint, networks, origins, sums, times
from ssh2container.admin.policy.yaml.problems import ERROR, WARNING, Problem
from ssh2container.plan import hooks
from ssh2container.plan.image import IMAGES
from ssh2container.policy import rules
from ssh2container.policy.merge import merge
from ssh2container.policy.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.policy.merge import Layer


class Findings:
    """Problems without repetition: a profile's error is told once, not once for each of its users."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, int, str], Problem] = {}

    def add(self, *problems: Problem) -> None:
        """Take problems that are not known yet."""
        for problem in problems:
            self._found.setdefault(problem.key(), problem)

    def all(self) -> list[Problem]:
        """Return all problems in the order of files and lines."""
        return [self._found[key] for key in sorted(self._found)]

    def errors(self) -> list[Problem]:
        """Return the problems that refuse a policy."""
        return [problem for problem in self.all() if problem.severity == ERROR]


def check_policy(
    findings: Findings,
    layers: Sequence[Layer],
    sources: dict[str, Source],
    *,
    complete: bool,
    here: bool,
    asked: bool = False,
) -> Policy:
    """Check a merged policy and return it.

    complete: somebody logs in with it as it is; no other file can add to it any more.
    here: the policy is for this host, whose images and filters it can name.
    asked: somebody's logins are looked at too, which say more of the image.
    """
    policy = Policy(*merge(layers))
    for rule in rules.broken(policy):
        if complete:
            findings.add(at(policy, rule.key, rule.message, sources, allowed=rule.allowed))
        elif rule.key != "home":
            problem = at(policy, rule.key, rule.message, sources, rule.allowed, _INCOMPLETE, WARNING)
            findings.add(problem)
    if complete:
        refused = (*lint.contradictions(policy), *sums.contradictions(policy), *times.contradictions(policy))
        for key, message, allowed in refused:
            findings.add(at(policy, key, message, sources, allowed=allowed))
    weak = (m.of_policy(policy) for m in (lint, networks, sums, times))
    for key, message, hint in chain.from_iterable(weak):
        findings.add(at(policy, key, message, sources, hint=hint, severity=WARNING))
    unknown = lint.unknown_filter(policy)
    if unknown:
        severity = ERROR if here else WARNING
        message, allowed, hint = unknown
        findings.add(at(policy, "seccomp.profile", message, sources, allowed, hint, severity))
    if here:
        for key, message, hint in networks.of_host(policy):
            findings.add(at(policy, key, message, sources, hint=hint, severity=WARNING))
    findings.add(*_of_hooks(policy, sources, here=here, asked=asked))
    if not asked and (here or os.path.isdir(IMAGES)):
        for key, message, hint in lint.of_image(policy):
            findings.add(at(policy, key, message, sources, hint=hint, severity=WARNING))
    return policy


def _of_hooks(policy: Policy, sources: dict[str, Source], *, here: bool, asked: bool) -> Iterator[Problem]:
    """Yield the hooks outside that this host has not, or that others could change.

    here, asked: as of :func:`check_policy`.
    """
    for hook, fault in hooks.faults(policy.hooks) if here else ():
        refuses = hook.counts or isinstance(fault, hooks.Untrusted)
        if not (refuses and asked):
            found = f"{fault.reason()}: {'logins are refused' if refuses else 'it does not run'}"
            severity = ERROR if refuses else WARNING
            yield at(policy, hook.key, found, sources, hint=fault.remedy, severity=severity)


def losses(policy: Policy, path: str) -> Iterator[Problem]:
    """Yield what uploads are lost; told of the file at ``path``, as nobody wrote that nothing is kept."""
    lost = keeping.loss(policy)
    if lost is not None:
        yield Problem(path, 0, 0, lost[0], hint=lost[1], severity=WARNING)


_INCOMPLETE = "an error unless another of the user's files overrides it"


def at(
    policy: Policy,
    key: str,
    message: str,
    sources: dict[str, Source],
    allowed: str = "",
    hint: str = "",
    severity: str = ERROR,
) -> Problem:
    """Return a problem at the place where ``key`` was written."""
    origin = policy.origin(key)
    if origin is None:
        return Problem(origins.BUILT_IN, 0, 0, message, allowed, hint, severity=severity)
    source = sources.get(origin.file)
    text = source.line(origin.line) if source else ""
    column = len(text) - len(text.lstrip()) + 1
    return Problem(origin.file, origin.line, column, message, allowed, hint, text, severity)

"""Checking a user's policy as it comes out of its files, against the host."""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING

from ssh2container.admin.host_commands import trust
from ssh2container.admin.policy import jobs, keeping, lint, networks, origins, sums, times
from ssh2container.admin.policy.yaml.problems import ERROR, WARNING, Problem
from ssh2container.errors import printable
from ssh2container.plan import hooks
from ssh2container.plan.image import IMAGES
from ssh2container.policy import images, key_rules, keyed, rules, store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.policy.merge import Layer
    from ssh2container.policy.policy import Policy


class Findings:
    """Problems without repetition: a profile's error is told once, not once for each of its users."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, int, str], Problem] = {}

    def add(self, *problems: Problem) -> None:
        """Take problems that are not known yet."""
        for problem in problems:
            self._found.setdefault(problem.key(), problem)

    def add_of_key(self, problem: Problem, name: str) -> None:
        """Take a problem of the policy of the key ``name``, where the user's own has it not, too."""
        if problem.key() not in self._found:
            problem.message += f" (in the policy of {printable(name)})"
            self.add(problem)

    def all(self) -> list[Problem]:
        """Return all problems in the order of files and lines."""
        return [self._found[key] for key in sorted(self._found)]

    def errors(self) -> list[Problem]:
        """Return the problems that refuse a policy."""
        return [problem for problem in self.all() if problem.severity == ERROR]


def check_policy(
    findings: Findings,
    layers: tuple[Sequence[Layer], Sequence[Layer]],
    sources: dict[str, Source],
    *,
    complete: bool,
    here: bool,
    asked: bool = False,
) -> Policy:
    """Check a merged policy and those of its keys, and return it.

    layers: what :func:`store.merged` makes it of.
    complete: somebody logs in with it as it is; no other file can add to it any more.
    here: the policy is for this host, whose images and filters it can name.
    asked: somebody's logins are looked at too, which say more of the image.
    """
    policy = store.merged(*layers)
    _check(findings, policy, sources, complete=complete, here=here, asked=asked)
    every = [policy]
    for name in policy.values[key_rules.KEY]:
        made, found = keyed.unchecked(policy, name), Findings()
        every.append(made)
        _check(found, made, sources, complete=complete, here=here, asked=asked)
        for rule in keyed.beyond(policy, made):
            severity = ERROR if complete else WARNING
            found.add(at(made, rule.key, rule.message, sources, rule.allowed, severity=severity))
        for problem in found.all():
            findings.add_of_key(problem, name)
    if complete:
        findings.add(*_of_menu(every, sources))
    return policy


def _check(
    findings: Findings,
    policy: Policy,
    sources: dict[str, Source],
    *,
    complete: bool,
    here: bool,
    asked: bool,
) -> None:
    choices = images.choices(policy)
    for rule in chain.from_iterable(map(rules.broken, choices)):
        if complete:
            findings.add(at(policy, rule.key, rule.message, sources, allowed=rule.allowed))
        elif rule.key != "home":
            problem = at(policy, rule.key, rule.message, sources, rule.allowed, _INCOMPLETE, WARNING)
            findings.add(problem)
    if complete:
        of_each = chain.from_iterable(map(lint.contradictions, choices))
        of_all = (m.contradictions(policy) for m in (sums, times, jobs))
        for key, message, allowed in (*of_each, *chain.from_iterable(of_all)):
            findings.add(at(policy, key, message, sources, allowed=allowed))
    weak = (*map(lint.of_policy, choices), *(m.of_policy(policy) for m in (networks, sums, times)))
    for key, message, hint in chain.from_iterable(weak):
        findings.add(at(policy, key, message, sources, hint=hint, severity=WARNING))
    unknown = lint.unknown_filter(policy)
    if unknown:
        severity = ERROR if here else WARNING
        message, allowed, hint = unknown
        findings.add(at(policy, "seccomp.profile", message, sources, allowed, hint, severity))
    if here:
        findings.add(*_of_host(policy, sources))
    findings.add(*_of_hooks(policy, sources, here=here, asked=asked))
    findings.add(*_of_commands(policy, sources, here=here))
    if not asked and (here or os.path.isdir(IMAGES)):
        for key, message, hint in chain.from_iterable(map(lint.of_image, choices)):
            findings.add(at(policy, key, message, sources, hint=hint, severity=WARNING))


def _of_menu(every: Sequence[Policy], sources: dict[str, Source]) -> Iterator[Problem]:
    """Yield that a menu has nothing to offer. every: a user's own policy and those of the keys.

    One of them with several images is enough: the others have what is written for that one.
    """
    asking = [policy for policy in every if policy.values[images.MENU]]
    if asking and all(len(images.of(policy)) == 1 for policy in asking):
        found = f"there is no choice: the only image is {asking[0].image}, and nobody is asked"
        hint = f"images: [{asking[0].image}, ANOTHER], or leave it out"
        yield at(asking[0], images.MENU, found, sources, hint=hint, severity=WARNING)


def _of_host(policy: Policy, sources: dict[str, Source]) -> Iterator[Problem]:
    """Yield what this host has not that the policy needs: networks, mail and who runs jobs."""
    for key, message, hint in chain(networks.of_host(policy), jobs.unscheduled(policy)):
        yield at(policy, key, message, sources, hint=hint, severity=WARNING)
    for key, message, hint in jobs.unmailed(policy):
        yield at(policy, key, message, sources, hint=hint)


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


def _of_commands(policy: Policy, sources: dict[str, Source], *, here: bool) -> Iterator[Problem]:
    """Yield the commands that this host would not run for anybody."""
    for command, fault in trust.faults(policy) if here and policy.values["host_commands"] else ():
        severity = ERROR if isinstance(fault, trust.Unsafe) else WARNING
        found = f"{fault.reason()}: it is refused"
        yield at(policy, command.key, found, sources, hint=fault.remedy, severity=severity)


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

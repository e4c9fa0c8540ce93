"""Everything that can be said about policies before anyone logs in."""

from __future__ import annotations

import os
import pwd

from ssh2container.admin.language import comparing, compiler, lints, loader, provenance, reading
from ssh2container.admin.language.problems import ERROR, WARNING, PolicyError, Problem
from ssh2container.admin.language.settings import POLICY, SITE
from ssh2container.errors import Refusal
from ssh2container.policy import rules, specifiers, store
from ssh2container.policy.merge import merge
from ssh2container.policy.policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ssh2container.admin.language.reading import Source
    from ssh2container.policy.merge import Layer
    from ssh2container.policy.store import Places

    Advance = Callable[[str], None]


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


def installation(places: Places, advance: Advance = lambda _: None) -> Findings:
    """Check every file of an installation, and the policy that each user and group gets.

    advance: is told each file before it is checked.
    """
    return _Installation(places, advance).check()


def file(path: str, places: Places) -> Findings:
    """Check one file anywhere; its profiles come from ``profiles`` beside it, then from ``places``."""
    return draft(path, _beside(path, places))


def draft(path: str, places: Places) -> Findings:
    """Check one file that is meant for ``places``."""
    findings = Findings()
    try:
        source = reading.read_any(path)
    except FileNotFoundError:
        findings.add(Problem(path, 0, 0, "there is no such file"))
        return findings
    except PolicyError as error:
        findings.add(*error.problems)
        return findings
    part = _part_of(path)
    language = SITE if part == "config" else POLICY
    loaded = loader.load(source, language)
    findings.add(*loaded.problems)
    if language is SITE:
        return findings
    layers, problems = compiler.profile_layers(source, loaded, places)
    findings.add(*problems, *lints.of_file(source, loaded, part))
    if not findings.errors():
        _check_policy(findings, [compiler.BUILT_IN, *layers], {path: source}, complete=False)
    return findings


def tree(directory: str, advance: Advance = lambda _: None) -> Findings:
    """Check a configuration directory anywhere, e.g. a work tree of git, as if it were installed."""
    places = comparing.elsewhere(directory)
    return _Installation(places, advance, accounts=False).check()


class _Installation:
    def __init__(self, places: Places, advance: Advance, *, accounts: bool = True) -> None:
        self.places = places
        self.advance = advance
        self.accounts = accounts
        self.findings = Findings()
        self.parts: dict[str, Sequence[Layer]] = {}
        self.sources: dict[str, Source] = {}
        self.order: tuple[str, ...] = ()

    def check(self) -> Findings:
        try:
            site = compiler.part("config", self.places).layers[0][2]
        except PolicyError as error:
            self.findings.add(*error.problems)
            site = SITE.defaults() | {"unlisted": ()}
        self.order = site["group_order"]
        self.findings.add(*compiler.unlisted(self.places, site))
        for directory in (f"{self.places.configuration}/profiles", self.places.shipped):
            for name in compiler.names_in(directory):
                self._file(f"{directory}/{name}.yaml", "profile")
        names = [name for name in compiler.part_names(self.places) if name != "config"]
        for name in names:
            self.advance(name)
            self._part(name)
        for name in names:
            self._effective(name)
        return self.findings

    def _file(self, path: str, part: str) -> None:
        if path in self.sources:
            return
        try:
            source = reading.read_trusted(path, self.places.anchor, self.places.owner)
        except FileNotFoundError:
            return
        except PolicyError as error:
            self.findings.add(*error.problems)
            return
        self.sources[path] = source
        loaded = loader.load(source)
        self.findings.add(*loaded.problems, *lints.of_file(source, loaded, part))

    def _part(self, name: str) -> None:
        self._file(self.places.source(name), name)
        try:
            self.parts[name] = compiler.part(name, self.places).layers
        except PolicyError as error:
            self.findings.add(*error.problems)

    def _effective(self, name: str) -> None:
        """Check what a group's or a user's file comes to in the chain."""
        below, _, who = name.rpartition("/")
        path = self.places.source(name)
        chain = ["defaults"]
        if below == "users":
            groups = self._account(who, path) if self.accounts else ()
            chain += ["groups/" + group for group in self.order if group in groups]
        if below:
            chain.append(name)
        chain.append("enforced")
        if all(part in self.parts for part in chain if os.path.lexists(self.places.source(part))):
            layers = [layer for part in chain for layer in self.parts.get(part, ())]
            policy = _check_policy(self.findings, layers, self.sources, complete=below == "users")
            if below == "users" and self.accounts:
                self._home(policy, who)

    def _account(self, name: str, path: str) -> Sequence[str]:
        try:
            groups = provenance.groups_of(name)
        except Refusal:
            self._warn(path, f"there is no user {name}: the file serves nobody")
            return ()
        first = lints.second_name(name)
        if first:
            message = f"{name} has the uid of {first}: neither can be told from the other, logins are refused"
            self.findings.add(Problem(path, 0, 0, message, hint="give each user a uid of their own"))
        for message in lints.of_account(name, groups):
            self._warn(path, message)
        return groups

    def _home(self, policy: Policy, name: str) -> None:
        """Compare the session's home with the user's on the host, which only the name service knows."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return
        values = {"u": name, "U": str(entry.pw_uid), "h": entry.pw_dir, "g": name, "i": "0"}
        for key, message, hint in lints.of_volumes(policy, entry.pw_dir, values):
            self.findings.add(_at(policy, key, message, self.sources, hint=hint, severity=WARNING))
        if policy.home is None or not policy.home.source or policy.home.source == "%h":
            return
        try:
            source = specifiers.expand(policy.home.source, values)
        except Refusal as error:
            self.findings.add(_at(policy, "home.source", str(error), self.sources))
            return
        if rules.exposes_home(policy, source, entry.pw_dir):
            rule = rules.HOST_HOME
            self.findings.add(_at(policy, rule.key, rule.message, self.sources, allowed=rule.allowed))

    def _warn(self, path: str, message: str) -> None:
        self.findings.add(Problem(path, 0, 0, message, severity=WARNING))


def _check_policy(
    findings: Findings, layers: Sequence[Layer], sources: dict[str, Source], *, complete: bool
) -> Policy:
    """Check a merged policy. complete: nothing can be added to it by another file any more."""
    policy = Policy(*merge(layers))
    for rule in rules.broken(policy):
        if complete or policy.home is None or policy.home.source is not None:
            findings.add(_at(policy, rule.key, rule.message, sources, allowed=rule.allowed))
    for key, message, hint in lints.of_policy(policy):
        findings.add(_at(policy, key, message, sources, hint=hint, severity=WARNING))
    return policy


def _at(
    policy: Policy,
    key: str,
    message: str,
    sources: dict[str, Source],
    allowed: str = "",
    hint: str = "",
    severity: str = ERROR,
) -> Problem:
    origin = policy.origin(key)
    if origin is None:
        return Problem(provenance.BUILT_IN, 0, 0, message, allowed, hint, severity=severity)
    source = sources.get(origin.file)
    text = source.line(origin.line) if source else ""
    column = len(text) - len(text.lstrip()) + 1
    return Problem(origin.file, origin.line, column, message, allowed, hint, text, severity)


def _part_of(path: str) -> str:
    """Say what a file anywhere is, by its name and its directory's."""
    directory, name = os.path.split(os.path.abspath(path))
    stem = name.removesuffix(compiler.SUFFIX)
    below = os.path.basename(directory)
    return f"{below}/{stem}" if below in ("users", "groups", "profiles") else stem


def _beside(path: str, places: Places) -> Places:
    """Return places whose profiles are those of the tree that ``path`` is in, if it has some."""
    directory = os.path.dirname(os.path.abspath(path))
    for tree_root in (directory, os.path.dirname(directory)):
        if os.path.isdir(f"{tree_root}/profiles"):
            return store.Places(tree_root, places.shipped, places.compiled, anchor="")
    return places

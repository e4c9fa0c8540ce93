"""Everything that can be said about policies before anyone logs in."""

from __future__ import annotations

import os
import pwd
import stat

from ssh2container.admin.language import comparing, compiler, lints, loader, provenance, reading
from ssh2container.admin.language.problems import ERROR, WARNING, PolicyError, Problem
from ssh2container.admin.language.settings import SITE
from ssh2container.admin.promises import grammar
from ssh2container.errors import Refusal
from ssh2container.policy import rules, specifiers
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


def count(places: Places) -> int:
    """Return how many files :func:`installation` tells."""
    return sum(name != "config" for name in compiler.part_names(places))


def tree(directory: str, advance: Advance = lambda _: None) -> Findings:
    """Check a configuration directory anywhere, e.g. a work tree of git, as if it were installed."""
    places = comparing.elsewhere(directory)
    findings = _Installation(places, advance, accounts=False).check()
    if not any(os.path.lexists(f"{directory}/{name}") for name in PARTS):
        findings.add(Problem(directory, 0, 0, "there is no policy in this directory", ", ".join(PARTS)))
    return findings


PARTS = ("config.yaml", "defaults.yaml", "enforced.yaml", "groups", "users", "profiles", "tests")
"""What makes a configuration directory; none of them has to be there."""


class _Installation:
    def __init__(self, places: Places, advance: Advance, *, accounts: bool = True) -> None:
        self.places = places
        self.advance = advance
        self.accounts = accounts
        self.findings = Findings()
        self.parts: dict[str, Sequence[Layer]] = {}
        self.sources: dict[str, Source] = {}
        self.order: tuple[str, ...] = ()
        self.everybody = False

    def check(self) -> Findings:
        try:
            site = compiler.part("config", self.places).layers[0][2]
        except PolicyError as error:
            self.findings.add(*error.problems)
            site = SITE.defaults() | {"unlisted": ()}
        if self.accounts and os.path.lexists(self.places.source("config")):
            self._readable(self.places.source("config"))
        self.order = site["group_order"]
        self.findings.add(*lints.of_directory(self.places))
        self.findings.add(*compiler.unlisted(self.places, site))
        for directory in (f"{self.places.configuration}/profiles", self.places.shipped):
            for name in compiler.names_in(directory):
                self._file(f"{directory}/{name}.yaml", "profile")
        for name in compiler.names_in(f"{self.places.configuration}/tests"):
            self.findings.add(*promises(f"{self.places.configuration}/tests/{name}.yaml"))
        self.everybody = site["admit"] == "everybody"
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
        if self.accounts:
            self._readable(path)
        loaded = loader.load(source)
        self.findings.add(*loaded.problems, *lints.of_file(source, loaded, part))

    def _readable(self, path: str) -> None:
        """Report what root can read and a login cannot, which has nothing but its user's rights."""
        for directory in (self.places.configuration, os.path.dirname(path)):
            found = "users cannot pass through it: their logins are refused"
            self._granted(directory, stat.S_IXOTH, ERROR, found, f"chmod a+rx {directory}")
        found = "users cannot read it: refused are their logins that find it changed since it was compiled"
        self._granted(path, stat.S_IROTH, WARNING, found, f"chmod a+r {path}")

    def _granted(self, path: str, right: int, severity: str, found: str, remedy: str) -> None:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return
        # A group other than root's is surely meant for them.
        if not status.st_mode & (right | (right << 3 if status.st_gid else 0)):
            found += f" (mode {stat.S_IMODE(status.st_mode):04o})"
            self.findings.add(Problem(path, 0, 0, found, hint=remedy, severity=severity))

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
            # Without a file of their own, a group's members log in with this; so does everybody if admitted.
            complete = bool(below) or self.everybody
            policy = check_policy(self.findings, layers, self.sources, complete=complete, here=self.accounts)
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
        for key, message, hint in lints.of_sources(policy, values):
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


def check_policy(
    findings: Findings, layers: Sequence[Layer], sources: dict[str, Source], *, complete: bool, here: bool
) -> Policy:
    """Check a merged policy and return it.

    complete: somebody logs in with it as it is; no other file can add to it any more.
    here: the policy is for this host, whose images and filters it can name.
    """
    policy = Policy(*merge(layers))
    for rule in rules.broken(policy):
        if complete:
            findings.add(_at(policy, rule.key, rule.message, sources, allowed=rule.allowed))
        elif rule.key != "home":
            problem = _at(policy, rule.key, rule.message, sources, rule.allowed, _INCOMPLETE, WARNING)
            findings.add(problem)
    if complete:
        for key, message, allowed in lints.contradictions(policy):
            findings.add(_at(policy, key, message, sources, allowed=allowed))
    for key, message, hint in lints.of_policy(policy):
        findings.add(_at(policy, key, message, sources, hint=hint, severity=WARNING))
    unknown = lints.unknown_filter(policy)
    if unknown:
        severity = ERROR if here else WARNING
        message, allowed, hint = unknown
        findings.add(_at(policy, "seccomp.profile", message, sources, allowed, hint, severity))
    if here:
        for key, message, hint in lints.of_image(policy):
            findings.add(_at(policy, key, message, sources, hint=hint, severity=WARNING))
    return policy


_INCOMPLETE = "an error where no other file of the chain says otherwise"


def promises(path: str) -> Sequence[Problem]:
    """Return the errors of a file of policy tests."""
    try:
        grammar.read(path)
    except PolicyError as error:
        return error.problems
    except FileNotFoundError:
        return [Problem(path, 0, 0, "there is no such file")]
    return ()


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

"""Everything that can be said about policies before anyone logs in."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from ssh2container.admin.account import enrolled_names, find
from ssh2container.admin.login import verdict
from ssh2container.admin.policy import (
    devices,
    diff,
    in_place,
    lint,
    logins,
    networks,
    origins,
    sums,
    test_file,
)
from ssh2container.admin.policy.check_policy import Findings, at, check_policy, losses
from ssh2container.admin.policy.compile import compiler, loader
from ssh2container.admin.policy.schema.settings import SITE
from ssh2container.admin.policy.yaml import files
from ssh2container.admin.policy.yaml.problems import ERROR, WARNING, PolicyError, Problem
from ssh2container.admin.quotas import homes
from ssh2container.admin.reachable import answers
from ssh2container.errors import Refusal
from ssh2container.policy import keyed, rules, specifiers, store
from ssh2container.policy.policy import Policy
from ssh2container.policy.store import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.policy.merge import Layer
    from ssh2container.policy.policy import Values

    Advance = Callable[[str], None]


def installation(places: Places, advance: Advance = lambda _: None) -> Findings:
    """Check every file of an installation, and the policy that each user and group gets.

    advance: is told each file before it is checked.
    """
    return _Installation(places, advance).check()


def count(places: Places) -> int:
    """Return how many files :func:`installation` tells."""
    return sum(name != "config" for name in compiler.part_names(places))


def tree(directory: str, advance: Advance = lambda _: None) -> Findings:
    """Check a configuration directory anywhere, e.g. a work tree of git, as if it were installed.

    Modes and owners are those that it would have in place: what a login refuses there is an error here.
    """
    findings = _Installation(diff.elsewhere(directory), advance, accounts=False).check()
    findings.add(*in_place.problems(diff.judged(directory)))
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
        self.site: Values = SITE.defaults()
        # Elsewhere nobody logs in by it.
        self.installed = accounts and places.configuration == Places().configuration

    def check(self) -> Findings:
        site = self._config()
        self.site = site
        self.order = site["group_order"]
        self.findings.add(*lint.of_directory(self.places))
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
        if self.installed:
            for name in enrolled_names():
                if "users/" + name not in names:
                    self._by_group(name)
        return self.findings

    def _config(self) -> Values:
        """Check config.yaml; return the site's settings, which are the defaults where it is not valid."""
        path = self.places.source("config")
        try:
            _, _, site, lines = compiler.part("config", self.places).layers[0]
        except PolicyError as error:
            self.findings.add(*error.problems)
            site, lines = SITE.defaults() | {"unlisted": ()}, {}
        if self.accounts:
            self.findings.add(*in_place.directories(self.places))
            if os.path.lexists(path):
                self.findings.add(*in_place.readable(path, self.places))
        if self.installed:
            self.findings.add(*sums.reach_of_site(path, site, lines))
        return site

    def _file(self, path: str, part: str) -> None:
        if path in self.sources:
            return
        try:
            source = files.read_trusted(path, self.places.anchor, self.places.owner)
        except FileNotFoundError:
            return
        except PolicyError as error:
            self.findings.add(*error.problems)
            return
        self.sources[path] = source
        if self.accounts:
            self.findings.add(*in_place.readable(path, self.places))
        loaded = loader.load(source)
        self.findings.add(*loaded.problems, *lint.of_file(source, loaded, part))

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
            under = [layer for part in chain[:-1] for layer in self.parts.get(part, ())]
            layers = under, self.parts.get("enforced", ())
            # Without a file of their own, a group's members log in with this; so does everybody if admitted.
            complete = bool(below) or self.everybody
            before = len(self.findings.errors())
            asked = self.installed and below == "users" and verdict.can_ask(who)
            policy = check_policy(
                self.findings, layers, self.sources, complete=complete, here=self.accounts, asked=asked
            )
            if complete:
                self.findings.add(*losses(policy, path))
            wrong = networks.against_site(policy, self.site) if complete else ()
            for key, message, hint in wrong:
                self.findings.add(at(policy, key, message, self.sources, hint=hint))
            for key, message, hint in sums.over_site(policy, self.site):
                self.findings.add(at(policy, key, message, self.sources, hint=hint, severity=WARNING))
            if complete and self.accounts and self.installed:
                memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
                for key, message, hint in sums.over_memory(policy, memory):
                    self.findings.add(at(policy, key, message, self.sources, hint=hint, severity=WARNING))
            if below == "users" and self.accounts:
                for one in keyed.every(policy):
                    self._home(one, who, asked=asked)
                if asked and len(self.findings.errors()) == before:
                    self._logins(policy, who)

    def _by_group(self, name: str) -> None:
        """Check what a user comes to who has the login shell and no file of their own."""
        try:
            policy = store.load(name, origins.groups_of(name), self.places, lambda _: None)
        except Refusal as error:
            if not self.findings.errors():
                self._warn(self.places.configuration, str(error))
            return
        self._logins(policy, name)
        account = find(name)
        self._quota(policy, {"u": name, "U": str(account.uid), "h": account.home, "g": str(account.gid)})

    def _logins(self, policy: Policy, name: str) -> None:
        for key, message, hint, severity in logins.of_user(name, policy, installed=True):
            self.findings.add(at(policy, key, message, self.sources, hint=hint, severity=severity))

    def _account(self, name: str, path: str) -> Sequence[str]:
        try:
            groups = origins.groups_of(name)
        except Refusal:
            self._warn(path, f"there is no user {name}: the file applies to nobody")
            return ()
        first = lint.second_name(name)
        if first:
            message = f"{name} has the uid of {first}: they cannot be told apart, so logins are refused"
            self.findings.add(Problem(path, 0, 0, message, hint="give each user a uid of their own"))
        for message in lint.of_account(name, groups):
            self._warn(path, message)
        return groups

    def _home(self, policy: Policy, name: str, *, asked: bool) -> None:
        """Compare the session's home with the user's on the host, which only the name service knows."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return
        values = {"u": name, "U": str(entry.pw_uid), "h": entry.pw_dir, "g": name, "i": "0"}
        for key, message, hint in lint.of_volumes(policy, entry.pw_dir, values):
            self.findings.add(at(policy, key, message, self.sources, hint=hint, severity=WARNING))
        for key, message, hint in () if asked else lint.of_sources(policy, values):
            self.findings.add(at(policy, key, message, self.sources, hint=hint, severity=WARNING))
        for key, message, hint in devices.of_user(policy, name, values, asked=asked):
            self.findings.add(at(policy, key, message, self.sources, hint=hint, severity=WARNING))
        for key, message, hint in lint.of_set_id(policy, values):
            self.findings.add(at(policy, key, message, self.sources, hint=hint, severity=WARNING))
        self._check_recordings(policy, values)
        self._quota(policy, values)
        if policy.home is None or not policy.home.source or policy.home.source == "%h":
            return
        try:
            source = specifiers.expand(policy.home.source, values)
        except Refusal as error:
            self.findings.add(at(policy, "home.source", str(error), self.sources))
            return
        if rules.exposes_home(policy, source, entry.pw_dir):
            rule = rules.HOST_HOME
            self.findings.add(at(policy, rule.key, rule.message, self.sources, allowed=rule.allowed))

    def _quota(self, policy: Policy, values: Mapping[str, str]) -> None:
        """Tell whether the home can have the quota that the policy names, or holds more already."""
        for key, message, hint, refused in homes.problems(policy, values) if self.installed else ():
            severity = ERROR if refused else WARNING
            self.findings.add(at(policy, key, message, self.sources, hint=hint, severity=severity))

    def _check_recordings(self, policy: Policy, values: dict[str, str]) -> None:
        """Compare where recordings go with what the session can write, as this user has both."""
        record = policy.record
        if not record.terminal or record.to != "user_directory" or any(rules.recordings_in_reach(policy)):
            return
        sources = [volume.source for volume in policy.volumes if not volume.read_only]
        if policy.home is not None and policy.home.source and not policy.home.read_only:
            sources.append(policy.home.source)
        try:
            expanded = [specifiers.expand(source, values) for source in sources]
            directory = specifiers.expand(record.directory, values)
            if not answers(directory):
                return  # said of the logins
            found = [os.path.realpath(source) for source in expanded if answers(source)]
            rules.require_recordings_apart(os.path.realpath(directory), found)
        except Refusal as error:
            self.findings.add(at(policy, "record.directory", str(error), self.sources))

    def _warn(self, path: str, message: str) -> None:
        self.findings.add(Problem(path, 0, 0, message, severity=WARNING))


def promises(path: str) -> Sequence[Problem]:
    """Return the errors of a file of policy tests."""
    try:
        test_file.read(path)
    except PolicyError as error:
        return error.problems
    except FileNotFoundError:
        return [Problem(path, 0, 0, "there is no such file")]
    return ()

"""From the files of an installation to parts of the chain, and their compiled form on disk."""

from __future__ import annotations

import os

from ssh2container.admin import atomic
from ssh2container.admin.policy import sums
from ssh2container.admin.policy.compile import loader
from ssh2container.admin.policy.schema.settings import POLICY, SITE
from ssh2container.admin.policy.yaml import files
from ssh2container.admin.policy.yaml.nodes import Scalar
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem, did_you_mean, quoted
from ssh2container.policy import layers
from ssh2container.policy.key_rules import KEY
from ssh2container.policy.layers import Part, identity_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ssh2container.admin.policy.compile.loader import Loaded
    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.admin.policy.yaml.nodes import Node
    from ssh2container.policy.layers import Identity
    from ssh2container.policy.merge import Layer
    from ssh2container.policy.store import Places

BUILT_IN: Layer = ("", (), POLICY.defaults(), {})
"""The first layer of every policy: the declared defaults."""

SUFFIX = ".yaml"
FOR_EVERYBODY = ("defaults", "enforced", "config")
DIRECTORIES = ("groups", "profiles", "tests", "users")
"""What a tree of policies is made of: files, and directories of files."""


def part(name: str, places: Places) -> Part:
    """Make one part of the chain from its YAML.

    name: "config", "defaults", "enforced", "groups/NAME" or "users/NAME".

    Raises PolicyError with all errors of the file and of the profiles it extends.
    """
    if name == "config":
        return _site(places)
    chain = _Chain(places)
    exists = chain.add_file(places.source(name))
    if chain.problems:
        raise PolicyError(chain.problems)
    built_in = (BUILT_IN,) if name == "defaults" else ()
    # All sights of a file: one that was seen to change makes the part stale.
    sources = dict.fromkeys((*chain.sources.items(), *chain.of_rules.items()))
    return Part(exists, tuple(sources), (*built_in, *chain.layers))


def profile_layers(source: Source, loaded: Loaded, places: Places) -> tuple[list[Layer], list[Problem]]:
    """Return the layers of a file that was read elsewhere, its profiles first, and all problems."""
    chain = _Chain(places)
    chain.add_loaded(source, loaded, ())
    return chain.layers, chain.problems


def part_names(places: Places) -> Iterator[str]:
    """Yield the names of all parts that have a file, and of those that are compiled without one."""
    yield "config"
    yield "defaults"
    for below in ("groups", "users"):
        for name in names_in(f"{places.configuration}/{below}"):
            yield f"{below}/{name}"
    if os.path.lexists(places.source("enforced")):
        yield "enforced"


def names_in(directory: str) -> list[str]:
    """Return the names that have a YAML file in ``directory``, sorted."""
    try:
        found = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        name[: -len(SUFFIX)] for name in found if name.endswith(SUFFIX) and not name.startswith(".")
    )


def unlisted(places: Places, site: Mapping[str, Any]) -> list[Problem]:
    """Return an error for each file of a group that has no place in ``group_order``."""
    problems = []
    for group in site["unlisted"]:
        found = f"group_order does not name {group}: its members are refused"
        hint = did_you_mean(group, site["group_order"]) or f"add {group} to group_order in config.yaml"
        problems.append(Problem(places.source("groups/" + group), 0, 0, found, hint=hint))
    return problems


def write(name: str, made: Part, places: Places) -> bool:
    """Store a compiled part, atomically; return False when it was already stored so."""
    path = f"{places.compiled}/{name}"
    data = layers.encode(made)
    try:
        return atomic.update(path, data)
    except FileNotFoundError:
        make_directories(os.path.dirname(path), places)
        return atomic.update(path, data)


def remove_others(names: set[str], places: Places) -> list[str]:
    """Remove compiled parts that have no source any more; return their names."""
    removed = []
    for below in ("", "groups/", "users/"):
        directory = f"{places.compiled}/{below}"
        try:
            found = os.listdir(directory)
        except FileNotFoundError:
            continue
        for name in found:
            path = directory + name
            if below + name not in names and not os.path.isdir(path):
                os.unlink(path)
                removed.append(below + name)
        if below and not os.listdir(directory):
            os.rmdir(directory)
    return sorted(removed)


def make_directories(directory: str, places: Places) -> None:
    """Make a directory below ``places.compiled`` that every user can read and only we can write."""
    missing = []
    while not os.path.isdir(directory) and directory != places.anchor:
        missing.append(directory)
        directory = os.path.dirname(directory)
    for path in reversed(missing):
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)  # noqa: S103 - logins of every user read it


class _Chain:
    """A file and its profiles, each once, in the order in which they apply.

    of_key: whether it is the policy of a key, which has no ``keys`` itself. of_rules: the sources of those.
    """

    def __init__(self, places: Places, *, of_key: bool = False) -> None:
        self.places = places
        self.of_key = of_key
        self.sources: dict[str, Identity | None] = {}
        self.of_rules: dict[str, Identity | None] = {}
        self.layers: list[Layer] = []
        self.problems: list[Problem] = []

    def add_file(self, path: str) -> bool:
        """Add the chain's own file; return whether it exists."""
        source = self._read(path)
        if source is not None:
            self.add_loaded(source, loader.load(source), ())
        return source is not None or bool(self.problems)

    def add_loaded(self, source: Source, loaded: Loaded, way: tuple[str, ...]) -> None:
        """Add a file's profiles, then the file. way: the profiles that led here."""
        self.problems += [problem for problem in loaded.problems if problem.severity == "error"]
        for profile, place in loaded.extends:
            if profile in way:
                circle = " -> ".join((*way[way.index(profile) :], profile))
                self._problem(source, place, f"the profiles extend each other in a circle: {circle}")
            else:
                self._profile(source, profile, place, way)
        self.layers.append(self._with_policies(source, loaded.layer))

    def _with_policies(self, source: Source, layer: Layer) -> Layer:
        """Return a file's layer with the layers of the profiles that its ``keys`` name."""
        file, drops, values, lines = layer
        if not values.get(KEY):
            return layer
        if self.of_key:
            place = Scalar("", lines[KEY], 1)
            self._problem(source, place, f"{KEY} in a profile that the policy of a key extends")
            return layer
        made = {}
        for name, (*rule, profiles, _) in values[KEY].items():
            chain = _Chain(self.places, of_key=True)
            for profile in profiles:
                chain._profile(source, profile, Scalar("", lines[f"{KEY}.{name}"], 1), ())
            for path, seen in chain.sources.items():
                # Of a file that changes meanwhile the first sight: then the part is stale.
                self.of_rules.setdefault(path, seen)
            known = {problem.key() for problem in self.problems}
            self.problems += [problem for problem in chain.problems if problem.key() not in known]
            made[name] = (*rule, profiles, tuple(chain.layers))
        return file, drops, {**values, KEY: made}, lines

    def _profile(self, source: Source, profile: str, place: Node, way: tuple[str, ...]) -> None:
        for directory in (f"{self.places.configuration}/profiles", self.places.shipped):
            path = f"{directory}/{profile}{SUFFIX}"
            if self.sources.get(path) is not None:
                return  # it applies already, at its first place
            found = self._read(path)
            if found is not None:
                self.add_loaded(found, loader.load(found), (*way, profile))
                return
            if self.sources.get(path, ()) == ():
                return  # it exists and was refused; that is reported
        known = [*names_in(f"{self.places.configuration}/profiles"), *names_in(self.places.shipped)]
        allowed = ", ".join(dict.fromkeys(known))
        hint = did_you_mean(profile, known)
        self._problem(source, place, f"there is no profile {quoted(profile)}", allowed, hint)

    def _read(self, path: str) -> Source | None:
        try:
            source = files.read_trusted(path, self.places.anchor, self.places.owner)
        except (FileNotFoundError, NotADirectoryError):
            self.sources[path] = None
            return None
        except PolicyError as error:
            self.problems += error.problems
            return None
        self.sources[path] = source.identity
        return source

    def _problem(self, source: Source, place: Node, message: str, allowed: str = "", hint: str = "") -> None:
        text = source.line(place.line)
        self.problems.append(Problem(source.path, place.line, place.column, message, allowed, hint, text))


def _site(places: Places) -> Part:
    path = places.source("config")
    values = SITE.defaults()
    lines: dict[str, int] = {}
    seen = None
    directory = f"{places.configuration}/groups"
    # Its identity first: a file that comes in between makes the part stale.
    listed = identity_of(directory)
    groups = names_in(directory)
    try:
        source = files.read_trusted(path, places.anchor, places.owner)
    except (FileNotFoundError, NotADirectoryError):
        pass
    else:
        seen = source.identity
        loaded = loader.load(source, SITE)
        loaded.problems += sums.of_site(source, loaded)
        loaded.require_valid()
        values.update(loaded.layer[2])
        lines = loaded.layer[3]
    values["unlisted"] = tuple(name for name in groups if name not in values["group_order"])
    return Part(seen is not None, ((path, seen), (directory, listed)), ((path, (), values, lines),))

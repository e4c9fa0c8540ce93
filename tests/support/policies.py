"""A policy installation of its own in a temporary directory."""

from __future__ import annotations

import os
import shutil

from ssh2container.admin.policy import origins
from ssh2container.admin.policy.compile import build, compiler, loader
from ssh2container.admin.policy.yaml.files import Source, decode
from ssh2container.admin.policy.yaml.problems import PolicyError, Problem
from ssh2container.policy import store
from ssh2container.policy.merge import merge
from ssh2container.policy.policy import Policy

ETC = os.path.join(os.path.dirname(__file__), "..", "..", "etc")


class Tree:
    """Files of a configuration below ``base``, which the tests own."""

    def __init__(self, base: str) -> None:
        os.chmod(base, 0o755)
        self.base = base
        self.logged: list[str] = []
        self.places = store.Places(
            f"{base}/etc", f"{base}/share", f"{base}/var/compiled", anchor=base, owner=os.getuid()
        )
        for name in ("etc", "etc/users", "etc/groups", "etc/profiles", "share", "var"):
            os.mkdir(f"{base}/{name}", 0o755)

    def write(self, part: str, text: str | bytes) -> str:
        """Write a file of the chain, e.g. "users/alice"; "share/x" is a shipped profile."""
        path = f"{self.base}/{part}.yaml" if part.startswith("share/") else self.places.source(part)
        # Beside its place, then renamed: every version is a file of its own, whatever the clock says.
        with open(path + ".new", "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)
        return path

    def load(self, name: str, *groups: str) -> Policy:
        return store.load(name, groups, self.places, self.logged.append)

    def compile(self) -> build.Built:
        return build.build(self.places)

    def errors(self, name: str, *groups: str) -> list[str]:
        """The errors that refuse a user, each without its directory."""
        try:
            self.load(name, *groups)
        except PolicyError as error:
            return [str(problem).replace(self.places.configuration + "/", "") for problem in error.problems]
        return []


def chain(base: str) -> Tree:
    """A tree in which each part that a policy can come from says something to alice of the group staff."""
    made = Tree(base)
    made.write("config", "group_order: [staff]")
    made.write("defaults", "image: debian:12")
    made.write("groups/staff", "environment: {FROM: staff}")
    made.write("share/base", "hostname: base")
    made.write("users/alice", "extends: [base]")
    return made


def read(text: str | bytes, path: str = "/p.yaml") -> loader.Loaded:
    """Load one file from memory, as if it stood at ``path``."""
    data = text.encode() if isinstance(text, str) else text
    return loader.load(Source(path, decode(path, data), (0, 0, len(data), 0, 0)))


def problems(text: str | bytes) -> list[Problem]:
    """All problems of one file from memory."""
    try:
        return read(text).problems
    except PolicyError as error:
        return error.problems


def policy(*texts: str) -> Policy:
    """The policy that built-in defaults and these files come to, the strongest last."""
    layers = [compiler.BUILT_IN]
    for number, text in enumerate(texts, 1):
        loaded = read(text, f"/{number}.yaml")
        loaded.require_valid()
        layers.append(loaded.layer)
    made = Policy(*merge(layers))
    made.chain = tuple(layers), ()  # as the store has it, for what keys change
    return made


def copy_profiles(directory: str) -> None:
    """Put the system-call profiles that every login needs into ``directory``, as root's."""
    for name in ("default.json", "init.json"):
        shutil.copy(os.path.join(ETC, "seccomp", name), directory)
        os.chmod(os.path.join(directory, name), 0o644)


def shown(made: Policy) -> str:
    """What ``show`` prints of an effective policy, origins included."""
    return "\n".join(origins.lines(origins.rows(made)))

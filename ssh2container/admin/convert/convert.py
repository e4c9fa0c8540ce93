"""From a file, or a call of an engine, to policies with what is to be said of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.convert import command_line, compose, keys, quadlet
from ssh2container.admin.convert.notes import comments, in_order, line_of
from ssh2container.admin.policy import check_policy
from ssh2container.admin.policy.compile import compiler, loader
from ssh2container.admin.policy.yaml.files import Source
from ssh2container.admin.policy.yaml.problems import ERROR, PolicyError, Problem, did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssh2container.admin.convert.service import Service
    from ssh2container.policy.store import Places


class Converted:
    """One policy: its text, and what the notes say; see :class:`ssh2container.admin.convert.notes.Notes`."""

    __slots__ = ("differs", "left_out", "name", "prepare", "text")

    def __init__(self, service: Service) -> None:
        draft = keys.draft_of(service)
        self.name = service.name
        self.left_out = in_order(service.notes.left_out)
        self.differs = in_order(service.notes.differs)
        self.prepare = service.notes.prepare
        said = [line_of(note, os.path.basename(note.file)) for note in self.left_out]
        differing = [line_of(note, os.path.basename(note.file)) for note in self.differs]
        first = f"Made by ssh2containerctl convert from {service.what}."
        head = comments(first, self.prepare, said, differing)
        self.text = "\n".join([*head, *draft.lines()]) + "\n"

    def as_dict(self) -> dict[str, object]:
        """Return it for ``convert --json``."""
        return {
            "name": self.name,
            "policy": self.text,
            "prepare": self.prepare,
            "left_out": [note.as_dict() for note in self.left_out],
            "differs": [note.as_dict() for note in self.differs],
        }


def convert(words: Sequence[str], environment: Mapping[str, str], service: str = "") -> list[Converted]:
    """Convert a file, or the words of a call of podman or docker.

    environment: what variables in Compose files stand for, and what ``-e NAME`` takes.
    service: the one of a Compose file that is wanted, "" for all of them.

    Raises PolicyError with the places of what cannot be read.
    """
    environment = {name: value for name, value in environment.items() if _is_text(value)}
    if command_line.is_one(words):
        return [Converted(command_line.service(words, environment))]
    path = words[0]
    if os.path.isdir(path):
        path = next((f"{path}/{name}" for name in compose.NAMES if os.path.exists(f"{path}/{name}")), path)
    if path.endswith((".yaml", ".yml")):
        found = compose.services(path, environment)
        return [Converted(one) for one in found if one.name == service or not service] or _none(
            path, found, service
        )
    if not path.endswith(quadlet.SUFFIX):
        message = "it is not known what this is"
        allowed = f"NAME.yaml, NAME.yml, NAME{quadlet.SUFFIX}, or podman run …, docker run …"
        raise PolicyError([Problem(path, 0, 0, message, allowed)])
    return [Converted(quadlet.service(path, environment))]


def _none(path: str, found: Sequence[Service], service: str) -> list[Converted]:
    names = [one.name for one in found]
    message = f"there is no service {quoted(service)}" if service else "there are no services"
    raise PolicyError([Problem(path, 0, 0, message, ", ".join(names), did_you_mean(service, names))])


def _is_text(value: str) -> bool:
    """Tell whether a variable of this process is text: a policy is."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked(
    words: Sequence[str], environment: Mapping[str, str], service: str, places: Places
) -> list[Converted]:
    """Do as :func:`convert`, and have ``check`` look at what was made, with the profiles of ``places``."""
    made = convert(words, environment, service)
    for one in made:
        refused = refusals(one, places)
        if refused:
            raise PolicyError(refused)
    return made


def refusals(made: Converted, places: Places) -> list[Problem]:
    """Return what ``check`` would call an error in the policy, on this host: none is expected."""
    source = Source(f"{made.name}.yaml", made.text, (0, 0, 0, 0, 0))
    loaded = loader.load(source)
    layers, problems = compiler.profile_layers(source, loaded, places)
    findings = check_policy.Findings()
    findings.add(*problems)
    if not findings.errors():
        chain = [compiler.BUILT_IN, *layers], ()
        check_policy.check_policy(findings, chain, {source.path: source}, complete=True, here=True)
    return [problem for problem in findings.all() if problem.severity == ERROR]

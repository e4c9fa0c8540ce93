"""What runs at a login, from Compose's command and entrypoint; and the variables it has."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin.convert import compose, system, variables
from ssh2container.admin.convert.mounts import path_of
from ssh2container.admin.convert.tree import Map, Text, entries, error, is_nothing, list_at, map_at, text_at
from ssh2container.admin.policy.yaml.nodes import Node, Scalar, Sequence
from ssh2container.admin.policy.yaml.problems import PolicyError

if TYPE_CHECKING:
    from ssh2container.admin.convert.draft import Draft
    from ssh2container.admin.convert.service import Service

_SHELLS = ("sh", "bash", "dash", "ash", "zsh", "ksh", "fish")
_OPTIONS_OF_SHELLS = ("-l", "-i", "-il", "-li", "--login", "--interactive")
_IDLE = re.compile(r"(?:\S*/)?(?:sleep (?:inf|infinity|[0-9]+[smhd]?)|tail -[fF] /dev/null|cat)")
_KEEPS_ALIVE = "it keeps a container alive for others to enter: here each login has a container and its shell"
_STILL_OPEN = "commands and sftp are served beside it, unless access.commands and access.sftp say otherwise"
_IMAGE = "if the image has an entrypoint, it does not run before this"
_READABLE = "its values are in the policy now, which its user can read"
_FROM_HERE = "it has no value where convert runs, and here it would be the client's: accept_env lets it in"


def finish(draft: Draft, service: Service) -> None:
    """Convert ``command`` and ``entrypoint`` together: the one goes behind the other."""
    given = [(key, service.root.get(key)) for key in ("entrypoint", "command")]
    words: list[tuple[str, Node]] = []
    for key, node in given:
        words += _words(draft, key, node)
    name = given[1][0] if given[1][1] is not None else given[0][0]
    if system.finish(draft, service, words, name) or not words:
        return
    place = words[-1][1]
    texts = [text for text, _ in words]
    if _IDLE.fullmatch(" ".join(texts)):
        draft.notes.leave(place, name, _KEEPS_ALIVE)
        return
    shell = os.path.basename(texts[0])
    if shell in _SHELLS and all(text in _OPTIONS_OF_SHELLS for text in texts[1:]):
        path = texts[0] if texts[0].startswith("/") else f"/bin/{shell}"
        draft.set("shell", text_at(place, path), name)
        return
    items = [text_at(node, service.literal(text)) for text, node in words]
    if draft.set("access.interactive", list_at(place, items), name):
        draft.notes.differ(place, name, _STILL_OPEN)
        if given[0][1] is None:
            draft.notes.differ(place, name, _IMAGE)


def _words(draft: Draft, key: str, node: Node | None) -> list[tuple[str, Node]]:
    if isinstance(node, Sequence):
        wrong = next((item for item in node.items if not isinstance(item, Scalar)), None)
        if wrong is None:
            return [(item.text, item) for item in node.items if isinstance(item, Scalar)]
        draft.notes.leave(wrong, key, f"{wrong.found} in place of a word")
    elif isinstance(node, Scalar):
        try:
            return [(word, node) for word in shlex.split(node.text)]
        except ValueError:
            draft.notes.leave(node, key, "a quote is not closed")
    elif node is not None:
        draft.notes.leave(node, key, f"{node.found} in place of a command")
    return []


def hooks(draft: Draft, service: Service, node: Node) -> None:
    """Convert ``post_start``: what runs inside when a container has started."""
    for item in entries(node):
        command = item.get("command") if isinstance(item, Map) else item
        words = [text for text, _ in _words(draft, "post_start", command)]
        name = f"post_start: {' '.join(words[:1]) or '?'}"
        if not words or not words[0].startswith("/"):
            draft.notes.leave(item, name, "a hook has the absolute path of a program, and no shell reads it")
            continue
        values: dict[str, Node] = {
            "path": text_at(item, words[0]),
            "args": list_at(item, [text_at(item, word) for word in words]),
        }
        for key, value in item.pairs if isinstance(item, Map) else ():
            if key.text == "environment":
                pairs = compose.as_map(value)
                named = pairs.pairs if isinstance(pairs, Map) else []
                texts = [f"{one.text}={own.text}" for one, own in named if isinstance(own, Scalar)]
                values["env"] = list_at(value, [text_at(value, text) for text in texts])
            elif key.text != "command":
                why = "a hook inside runs as the session does, in the directory /"
                draft.notes.leave(key, f"{name}: {key.text}", why)
        if draft.entry("hooks.startContainer", map_at(item, **values), name):
            draft.notes.differ(item, name, "it ends before the user's program begins, in 5 seconds at most")
    del service


def environment(draft: Draft, service: Service) -> None:
    """Convert ``env_file`` and ``environment``; what the latter says holds."""
    for item in entries(service.root.get("env_file")):
        _file(draft, service, item)
    node = service.root.get("environment")
    if node is None:
        return
    pairs = compose.as_map(node)
    if not isinstance(pairs, Map):
        draft.notes.leave(node, "environment", f"{node.found} instead of a map")
        return
    for key, value in pairs.pairs:
        name = f"environment: {key.text}"
        if is_nothing(value):
            here = service.environment.get(key.text)
            if here is None:
                draft.notes.leave(key, name, _FROM_HERE)
                continue
            value = text_at(key, here)  # noqa: PLW2901 - what the variable is here
        elif isinstance(value, Scalar):
            value = text_at(value, value.text)  # noqa: PLW2901 - true is a text as well
        draft.named("environment", key, value, name)


def _file(draft: Draft, service: Service, item: Node) -> None:
    named = item.get("path") if isinstance(item, Map) else item
    if not isinstance(named, Text) or is_nothing(named):
        draft.notes.leave(item, "env_file", f"{item.found} in place of a path")
        return
    required = item.get("required") if isinstance(item, Map) else None
    format_ = item.get("format") if isinstance(item, Map) else None
    raw = service.raw or (isinstance(format_, Scalar) and format_.text == "raw")
    name = f"env_file: {named.text}"
    path = path_of(service, named, named.text)
    if not os.path.exists(path):
        if not (isinstance(required, Scalar) and required.text == "false"):
            draft.notes.leave(item, name, f"there is no {path} here: write its variables into environment")
        return
    try:
        found = variables.read_file(compose.read(path, tabs=True), service.environment, raw=raw)
    except PolicyError as wrong:
        problem = wrong.problems[0]
        raise error(named, f"{problem.place()}: {problem.message}", problem.allowed, problem.hint) from None
    for variable, value in found.items():
        value = service.environment.get(variable) if value is None else value  # noqa: PLW2901
        if value is not None:
            draft.named("environment", text_at(named, variable), text_at(named, value), f"{name}: {variable}")
    if found:
        draft.notes.differ(named, name, _READABLE)

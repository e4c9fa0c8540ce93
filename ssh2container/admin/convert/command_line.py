"""Reading a call of ``podman run`` or ``docker run``."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ssh2container.admin.convert.options import ALIASES, OPTIONS, SHORT
from ssh2container.admin.convert.service import Service
from ssh2container.admin.convert.tree import Map, Text, error, list_at
from ssh2container.admin.policy.yaml.files import Source
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENGINES = ("docker", "podman")
_VERBS = ("run", "create")
_GROUP = "container"
"""What may precede the verb."""
_NAME = "the command line"


def is_one(words: Sequence[str]) -> bool:
    """Tell whether ``words`` are a call of an engine, not the name of a file."""
    return len(words) > 1 and os.path.basename(words[0]) in ENGINES


def begins(words: Sequence[str]) -> bool:
    """Tell whether ``words`` begin with a call that can be converted."""
    return is_one(words) and words[1] in (*_VERBS, _GROUP)


def service(words: Sequence[str], environment: Mapping[str, str]) -> Service:
    """Return the container of a call. environment: what ``-e NAME`` takes.

    Raises PolicyError for an option that is not known: nobody could tell what its value is.
    """
    source = Source(_NAME, shlex.join(words), (0, 0, 0, 0, 0))
    nodes = _placed(words, source)
    rest = nodes[1:]
    if rest and rest[0].text == _GROUP:
        rest = rest[1:]
    if not rest or rest[0].text not in _VERBS:
        found = rest[0] if rest else nodes[0]
        raise error(
            found, f"found {quoted(found.text)}", " or ".join(f"{words[0]} {verb}" for verb in _VERBS)
        )
    root = Map(1, 1, source)
    made = Service("container", f"a call of {os.path.basename(words[0])}", root, source)
    made.environment = dict(environment)
    made.raw = True
    behind = arguments(made, rest[1:])
    rootfs = root.get("x-rootfs") is not None
    if not behind:
        raise error(nodes[-1], "the call names no image", "an image behind the options")
    image, command = behind[0], behind[1:]
    made.set("image", image)
    if rootfs:
        raise error(image, "--rootfs", "an image", f"ssh2containerctl image import NAME {image.text}")
    made.name = _stem(image.text)
    if command:
        made.set("command", list_at(command[0], command))
    return made


def arguments(made: Service, nodes: Sequence[Text]) -> list[Text]:
    """Take options into ``made`` up to the first word that is none; return what is left."""
    at = 0
    while at < len(nodes):
        node = nodes[at]
        at += 1
        if node.text == "--":
            return list(nodes[at:])
        if not node.text.startswith("-") or node.text == "-":
            return [node, *nodes[at:]]
        if node.text.startswith("--"):
            name, equals, value = node.text[2:].partition("=")
            at = _long(made, nodes, at, name, value if equals else None)
        else:
            at = _short(made, nodes, at)
    return []


def _long(made: Service, nodes: Sequence[Text], at: int, name: str, value: str | None) -> int:
    node = nodes[at - 1]
    option = OPTIONS.get(ALIASES.get(name, name))
    if option is None:
        hint = did_you_mean(name, OPTIONS)
        raise error(
            node, f"the option --{name} is not known", "the options of podman run and docker run", hint
        )
    if value is None and option.takes_value:
        if at >= len(nodes):
            raise error(node, f"--{name} has no value", f"--{name}=VALUE")
        option.take(made, nodes[at], f"--{name}")
        return at + 1
    option.take(made, Text(value or "", node.line, node.column, node.source), f"--{name}")
    return at


def _short(made: Service, nodes: Sequence[Text], at: int) -> int:
    """Take ``-it``, ``-p80:80``, ``-p 80:80`` and ``-p=80:80``."""
    node = nodes[at - 1]
    letters = node.text[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in SHORT:
            known = " ".join(f"-{one}" for one in SHORT)
            raise error(node, f"the option -{letter} is not known", known)
        option = OPTIONS[SHORT[letter]]
        name = f"-{letter}"
        if not option.takes_value:
            option.take(made, Text("", node.line, node.column, node.source), name)
            continue
        if letters:
            option.take(made, Text(letters.removeprefix("="), node.line, node.column, node.source), name)
            return at
        if at >= len(nodes):
            raise error(node, f"-{letter} has no value", f"-{letter} VALUE")
        option.take(made, nodes[at], name)
        return at + 1
    return at


def _placed(words: Sequence[str], source: Source) -> list[Text]:
    """Return the words, each where it stands in the line that they make."""
    found = []
    column = 1
    for word in words:
        line = source.text.count("\n", 0, column - 1) + 1
        start = source.text.rfind("\n", 0, column - 1) + 1
        found.append(Text(word, line, column - start, source))
        column += len(shlex.quote(word)) + 1
    return found


def _stem(image: str) -> str:
    return image.rpartition("/")[2].partition("@")[0].partition(":")[0] or "container"

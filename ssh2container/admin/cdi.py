"""Names of the Container Device Interface (CDI), as the host's specifications explain them.

A specification is a JSON or YAML file that says what a device takes besides its nodes (CNCF, Container
Device Interface, SPEC.md). One of /var/run/cdi goes before one of /etc/cdi, and two of the same directory
that explain one name explain nothing. All of them have to be root's, like a policy.
"""

from __future__ import annotations

import json
import os
import posixpath
import re

import yaml

from ssh2container.admin.policy.yaml import files
from ssh2container.admin.policy.yaml.problems import PolicyError
from ssh2container.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ssh2container.plan.cdi import Explained

    Specification = tuple[str, dict[str, Any] | Refusal]
    """Its path, and what it says, or why it says nothing."""

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
"""Where specifications lie, the strongest last."""

_STEP = "device"
_CANNOT = {
    "hooks": "its hooks are programs for a container engine's root, and a login has none",
    "netDevices": "interfaces are moved in by root alone: use networks",
    "intelRdt": "caches and bandwidth are dealt out by root alone",
    "additionalGids": "a session joins no groups: make the user a member of them on the host",
}
_HAS = frozenset(("env", "deviceNodes", "mounts", *_CANNOT))
_NODE = frozenset(("path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"))
_MOUNT = frozenset(("hostPath", "containerPath", "options", "type"))
_OPTIONS = frozenset(
    ("ro", "bind", "rbind", "nosuid", "nodev", "noexec", "private", "rprivate", "slave", "rslave")
)
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


def explain(names: Sequence[str], directories: Sequence[str] = DIRECTORIES) -> tuple[Explained, ...]:
    """Return what each of ``names`` stands for, in their order. Raises Refusal for one that means nothing."""
    specifications = [[*_specifications(directory)] for directory in directories]
    return tuple(_explained(name, specifications) for name in names)


def problems(directories: Sequence[str] = DIRECTORIES) -> Iterator[tuple[str, Refusal | None]]:
    """Yield the path of each specification, and why no login can use it."""
    for directory in directories:
        for path, content in _specifications(directory):
            yield path, content if isinstance(content, Refusal) else _problem(path, content)


def _problem(path: str, content: dict[str, Any]) -> Refusal | None:
    """Return what keeps logins from every device of a specification, None where they can have one."""
    for place, bits, mode in ((posixpath.dirname(path), 0o005, "o+rx"), (path, 0o004, "o+r")):
        if os.stat(place).st_mode & bits != bits:
            return _refused(path, f"users cannot read {place}", f"chmod {mode} {place}")
    found: Refusal | None = _refused(path, "it has no devices", "have it made anew")
    try:
        for one in _list_of(path, content, "devices"):
            try:
                _edits(path, f"{content['kind']}={one.get('name')}", content, one)
            except Refusal as error:
                found = error
            else:
                return None
    except Refusal as error:
        return error
    return found


def _specifications(directory: str) -> Iterator[Specification]:
    """Yield each specification in ``directory``."""
    place = os.path.realpath(directory)  # /var/run is a link
    try:
        found = sorted(name for name in os.listdir(place) if name.endswith((".json", ".yaml")))
    except FileNotFoundError:
        return
    except OSError as error:
        yield place, _refused(place, error.strerror or "", "an administrator makes it a directory for all")
        return
    for name in found:
        path = f"{place}/{name}"
        try:
            yield path, _parsed(path, files.read_trusted(path, tabs=True).text)
        except FileNotFoundError:
            continue
        except PolicyError as error:
            problem = error.problems[0]
            yield path, _refused(path, problem.message, problem.hint)
        except Refusal as error:
            yield path, error


def _parsed(path: str, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise _refused(path, f"it cannot be read: {said}", "have it made anew") from None
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        raise _refused(path, "it has no kind", "a specification says VENDOR/CLASS there")
    return content


def _explained(name: str, specifications: Sequence[Sequence[Specification]]) -> Explained:
    kind, _, device = name.partition("=")
    for directory in reversed(specifications):
        found = []
        for path, content in directory:
            if isinstance(content, Refusal) or content["kind"] != kind:
                continue
            listed = _list_of(path, content, "devices")
            found += [(path, content, one) for one in listed if str(one.get("name")) == device]
        if len(found) > 1:
            first, second = found[0][0], found[1][0]
            raise _refused(second, f"{first} has the device {name}, too", "remove one of them")
        if found:
            path, content, entry = found[0]
            return _edits(path, name, content, entry)
    kinds: set[str] = set()
    for _, content in (one for directory in specifications for one in directory):
        if isinstance(content, Refusal):
            raise content  # it may be the one
        kinds.add(content["kind"])
    known = f"the specifications have {', '.join(sorted(kinds))}" if kinds else "there is no specification"
    raise Refusal(
        f"cannot find the device {name}",
        f"nothing in {' or '.join(DIRECTORIES)} explains it; {known}",
        "have the specification made, or correct the policy",
        _STEP,
    )


def _edits(path: str, name: str, content: dict[str, Any], entry: dict[str, Any]) -> Explained:
    """Return what the whole file says of all its devices and the entry of this one."""
    nodes: list[tuple[str, str, str, int, int]] = []
    mounts: list[tuple[str, str]] = []
    variables: list[tuple[str, str]] = []
    for around in (content, entry):
        edits = around.get("containerEdits") or {}
        if not isinstance(edits, dict):
            raise _refused(path, "containerEdits is no map", "have it made anew")
        for word, said in edits.items():
            if said and word in _CANNOT:
                raise _refused(path, f"{name} has {word}: {_CANNOT[word]}", "have it made without them")
            if said and word not in _HAS:
                raise _refused(
                    path, f"{name} has {word}, which nothing here knows", "have it made without it"
                )
        nodes += [_node(path, one) for one in _list_of(path, edits, "deviceNodes")]
        mounts += [_mount(path, one) for one in _list_of(path, edits, "mounts")]
        variables += [_variable(path, one) for one in _texts_of(path, edits, "env")]
    return path, tuple(nodes), tuple(mounts), tuple(variables)


def _node(path: str, one: dict[str, Any]) -> tuple[str, str, str, int, int]:
    """Return (on the host, inside, permissions, major, minor); the numbers are -1 where they are not written.

    The node is the host's own: its owner and mode stay, whatever the specification says.
    """
    _require_words(path, "a device node", one, _NODE)
    inside = _path(path, one.get("path"))
    if one.get("type") not in (None, "", "c", "u"):
        why = f"{inside} is of type {one['type']}, and sessions are given character devices alone"
        raise _refused(path, why, "have it made without it")
    permissions = "".join(sorted(set(str(one.get("permissions") or "rw")) - {"m"}))
    if permissions not in ("r", "rw"):
        raise _refused(path, f"{inside} has the permissions {one['permissions']}", "r, rw or rwm")
    numbers = [one.get(word) for word in ("major", "minor")]
    if not all(number is None or (isinstance(number, int) and number >= 0) for number in numbers):
        raise _refused(path, f"{inside} has numbers that are none", "have it made anew")
    major, minor = (-1, -1) if not numbers[0] else (numbers[0], numbers[1] or 0)
    return _path(path, one.get("hostPath") or inside), inside, permissions, major, minor


def _mount(path: str, one: dict[str, Any]) -> tuple[str, str]:
    """Return (on the host, inside). It is read-only, whatever the specification says or leaves out."""
    _require_words(path, "a mount", one, _MOUNT)
    inside = _path(path, one.get("containerPath"))
    if one.get("type") not in (None, "", "bind"):
        raise _refused(path, f"the mount of {inside} is of type {one['type']}", "bind")
    unknown = [option for option in _texts_of(path, one, "options") if option not in _OPTIONS]
    if unknown:
        why = f"the mount of {inside} has the option {unknown[0]}, and what comes with a device is read-only"
        raise _refused(path, why, "name it in volumes where it has to be more")
    return _path(path, one.get("hostPath")), inside


def _variable(path: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(_VARIABLE, name) or "\0" in value:
        raise _refused(path, f"the variable {text!r} is none", "NAME=VALUE")
    return name, value


def _path(path: str, text: object) -> str:
    if not isinstance(text, str) or not text.startswith("/") or ".." in text.split("/") or "\0" in text:
        raise _refused(path, f"{text!r} is no absolute path", "have it made anew")
    return "/" + posixpath.normpath(text).lstrip("/")


def _list_of(path: str, around: dict[str, Any], word: str) -> list[dict[str, Any]]:
    found = around.get(word) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _refused(path, f"{word} is no list of maps", "have it made anew")
    return found


def _texts_of(path: str, around: dict[str, Any], word: str) -> list[str]:
    found = around.get(word) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise _refused(path, f"{word} is no list of texts", "have it made anew")
    return found


def _require_words(path: str, what: str, one: dict[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(map(str, one.keys() - known))
    if unknown:
        raise _refused(path, f"{what} has {unknown[0]}, which nothing here knows", "have it made without it")


def _refused(path: str, why: str, remedy: str) -> Refusal:
    return Refusal(f"cannot use the specification {path}", why, remedy, _STEP)

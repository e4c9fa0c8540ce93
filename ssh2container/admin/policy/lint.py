"""Warnings: what is allowed and weaker than it looks, or surely not meant."""

from __future__ import annotations

import os
import pwd
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ssh2container.admin import writable
from ssh2container.admin.policy.compile.compiler import DIRECTORIES, FOR_EVERYBODY, SUFFIX
from ssh2container.admin.policy.yaml.problems import WARNING, Problem, did_you_mean, quoted
from ssh2container.admin.reachable import answers
from ssh2container.errors import Refusal
from ssh2container.plan import forwarding
from ssh2container.plan.image import find_record
from ssh2container.plan.tree import SYSTEM_TARGETS
from ssh2container.policy import filters, images, rules, specifiers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ssh2container.admin.policy.compile.loader import Loaded
    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.policy.policy import Policy
    from ssh2container.policy.store import Places

Lint = tuple[str, str, str]
"""The key to blame, what was found, a hint."""

_HOST_PLACES = (
    "/", "/etc", "/usr", "/bin", "/sbin", "/lib", "/boot", "/root", "/var", "/home", "/run", "/dev",
)  # fmt: skip
HOST_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "lxd/unix.socket", "libvirt-sock")
"""Ends of the names of sockets behind which root's services listen."""
_WRITABLE_HOME = "the session can write to the user's home on the host"
_ACTS_OUTSIDE = "what lies there (.ssh, .profile, units) acts outside"
_LOADER_VARIABLES = (
    "LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "PYTHONPATH", "BASH_ENV", "GCONV_PATH", "OPENSSL_CONF",
    "OPENSSL_MODULES",
)  # fmt: skip
"""By which a client runs code of its own in a program that the policy chose, such as the sshd inside."""


_IN_A_RANGE = (
    "logins are refused unless its group is nobody's and its file system is mounted nosuid,nodev:"
    " sessions of different users share host ids in a range"
)
_ONE_HOST = (
    "concurrent sessions share the home and look like one host, although each has its own"
    " pids: programs such as borg take another session's live lock for a stale one"
)
_OWN_RANGE = "userns_mode: own_range needs neither"


def of_policy(policy: Policy) -> Iterator[Lint]:
    """Yield what is weak in one effective policy."""
    if policy.network_mode == "host":
        found = "the session shares the host's network: its loopback services and abstract sockets"
        yield "network_mode", found, "network_mode: none has only its own loopback"
    yield from _of_user(policy)
    yield from _of_files(policy)
    yield from _of_access(policy)
    for pattern in policy.accept_env:
        caught = next((name for name in _LOADER_VARIABLES if fnmatchcase(name, pattern)), "")
        if caught:
            found = f"the pattern {pattern} lets the client set {caught}"
            yield f"accept_env.{pattern}", found, "name the variables that are needed"
    if policy.ulimits.get("core", (0, 0)) not in ((0, 0), (0, 1), (1, 1)):
        found = "no session writes a core: with any limit but 1 the host's core handler may start, as root"
        yield "ulimits.core", found, "core: 0, or leave it out"
    if policy.seccomp.allow:
        yield "seccomp.allow", "system calls beyond the profile are allowed", ""


def _of_user(policy: Policy) -> Iterator[Lint]:
    if policy.user != "root" or policy.ranged:
        return
    found = "root inside owns none of the system's files and can change nothing outside the home"
    if policy.image == "host":
        hint = "image: the name of an imported image (ssh2containerctl image list), or user: self"
    else:
        hint = "leave userns_mode out: then root has a range of ids"
    yield "user", found, hint


def _of_files(policy: Policy) -> Iterator[Lint]:
    if policy.home is not None and policy.home.source == "%h":
        verb = "reads" if policy.home.read_only else "writes"
        hint = "give the session a directory of its own, such as /srv/homes/%u"
        yield "home.source", f"the session {verb} the user's home on the host", hint
    kept = policy.home is not None and not policy.home.read_only
    several = policy.container_per != "user" or len(images.of(policy)) > 1
    if kept and several and "%i" not in policy.hostname:
        hint = f"hostname: {policy.hostname}-%i"
        hint += ", or container_per: user" if policy.container_per != "user" else ""
        yield "hostname", _ONE_HOST, hint
    if policy.userns_mode == "range":
        if policy.home is not None and policy.home.source and not policy.home.read_only:
            yield "home.source", _IN_A_RANGE, _OWN_RANGE
        for volume in policy.volumes:
            if not volume.read_only:
                yield f"volumes.{volume.target}", _IN_A_RANGE, _OWN_RANGE
    for volume in policy.volumes:
        key = f"volumes.{volume.target}"
        if volume.source.endswith(HOST_SOCKETS):
            yield key, f"{volume.source} is as good as root on the host", "leave it out"
        elif volume.read_only:
            continue
        elif volume.source in _HOST_PLACES:
            yield key, f"the session can write to {volume.source} of the host", "mark the volume ro"
        elif volume.source == "%h" or volume.source.startswith("%h/"):
            yield key, _WRITABLE_HOME, _ACTS_OUTSIDE


def of_volumes(policy: Policy, host_home: str, values: Mapping[str, str]) -> Iterator[Lint]:
    """Yield writable volumes that reach into ``host_home`` without saying %h.

    values: what specifiers stand for.
    """
    for volume in policy.volumes:
        if volume.read_only or volume.source.startswith("%h") or volume.source in _HOST_PLACES:
            continue
        try:
            source = specifiers.expand(volume.source, values).rstrip("/") + "/"
        except Refusal:
            continue
        home = host_home.rstrip("/") + "/"
        if source.startswith(home) or home.startswith(source):
            yield f"volumes.{volume.target}", _WRITABLE_HOME, _ACTS_OUTSIDE


def _of_access(policy: Policy) -> Iterator[Lint]:
    access = policy.access
    if isinstance(access.commands, tuple) and access.interactive is True:
        found = "the list does not restrict a user who can also start the shell"
        yield "access.commands", found, "access: {interactive: false} beside it"
    if not access.login and not access.message:
        yield "access.login", "the user is not told why", "access: {message: TEXT} beside it"


def contradictions(policy: Policy) -> Iterator[Lint]:
    """Yield what the planner refuses, whoever logs in: the key, what was found, what is allowed."""
    if policy.user not in ("self", "root") and not policy.ranged:
        found = f"{policy.user} is a user of the image, and userns_mode: single maps the login's own id alone"
        yield "user", found, "self | root, or userns_mode: range with an imported image"
    if policy.userns_mode == "range" and policy.network_mode == "host":
        found = "sessions of different users share host ids in a range, and would meet on the host's network"
        yield "network_mode", found, "none, or userns_mode: own_range"
    if policy.values[forwarding.KEY] and policy.access.terminal == "required":
        yield forwarding.KEY, "access.terminal: required refuses all that it allows", "one of them"
    for volume in policy.volumes:
        for place in SYSTEM_TARGETS:
            if place == "/usr" and policy.image != "host":
                continue
            if volume.target == place or volume.target.startswith(place + "/"):
                yield f"volumes.{volume.target}", f"{place} is the container's own", "another target"


def unknown_filter(policy: Policy) -> Lint | None:
    """Return what was found, what is allowed and a hint when this host has no such filter."""
    name = policy.seccomp.profile
    try:
        filters.find(name)
    except OSError:
        listed = [os.listdir(place) for place in filters.PROFILES if os.path.isdir(place)]
        stems = {file.removesuffix(".json") for files in listed for file in files if file.endswith(".json")}
        known = sorted(stems - {filters.INIT.profile})
        if not known:
            return None  # a machine without the product
        hint = did_you_mean(name, known) or f"put it into {filters.PROFILES[0]}"
        return f"there is no system-call filter {quoted(name)}", ", ".join(known), hint
    return None


def of_image(policy: Policy) -> Iterator[Lint]:
    """Yield why no session gets the image of the policy on this host."""
    if policy.image == "host":
        return
    try:
        there = os.path.exists(find_record(policy.image))
    except Refusal as error:
        yield images.key(policy), f"{error}: logins are refused", ""
        return
    if not there:
        found = f"the image {policy.image} is not installed on this host: logins are refused"
        yield images.key(policy), found, f"ssh2containerctl image import {policy.image} SOURCE"


def of_sources(policy: Policy, values: Mapping[str, str]) -> Iterator[Lint]:
    """Yield volumes whose source is not there. values: what specifiers stand for."""
    for volume in policy.volumes:
        if "%i" in volume.source:
            continue
        try:
            source = specifiers.expand(volume.source, values)
        except Refusal as error:
            yield f"volumes.{volume.target}", f"{error}: logins are refused", ""
            continue
        if answers(source) and not os.path.exists(source):
            yield f"volumes.{volume.target}", f"there is no {source}: logins are refused until there is", ""


def of_set_id(policy: Policy, values: Mapping[str, str]) -> Iterator[Lint]:
    """Yield writable sources on which the host honours set-ID bits. values: what specifiers stand for."""
    if policy.userns_mode == "range":
        return  # logins are refused there, which the general warning says
    for place in writable.places(policy, values):
        if not writable.ignores_set_id(place.path):
            found = f"{place.path} is not mounted nosuid,nodev on the host"
            if policy.ranged:
                found += ": root inside cannot set set-user-ID bits, which some packages need"
            yield place.key, found, writable.remedy(place)


def of_directory(places: Places) -> Iterator[Problem]:
    """Yield files and directories that nothing reads, because their names are not quite right."""
    root = places.configuration
    for entry in _entries(root):
        meant = did_you_mean(entry, _NAMES) if entry not in _NAMES else ""
        if meant:
            yield Problem(f"{root}/{entry}", 0, 0, "nothing reads it", hint=meant, severity=WARNING)
    for directory in DIRECTORIES:
        for entry in _entries(f"{root}/{directory}"):
            stem, suffix = os.path.splitext(entry)
            if suffix != SUFFIX and suffix.lower() in (".yaml", ".yml"):
                path, hint = f"{root}/{directory}/{entry}", f"call it {stem}{SUFFIX}"
                yield Problem(path, 0, 0, "nothing reads it", hint=hint, severity=WARNING)


_NAMES = (*(name + SUFFIX for name in FOR_EVERYBODY), *DIRECTORIES, "seccomp")


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []  # whoever reads what should be there says so


def of_account(name: str, groups: Collection[str]) -> Iterator[str]:
    """Yield what is weak about a user's account, whatever the policy says.

    Nothing is about root's, which no login admits.
    """
    if _uid_of(name) == 0:
        return
    for group in sorted(rules.POWERFUL_GROUPS.keys() & groups):
        yield f"{name} is in the group {group}, whose members can become root on the host"


def second_name(name: str) -> str:
    """Return another name with the same uid, "" when ``name`` is the only one."""
    uid = _uid_of(name)
    first = name if uid is None else pwd.getpwuid(uid).pw_name
    return first if first != name else ""


def _uid_of(name: str) -> int | None:
    """Return whose account it is, None for one that is not, or was deleted since its groups were read."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def of_file(source: Source, loaded: Loaded, part: str) -> Iterator[Problem]:
    """Yield warnings about one file. part: its place in the chain, e.g. "enforced" or "users/alice"."""
    _, _, values, lines = loaded.layer
    if part == "enforced":
        for key in _GRANTS:
            parents = {key, key.partition(".")[0]}
            if type(values.get(key)) is dict and not parents & loaded.replaced:
                found = f"{key} adds to what users and groups have, it takes nothing away"
                hint = f"write {key.rpartition('.')[2]}: !override to enforce exactly this"
                yield _warning(source, lines[key], found, hint)
    for target, line in _volumes_without_mode(source, loaded):
        found = f"the volume {target} has no mode: it is read-only here, but writable in Compose"
        yield _warning(source, line, found, "write :ro or :rw")


_GRANTS = frozenset((
    "images", "volumes", "access.commands", "accept_env", "seccomp.allow", "ports", "egress", "cap_add",
    "devices",
))  # fmt: skip


def _volumes_without_mode(source: Source, loaded: Loaded) -> Iterator[tuple[str, int]]:
    _, _, values, lines = loaded.layer
    for target in values.get("volumes", {}):
        line = lines.get(f"volumes.{target}", 0)
        text = source.line(line)
        if f":{target}" in text and f":{target}:" not in text:
            yield target, line


def _warning(source: Source, line: int, message: str, hint: str) -> Problem:
    text = source.line(line)
    column = len(text) - len(text.lstrip()) + 1
    return Problem(source.path, line, column, message, hint=hint, text=text, severity=WARNING)

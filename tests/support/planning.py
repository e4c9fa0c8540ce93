"""Plans of made-up logins on a made-up host: what the planner does, without a machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssh2container.plan.account import Account
from ssh2container.plan.host import Host, Source, specifier_values
from ssh2container.plan.image import Image
from ssh2container.plan.make import Plan, make
from ssh2container.plan.request import Request
from ssh2container.policy import specifiers
from ssh2container.policy.policy import Policy

SESSION = "0123456789"
NOBODYS_GROUP = 65534


def account(name: str = "al", *groups: str) -> Account:
    """A user with a group of the same name and ``groups``."""
    gids = tuple(range(1000, 1001 + len(groups)))
    return Account(name, 1000, gids[0], f"/home/{name}", gids, (name, *groups))


def host(policy: Policy, user: Account, *, terminal: bool = False) -> Host:
    """A host that has all that ``policy`` names."""
    made = Host()
    made.session = SESSION
    made.terminal = made.interactive = terminal
    made.hushed, made.welcomed = False, b""
    made.image = _image(policy.image)
    made.tools = None
    made.shell = policy.shell[0]
    made.range = None
    made.skeleton = "/skeleton"
    made.landlock, made.last_capability = 5, 40
    made.masked_files = ("/proc/keys",)
    made.masked_directories = ("/proc/acpi",)
    made.protected = ("/proc/sys",)
    made.etc = (("profile", False), ("terminfo", True))
    made.etc_links = (("os-release", "/usr/lib/os-release"),)
    made.top = ()
    made.skel = ((".profile", 0o644, b"true\n"),)
    values = specifier_values(user, SESSION)
    made.home = None
    if policy.home is not None:
        made.home = _source(specifiers.expand(policy.home.source or "", values))
    made.sources = {
        volume.target: _source(specifiers.expand(volume.source, values)) for volume in policy.volumes
    }
    # In place of a compiled filter, what it would be made from.
    made.bpf, made.init_bpf = repr(policy.seccomp).encode().ljust(800), bytes(8)
    made.recorder = b"recorder" if policy.seccomp.on_violation == "log" else b""
    made.resolv_conf = b"nameserver 192.0.2.1\n" if policy.network_mode == "host" else b""
    made.agent, made.agent_missing = None, ""
    return made


def plan(
    policy: Policy,
    arguments: tuple[bytes, ...] = (),
    given: Mapping[bytes, bytes] | None = None,
    user: Account | None = None,
    *,
    terminal: bool = False,
) -> Plan:
    """The plan of one login. Raises Refusal as the login would."""
    user = user or account()
    given = given or {}
    return make(Request.parse(arguments, given), user, policy, host(policy, user, terminal=terminal), given)


def contents(value: Any) -> Any:
    """Everything that a plan holds, down to the last byte, as values that compare."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, tuple | list):
        return tuple(contents(item) for item in value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return [(contents(key), contents(item)) for key, item in value.items()]
    names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    assert names, f"{value!r} says nothing of its contents"
    return type(value).__name__, [(name, contents(getattr(value, name))) for name in names]


def _image(name: str) -> Image:
    if name == "host":
        return Image("host", kind="host", root="/")
    return Image(
        name,
        kind="tree",
        root="/images/tree",
        digest="sha256:00",
        environment=(("LANG", "C.UTF-8"),),
        passwd=b"root:x:0:0::/root:/bin/sh\n",
        group=b"root:x:0:\n",
    )


def _source(path: str) -> Source:
    return Source(path, (1, 2), directory=True, gid=NOBODYS_GROUP)

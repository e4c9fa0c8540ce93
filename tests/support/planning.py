"""Plans of made-up logins on a made-up host: what the planner does, without a machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssh2container.plan.account import Account
from ssh2container.plan.host import Host, specifier_values
from ssh2container.plan.image import Image
from ssh2container.plan.make import Plan, make
from ssh2container.plan.private import Observed
from ssh2container.plan.request import Request
from ssh2container.plan.sources import Source
from ssh2container.policy.policy import Policy

SESSION = "0123456789"
NOBODYS_GROUP = 65534


def account(name: str = "al", *groups: str) -> Account:
    """A user with a group of the same name and ``groups``."""
    gids = tuple(range(1000, 1001 + len(groups)))
    return Account(name, 1000, gids[0], f"/home/{name}", gids, (name, *groups))


def host(policy: Policy, *, terminal: bool = False) -> Host:
    """A host that has all that ``policy`` names."""
    made = Host()
    made.session = SESSION
    made.served = ()
    made.last_pid = 4711
    made.terminal = made.interactive = terminal
    made.hushed, made.welcomed = False, b""
    made.image = _image(policy.image)
    made.tools = None
    made.shell = policy.shell[0]
    made.range = None
    made.networks = None
    made.skeleton = "/skeleton"
    made.stand_ins = ("/usr/bin/crontab",)
    made.landlock, made.last_capability = 5, 40
    made.masked_files = ("/proc/keys",)
    made.masked_directories = ("/proc/acpi",)
    made.protected = ("/proc/sys",)
    made.etc = (("profile", False), ("terminfo", True))
    made.etc_links = (("os-release", "/usr/lib/os-release"),)
    made.top = ()
    made.skel = ((".profile", 0o644, b"true\n"),)
    made.home = _source(policy.home.source or "") if policy.home is not None else None
    made.sources = {volume.written: _source(volume.source) for volume in policy.volumes}
    # In place of a compiled filter, what it would be made from.
    made.set_id_bits = 0
    made.limits = {"core": -1, "nproc": -1, "nofile": 1 << 20}
    made.processes = -1
    made.core_handler = False
    made.bpf, made.init_bpf = repr(policy.seccomp).encode().ljust(800), bytes(8)
    made.recorder = b"recorder" if policy.seccomp.on_violation == "log" else b""
    made.resolv_conf = b"nameserver 192.0.2.1\n" if policy.network_mode == "host" else b""
    made.private = None
    if policy.network_mode == "private":
        made.private = Observed(b"nameserver 192.0.2.1\nsearch example.org\n", has_ipv6=True)
        made.resolv_conf = made.private.resolv_conf
    made.devices = made.opening = None
    made.commands, made.agent, made.agent_missing = None, None, ""
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
    policy = policy.expanded(specifier_values(user, SESSION))
    return make(Request.parse(arguments, given), user, policy, host(policy, terminal=terminal), given)


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

# Longer than 300 lines: every part of a plan in words stands together.
"""What a login of a user would do: the very plan that a session carries out, in words."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING

from ssh2container.admin.login import commands, jobs, openings, units
from ssh2container.kernel import namespaces, private_network
from ssh2container.plan import forwarding, private, whole
from ssh2container.plan.greeting import spell
from ssh2container.policy import key_rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ssh2container.plan.account import Account
    from ssh2container.plan.host import Host
    from ssh2container.plan.make import Plan
    from ssh2container.plan.request import Request
    from ssh2container.policy.networks import Network
    from ssh2container.policy.policy import Policy

_NAMESPACES = {
    "user": namespaces.CLONE_NEWUSER,
    "mount": namespaces.CLONE_NEWNS,
    "pid": namespaces.CLONE_NEWPID,
    "ipc": namespaces.CLONE_NEWIPC,
    "uts": namespaces.CLONE_NEWUTS,
    "cgroup": namespaces.CLONE_NEWCGROUP,
    "net": namespaces.CLONE_NEWNET,
}
_LOCKS = (
    "look like a separate host beside the user's other sessions: a program that judges by a pid"
    " whether the lock of another login is stale (PostgreSQL, gpg) needs container_per: user"
)


class Explanation:
    """A plan with the places in the policy that asked for each step.

    key: the setting that lets the client have the program.
    weaker: (key, what it means) of everything that leaves the container weaker than by default.
    costs: (key, what it costs beyond other sessions), see :func:`costs`.
    reach: (key, what its network leads to, or from where), see :func:`reach`.
    """

    def __init__(
        self,
        account: Account,
        policy: Policy,
        plan: Plan,
        costs: Sequence[tuple[str, str]] = (),
        key: str = "shell",
        *,
        shared: bool = False,
    ) -> None:
        self.account = account
        self.key = key
        self.policy = policy
        self.plan = plan
        self.weaker = openings.weaker(policy, shared=shared)
        self.reach = reach(policy)
        self.costs = list(costs)

    def namespaces(self) -> list[str]:
        """Return the kinds of namespaces that are new."""
        return [name for name, flag in _NAMESPACES.items() if self.plan.container.namespaces & flag]

    def steps(self) -> list[dict[str, Any]]:
        """Return every operation: phase, step, words, reason, system calls, key and the key's place."""
        found = []
        for phase, operations in self.plan.phases().items():
            for operation in operations:
                origin = self.policy.origin(operation.key) if operation.key else None
                found.append(
                    {
                        "phase": phase,
                        "step": operation.step,
                        "describe": operation.describe(),
                        "reason": operation.why,
                        "system_calls": list(operation.calls),
                        "key": operation.key or None,
                        "origin": str(origin) if origin else None,
                    }
                )
        return found

    def program(self) -> dict[str, str | None]:
        """Return what is executed in the end: words, the key that allows it and the key's place."""
        origin = self.policy.origin(self.key)
        place = str(origin) if origin else None
        program, key = self.plan.payload.program, self.key
        scope = self.plan.container.scope
        if isinstance(scope, whole.SystemScope) and self.plan.container.per == "session":
            program, key = scope.program, "boot"
        return {"describe": program.describe(), "key": key, "origin": place}

    def keys(self) -> list[dict[str, Any]]:
        """Return the rules by which keys have policies of their own: name, profiles and the rule's place."""
        return [
            {
                "rule": rule.name,
                "extends": list(rule.profiles),
                "origin": str(self.policy.origin(f"{key_rules.KEY}.{rule.name}")),
            }
            for rule in key_rules.of(self.policy.values)
        ]

    def variables(self) -> list[tuple[str, str, str]]:
        """Return (NAME=VALUE, key, place) of the variables that the policy sets."""
        found = []
        for name in self.policy.environment:
            value = self.plan.payload.environment.get(os.fsencode(name))
            if value is not None:
                key = f"environment.{name}"
                place = str(self.policy.origin(key) or "built-in")
                found.append((f"{name}={os.fsdecode(value)}", key, place))
        return found

    def meanwhile(self) -> list[dict[str, Any]]:
        """Return what goes along with the session: words, key and the key's place."""
        found = []
        for key, words in meanwhile(self.plan, self.policy):
            origin = self.policy.origin(key)
            found.append({"describe": words, "key": key, "origin": str(origin) if origin else None})
        return found

    def as_json(self) -> dict[str, Any]:
        """Return everything, for another program."""
        environment = {
            os.fsdecode(name): os.fsdecode(value)
            for name, value in self.plan.payload.environment.items()
            if name != forwarding.SECRET
        }
        return {
            "user": self.account.name,
            "policy": self.policy.digest,
            "rule": self.policy.rule or None,
            "keys": self.keys(),
            "image": {"name": self.plan.container.image.name, "digest": self.plan.container.image.digest},
            "namespaces": self.namespaces(),
            "operations": self.steps(),
            "program": self.program()["describe"],
            "program_key": self.program()["key"],
            "program_origin": self.program()["origin"],
            "directory": self.plan.payload.directory,
            "terminal": self.plan.watch.terminal,
            "reach": [{"key": key, "describe": words} for key, words in self.reach],
            "meanwhile": self.meanwhile(),
            "environment": environment,
            "variables": [
                {"describe": variable, "key": key, "origin": place}
                for variable, key, place in self.variables()
            ],
            "weaker": [{"key": key, "means": means, "origin": place} for key, means, place in self.weaker],
            "units": units.less_protected(self.plan),
            "costs": [{"key": key, "describe": words} for key, words in self.costs],
            "schedule": jobs.described(self.policy),
            "host_commands": commands.described(self.policy),
        }


def of_plan(request: Request, account: Account, policy: Policy, host: Host, plan: Plan) -> Explanation:
    """Explain the ``plan`` that was made of the others."""
    shared = host.range is not None and not host.range.own
    key = _allowing(request, policy)
    return Explanation(account, policy, plan, costs(account, host), key, shared=shared)


def _allowing(request: Request, policy: Policy) -> str:
    """Return the setting that answers ``request``."""
    if policy.access.command is not None:
        return "access.command"
    if request.kind == "login":
        return "shell" if policy.access.interactive is True else "access.interactive"
    if request.kind == "command":
        return "access.commands"
    return "access.sftp" if request.kind == "sftp" else forwarding.KEY


def meanwhile(plan: Plan, policy: Policy) -> list[tuple[str, str]]:
    """Return (key, words) of what the monitor does beside waiting: limits in time, and records."""
    found = _company(plan)
    if policy.user_limits is not None:
        words = policy.user_limits.words()
        found.append(("user_limits", f"share with everything else of the user, by systemd's slice: {words}"))
    if plan.watch.greeting:
        key = next((key for key in ("banner", "motd") if getattr(policy, key)), "welcome")
        lines = len(plan.watch.greeting.splitlines())
        once = ", what is kept and what is gone at the first login alone" if plan.watch.welcome else ""
        found.append((key, f"show {lines} lines on the terminal first{once}"))
    if policy.home is not None and not policy.home.read_only and plan.container.per != "user":
        found.append(("home", _LOCKS))
    if isinstance(plan.container.scope, whole.SystemScope):
        found += units.of_system(plan.container.scope, plan)
    found += _ends(plan)
    if (record := plan.watch.recording) is not None:
        what = "what the terminal shows and what is typed" if record.input else "what the terminal shows"
        if record.to == "collector":
            where = "to the collector, which keeps it out of the user's reach"
        else:
            where = f"to {record.directory}, untrusted: the user's uid can change what is there"
        end = "end the session" if record.on_failure == "end_session" else "go on"
        found += [("record.to", f"record {what}, {where}"), ("record.on_failure", f"{end} when that fails")]
    if plan.watch.transfers is not None:
        found.append(("record.transfers", "record the names of transferred files, as far as they are shown"))
    return found


def _ends(plan: Plan) -> list[tuple[str, str]]:
    """Return (key, words) of what ends the session whatever it does."""
    limits = plan.watch.deadlines
    found: list[tuple[str, str]] = []
    if limits is None:
        return found
    grace = f"ask it to end, and kill it after {spell(plan.container.grace)}"
    if limits.max_duration is not None:
        found.append(("sessions.max_duration", f"after {spell(limits.max_duration)}: {grace}"))
    if limits.closing is not None:
        found.append((limits.closing.key, f"{limits.closing.when}: {grace}"))
    if limits.idle_timeout is not None and plan.watch.terminal:
        idle = spell(limits.idle_timeout)
        found.append(("sessions.idle_timeout", f"when nothing is typed or shown for {idle}: {grace}"))
    if limits.warn_before:
        found.append(("sessions.warn_before", f"warn of that {spell(limits.warn_before)} before"))
    return found


def reach(policy: Policy) -> list[tuple[str, str]]:
    """Return (key, words) of what a session reaches over its network, and who reaches it."""
    if policy.networks:
        return [(f"networks.{one.name}", _reach_on(one)) for one in policy.networks]
    if policy.network_mode == "none":
        return [
            ("network_mode", "nothing: it has a loopback of its own and no way out, and no name resolves")
        ]
    if policy.network_mode == "host":
        return [("network_mode", "all that the host reaches, and the host's own services, on loopback too")]
    entries = () if isinstance(policy.egress, str) else policy.egress
    how = ", by TCP, UDP and ping" if policy.egress in ("internet", "any") else ""
    found = [("egress", f"{private.reach(policy)}{how}; what is refused is told at once")]
    if policy.egress != "none":
        which = "these names and no others" if entries and all(one.is_name for one in entries) else "names"
        found.append(("network_mode", f"{which} by the host's resolver, as {private_network.DNS4}"))
    for port in policy.ports:
        who = (
            "programs on this host" if ipaddress.ip_address(port.address).is_loopback else "other hosts, too,"
        )
        inside = str(port.target) if port.count == 1 else f"{port.target}-{port.target + port.count - 1}"
        found.append((port.key, f"{who} reach port {inside} inside as {port}"))
    return found


def _reach_on(network: Network) -> str:
    routed = network.gateway or network.ipv6_gateway
    beyond = (
        f"all that its gateway {routed} leads to" if routed else "what its gateway leads to, if it has one"
    )
    return f"who is on the network {network.name}, and {beyond}; both reach the session in turn"


def costs(account: Account, host: Host) -> list[tuple[str, str]]:
    """Return (key, words) of what prepared networks and a range of ids cost."""
    found: list[tuple[str, str]] = []
    if host.networks is not None:
        count = len(host.networks.slots)
        found.append(("networks", f"{count} mounts on the host that the start of every session copies"))
    ids = host.range
    if ids is None:
        return found
    last = ids.base + ids.count - 1
    maps = (
        "newuidmap and newgidmap run at each login, about 5 ms" if host.networks is None else "one more fork"
    )
    words_of_ids = [
        f"{maps}: ids {ids.base} to {last} of the host",
        f"the image {host.image.name} takes its size on the disk twice (shared blocks on btrfs and xfs)",
    ]
    if ids.own:
        words_of_ids.append(
            "one more mount on the host for this user, which the start of every session copies"
        )
        words_of_ids.append(
            f"what others inside than {account.name} leave in a kept home or a volume has those ids"
        )
    return found + [("userns_mode", words) for words in words_of_ids]


def _company(plan: Plan) -> list[tuple[str, str]]:
    """Return (key, words) of how the session stands to the user's others."""
    found = []
    most, linger = plan.watch.sessions_max, plan.container.linger
    if most is not None:
        found.append(("sessions.max", f"refuse it where {most} sessions of the user are open"))
    if plan.watch.room is not None:
        one, total = (f"{-(-size // 1024**2)}m" for size in plan.watch.room)
        found.append(
            (
                "storage_opt.total",
                f"refuse it where the user's others leave less than {one} of {total} in memory",
            )
        )
    if plan.container.per == "user":
        end = f"it ends {spell(linger)} after the last of them" if linger else "the last ends it"
        whose = f"sessions with {plan.container.choice}" if plan.container.choice else "sessions"
        found.append(("container_per", f"join the one container of all the user's {whose}; {end}"))
    elif plan.container.per == "connection":
        found.append(
            (
                "container_per",
                "join the container of this connection's sessions, which ends with the connection",
            )
        )
    return found

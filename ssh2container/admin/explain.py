"""What a login of a user would do: the very plan that a session carries out, in words."""

from __future__ import annotations

import os

from ssh2container.admin.reasons import REASONS
from ssh2container.kernel import namespaces
from ssh2container.plan.account import Account
from ssh2container.plan.greeting import spell
from ssh2container.plan.host import Host
from ssh2container.plan.make import PHASES, make
from ssh2container.plan.request import Request
from ssh2container.policy import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ssh2container.plan.make import Plan
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
_SHARED_IDS = (
    "all sessions of this mode share host ids, whoever logs in: one can use up the others' pipes and"
    " descriptors; so each has a network of its own, and no writable volume whose group is mapped"
)
_EXPLAINED = "explained"
"""Stands for the id that a real session would have."""


class Explanation:
    """A plan with the places in the policy that asked for each step.

    key: the setting that lets the client have the program.
    weaker: (key, what it means) of everything that leaves the container weaker than by default.
    costs: (key, what it costs beyond other sessions), see :func:`costs`.
    """

    def __init__(
        self,
        account: Account,
        policy: Policy,
        plan: Plan,
        costs: Sequence[tuple[str, str]] = (),
        key: str = "shell",
    ) -> None:
        self.account = account
        self.key = key
        self.policy = policy
        self.plan = plan
        self.weaker = weaker(policy)
        self.costs = list(costs)

    def namespaces(self) -> list[str]:
        """Return the kinds of namespaces that are new."""
        return [name for name, flag in _NAMESPACES.items() if self.plan.namespaces & flag]

    def steps(self) -> list[dict[str, Any]]:
        """Return every operation: phase, step, words, reason, system calls, key and the key's place."""
        found = []
        for phase in PHASES:
            for operation in getattr(self.plan, phase):
                origin = self.policy.origin(operation.key) if operation.key else None
                found.append(
                    {
                        "phase": phase,
                        "step": operation.step,
                        "describe": operation.describe(),
                        "reason": REASONS[operation.step],
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
        return {"describe": self.plan.program.describe(), "key": self.key, "origin": place}

    def variables(self) -> list[tuple[str, str, str]]:
        """Return (NAME=VALUE, key, place) of the variables that the policy sets."""
        found = []
        for name in self.policy.environment:
            value = self.plan.environment.get(os.fsencode(name))
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
        environment = {os.fsdecode(k): os.fsdecode(v) for k, v in self.plan.environment.items()}
        return {
            "user": self.account.name,
            "policy": self.policy.digest,
            "image": {"name": self.plan.image.name, "digest": self.plan.image.digest},
            "namespaces": self.namespaces(),
            "operations": self.steps(),
            "program": self.plan.program.describe(),
            "program_key": self.key,
            "program_origin": self.program()["origin"],
            "directory": self.plan.directory,
            "terminal": self.plan.terminal,
            "meanwhile": self.meanwhile(),
            "environment": environment,
            "weaker": [{"key": key, "means": means, "origin": place} for key, means, place in self.weaker],
            "costs": [{"key": key, "describe": words} for key, words in self.costs],
        }


def explain(user: str, words: Sequence[str], *, terminal: bool | None = None) -> Explanation:
    """Plan a login of ``user`` that runs ``words``, or a shell. Raises Refusal as the login would.

    terminal: whether to assume one; by default a shell has it and a command has not.
    """
    account = Account.named(user)
    policy = store.load(account.name, account.groups)
    host = Host.observe(policy, account, _EXPLAINED)
    host.terminal = host.interactive = not words if terminal is None else terminal
    arguments = [b"-c", os.fsencode(" ".join(words))] if words else []
    request = Request.parse(arguments, {})
    plan = make(request, account, policy, host, {b"TERM": b"xterm-256color"})
    return Explanation(account, policy, plan, costs(account, host), _allowing(request, policy))


def _allowing(request: Request, policy: Policy) -> str:
    """Return the setting that answers ``request``."""
    if request.kind == "login":
        return "shell" if policy.access.interactive is True else "access.interactive"
    return "access.sftp" if request.kind == "sftp" else "access.commands"


def meanwhile(plan: Plan, policy: Policy) -> list[tuple[str, str]]:
    """Return (key, words) of what the monitor does beside waiting: limits in time, and records."""
    found = _company(plan)
    if plan.greeting:
        key = next((key for key in ("banner", "motd") if getattr(policy, key)), "welcome")
        lines = len(plan.greeting.splitlines())
        once = ", what is kept and what is gone at the first login alone" if plan.welcome else ""
        found.append((key, f"show {lines} lines on the terminal first{once}"))
    limits = plan.deadlines
    if limits is not None:
        grace = f"ask it to end, and kill it after {spell(plan.grace)}"
        if limits.max_duration is not None:
            found.append(("sessions.max_duration", f"after {spell(limits.max_duration)}: {grace}"))
        if limits.idle_timeout is not None and plan.terminal:
            idle = spell(limits.idle_timeout)
            found.append(("sessions.idle_timeout", f"when nothing is typed or shown for {idle}: {grace}"))
        if limits.warn_before:
            found.append(("sessions.warn_before", f"warn of that {spell(limits.warn_before)} before"))
    record = plan.recording
    if record is not None:
        what = "what the terminal shows and what is typed" if record.input else "what the terminal shows"
        if record.to == "collector":
            where = "to the collector, which keeps it out of the user's reach"
        else:
            where = f"to {record.directory}, untrusted: the user's uid can change what is there"
        end = "end the session" if record.on_failure == "end_session" else "go on"
        found += [
            ("record.to", f"record {what}, {where}"),
            ("record.on_failure", f"{end} when that fails"),
        ]
    if plan.transfers is not None:
        found.append(("record.transfers", "record the names of transferred files, as far as they are shown"))
    return found


def costs(account: Account, host: Host) -> list[tuple[str, str]]:
    """Return (key, words) of what a range of ids costs; nothing where only the user's own is mapped."""
    ids = host.range
    if ids is None:
        return []
    last = ids.base + ids.count - 1
    found = [
        f"newuidmap and newgidmap run at each login, some 5 ms: ids {ids.base} to {last} of the host",
        f"the image {host.image.name} takes its size on the disk twice (shared blocks on btrfs and xfs)",
    ]
    if ids.own:
        found.append("a mount more on the host for this user, which the start of every session copies")
        found.append(f"what others inside than {account.name} leave in a kept home or a volume has those ids")
    return [("userns_mode", words) for words in found]


def _company(plan: Plan) -> list[tuple[str, str]]:
    """Return (key, words) of how the session stands to the user's others."""
    found = []
    if plan.sessions_max is not None:
        found.append(("sessions.max", f"refuse it where {plan.sessions_max} sessions of the user are open"))
    if plan.container_per == "user":
        end = f"it ends {spell(plan.linger)} after the last of them" if plan.linger else "the last ends it"
        found.append(("container_per", f"join the one container of all the user's sessions; {end}"))
    elif plan.container_per == "connection":
        found.append(
            (
                "container_per",
                "join the container of this connection's sessions, which ends with the connection",
            )
        )
    return found


def weaker(policy: Policy) -> list[tuple[str, str, str]]:
    """Return (key, meaning, place) of every setting that opens more than the default does."""
    found: list[tuple[str, str]] = []
    if policy.network_mode == "host":
        found.append(
            (
                "network_mode",
                "the session is on the host's network: it reaches services on loopback and abstract sockets",
            )
        )
    if policy.userns_mode == "range":
        found.append(("userns_mode", _SHARED_IDS))
    if policy.home is not None and not policy.home.read_only:
        found.append(("home", "files in the home outlive the session and reach the next one"))
    if policy.unsafe_host_home:
        found.append(("unsafe_host_home", "the session can write what the host itself acts on: keys, units"))
    found += [
        (f"volumes.{volume.target}", f"{volume.source} on the host can be changed")
        for volume in policy.volumes
        if not volume.read_only
    ]
    if policy.allow_agent_forwarding:
        found.append(("allow_agent_forwarding", "programs inside can use the keys of the client's agent"))
    found += [("cap_add", f"the session's root keeps {name}") for name in policy.cap_add]
    found += [("seccomp.allow", f"the system call {name} is let through") for name in policy.seccomp.allow]
    if policy.seccomp.on_violation == "log":
        found.append(("seccomp.on_violation", "system calls are logged and not stopped"))
    if policy.seccomp.profile != "default":
        found.append(("seccomp.profile", f"{policy.seccomp.profile} takes the place of the default filter"))
    if policy.container_per != "session":
        found.append(("container_per", "the user's logins share processes and memory"))
    found += [
        ("accept_env", f"the client may set {pattern}")
        for pattern in policy.accept_env
        if pattern in ("*", "LD_*", "PYTHON*") or pattern.startswith("*")
    ]
    return [(key, means, str(policy.origin(key) or "built-in default")) for key, means in found]

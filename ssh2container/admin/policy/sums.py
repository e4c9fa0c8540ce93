"""Limits that add up to more than there is: of a user's sessions, and of users on a site."""

from __future__ import annotations

from ssh2container.admin.policy.yaml.problems import WARNING, Problem
from ssh2container.policy import images, limits, rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ssh2container.admin.policy.compile.loader import Loaded
    from ssh2container.admin.policy.yaml.files import Source
    from ssh2container.policy.policy import Policy, Values

_STORED = ("storage_opt.total", "storage_opt.size", "sessions.max", "tmpfs")
_SHOWN = 5


def contradictions(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield what no login looks at, as only the user's limits say it: the key, the finding, the remedy."""
    if policy.limits is None and policy.user_limits is not None:
        yield from limits.broken(policy)
    total, one = policy.storage_opt.total, rules.in_memory(policy)
    if total is not None and one > total:
        found = f"one session may write more to memory, so every login is refused: {limits.mebibytes(one)}"
        yield "storage_opt.total", found, "at least storage_opt.size and the sizes of all tmpfs"


def of_policy(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield what a user's sessions can only use one at a time: the key, what was found, a hint."""
    values, most = policy.values, policy.sessions.max
    if most is None or policy.container_per == "user" or policy.written("sessions.max") is None:
        return
    for name in limits.SUMMED:
        one, every = values[name], values["user_limits." + name]
        if one is not None and every is not None and most * one > every:
            found = (
                f"{most} sessions (sessions.max) of {_shown(name, one)} are more than {_shown(name, every)}"
            )
            yield "user_limits." + name, found, "they share it: one may find less than its own limit"
    memory = values["user_limits.mem_limit"]
    needed = most * (limits.writable_bytes(policy) + limits.RESERVE_BYTES)
    if policy.storage_opt.total is not None:
        at_once = min(most, policy.storage_opt.total // rules.in_memory(policy))
        needed = at_once * (limits.writable_bytes(policy) + limits.RESERVE_BYTES)
    if memory is not None and needed > memory and not any(contradictions(policy)):
        found = (
            f"{most} sessions (sessions.max) that fill what they can write need {limits.mebibytes(needed)}"
        )
        hint = "beyond the limit programs are killed, whose turn it is: smaller storage_opt or sessions.max"
        yield "user_limits.mem_limit", found, hint


def over_site(policy: Policy, site: Values) -> Iterator[tuple[str, str, str]]:
    """Yield a user's limit that all contained users together do not have: the key, what was found, a hint."""
    for name in limits.SUMMED:
        every = site["site_limits." + name]
        for key in (name, "user_limits." + name):
            one = policy.values[key]
            if one is not None and every is not None and one > every:
                found = f"{_shown(name, one)} is more than site_limits allows everybody together"
                yield key, found, f"at most {_shown(name, every)}, or it is never reached"


def over_memory(policy: Policy, memory: int) -> Iterator[tuple[str, str, str]]:
    """Yield whose sessions may write more to memory than the machine has: the key, what was found, a hint.

    memory: bytes of the machine. Only of what somebody wrote: the defaults know no machine.
    """
    written = [name for name in _STORED if policy.written(name) is not None]
    amount, most = policy.storage_opt.total, policy.sessions.max
    if not written:
        return
    if amount is None and policy.container_per == "user":
        amount = rules.in_memory(policy) * len(images.of(policy))
    elif amount is None and most is not None:
        amount = rules.in_memory(policy) * most
    if amount is None or amount > memory:
        shown = "without end" if amount is None else limits.mebibytes(amount)
        found = (
            f"all sessions of a user may write {shown} to memory,"
            f" and this machine has {limits.mebibytes(memory)}"
        )
        yield written[0], found, "a smaller storage_opt.total refuses the login that would go beyond it"


def reach_of_site(path: str, values: Values, lines: Mapping[str, int]) -> Iterator[Problem]:
    """Yield whom site_limits hold beside contained users: they are those of the slice around all logins."""
    if limits.of(values, "site_limits.") is None:
        return
    # Here, as a login whose policy is not compiled waits for this module, and never asks.
    import pwd

    from ssh2container.admin.account import FIRST_UID, is_host_shell

    others = sorted(
        entry.pw_name
        for entry in pwd.getpwall()
        if is_host_shell(entry.pw_shell) and (entry.pw_uid == 0 or entry.pw_uid >= FIRST_UID)
    )
    if others:
        shown = ", ".join(others[:_SHOWN]) + (
            f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        )
        line = min((number for key, number in lines.items() if key.startswith("site_limits")), default=0)
        message = f"site_limits hold for user.slice, so for logins of {shown} too, who are not contained"
        hint = "leave room for them: systemd has no slice around contained users alone"
        yield Problem(path, line, 1, message, hint=hint, severity=WARNING)


def of_site(source: Source, loaded: Loaded) -> Iterator[Problem]:
    """Yield errors about limits in config.yaml that contradict each other."""
    _, _, values, lines = loaded.layer
    given = {key: values.get(key) for key in ("site_limits.mem_limit", "site_limits.memswap_limit")}
    if given["site_limits.memswap_limit"] is None:
        return
    for key, message, allowed in limits.of_swap(given, "site_limits."):
        line = lines[key]
        text = source.line(line)
        yield Problem(source.path, line, len(text) - len(text.lstrip()) + 1, message, allowed, "", text)


def _shown(name: str, value: float) -> str:
    return limits.mebibytes(int(value)) if name == "mem_limit" else f"{value:g}"

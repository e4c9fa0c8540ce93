"""What ``sessions`` tells of a moment, for another program: each session, each user, and all together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import cgroup

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ssh2container.admin.sessions.live import Listing, Live
    from ssh2container.admin.sessions.usage import Container, Moment

_LIMITS = {"memory": "memory_max", "swap": "swap_max", "cpus": "cpus", "processes": "processes_max"}
"""What we call a limit -> what :class:`cgroup.Group` calls it."""


def of(listing: Listing, now: Moment, before: Moment | None) -> dict[str, Any]:
    """Return everything. before: an earlier moment, without which nobody knows how busy processors are."""
    memory, writable = now.memory(), now.writable()

    def facts(live: Live) -> dict[str, Any]:
        container = now.container(live)
        init = container.init
        used, size = (None, None) if init is None else writable.get(init.pid, (None, None))
        return {
            **live.facts(init),
            "memory": _memory(live, now, memory),
            "cpu": _rounded(now.cpu_since(before, live)),
            "cpu_seconds": _rounded(container.cpu_s),
            "processes": len(container.inside),
            "writable": used,
            "oom_kills": None if container.group is None else container.group.oom_kills,
            "measured": "cgroup" if container.is_counted else "processes",
            "limits": {**_limits(container, now), "writable": size},
        }

    sessions = [facts(live) for live in listing.sessions]
    containers = [facts(live) for live in listing.containers]
    users = _users(listing, now, [*sessions, *containers])
    return {
        "sessions": sessions,
        "containers": containers,
        "users": users,
        "total": _all(users, [*sessions, *containers], now),
        "strange": listing.strange,
    }


def _memory(live: Live, now: Moment, memory: dict[int, int]) -> int:
    container = now.container(live)
    if container.is_counted and container.group is not None and container.group.memory is not None:
        return container.group.memory
    return sum(memory.get(process.pid, 0) for process in (*now.outside(live), *container.inside))


def _limits(container: Container, now: Moment) -> dict[str, Any]:
    """Return the narrowest limits that hold for a container, whoever shares them; None for none."""
    counted = container.most_processes()
    limits = {name: now.groups.bound(container.path, of) for name, of in _LIMITS.items()}
    if counted is not None:
        limits["processes"] = min(counted, limits["processes"] or counted)
    return limits


def _users(listing: Listing, now: Moment, everything: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sums of each user. Each entry has, for :func:`_all`, the path of the user's slice."""
    slices: dict[int, str] = {}
    for live in (*listing.sessions, *listing.containers):
        # A monitor stays where sshd has put it, and a container's processes may be in another place. Without
        # PAM sshd puts it nowhere, and only the scope of a container is in the slice.
        if not slices.get(live.who.uid):
            places = (cgroup.of_process(live.monitor.pid), now.container(live).path)
            found = [cgroup.slice_in(place, live.who.uid) for place in places]
            slices[live.who.uid] = found[0] or found[1]
    of_users: dict[int, list[dict[str, Any]]] = {}
    for facts in everything:
        of_users.setdefault(facts["uid"], []).append(facts)
    users = []
    for uid, path in slices.items():
        theirs = of_users[uid]
        entry = {"user": theirs[0]["user"], "uid": uid, **_sum(theirs)}
        users.append({**entry, **_as_counted(path, now), "cgroup": path or None})
    return sorted(users, key=lambda user: str(user["user"]))


def _all(
    users: Sequence[dict[str, Any]], everything: Sequence[dict[str, Any]], now: Moment
) -> dict[str, Any]:
    """Return the sums of all users, with the limits of the slice that theirs lie in."""
    above = {os.path.dirname(user["cgroup"] or "/") for user in users}
    path = above.pop() if len(above) == 1 else "/"
    return {"users": len(users), **_sum(everything), **_as_counted("" if path == "/" else path, now)}


def _sum(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up sessions and containers; what several logins share counts once."""
    apart = [one for one in facts if not one.get("container")]
    found: dict[str, Any] = {
        "sessions": sum("container" in one for one in facts),
        "containers": sum("container" not in one for one in facts),
    }
    for name in ("memory", "cpu", "cpu_seconds", "processes", "writable"):
        told = [one[name] for one in apart if one[name] is not None]
        found[name] = sum(told) if told else None
    return found


def _as_counted(path: str, now: Moment) -> dict[str, Any]:
    """Return the limits of the slice at ``path``, and in place of sums what counts towards each."""
    group = now.groups.at(path)
    if group is None:
        return {"limits": dict.fromkeys(_LIMITS)}
    limits = {name: now.groups.bound(path, of) for name, of in _LIMITS.items()}
    counted = {"memory": group.memory, "processes": group.processes}
    return {"limits": limits} | {
        name: value for name, value in counted.items() if value is not None and limits[name] is not None
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

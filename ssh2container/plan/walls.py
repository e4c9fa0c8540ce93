"""What a session can reach and how much it can take: the places that Landlock leaves open, and limits."""

from __future__ import annotations

from ssh2container.errors import Refusal
from ssh2container.kernel import landlock

from .operations import limits
from .operations.landlock import CLOSED, RestrictFiles, RestrictReach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

    from .host import Host
    from .operations import Operation

DEFAULT_LIMITS = {"nofile": (1024, 4096), "nproc": (512, 512)}
"""What a policy says nothing of: name in ``ulimits`` -> soft and hard limit.

The host's own are made for one system, and a session's processes come out of the same pools."""
_SESSIONS_AT_THEIR_LIMIT, _LEAST_OF_ALL_PROCESSES = 4, 1024
"""All sessions of a user may have the processes of so many at their limit, or of many small ones."""
_ALWAYS = ("/dev/shm", "/tmp")


def around_files(policy: Policy, version: int, *, home: str, whole_system: bool) -> tuple[Operation, ...]:
    """Return the operation, or none where the kernel's Landlock (``version``, its ABI) does not serve.

    whole_system: the session has a root of its own who owns the image's files.
    """
    if version < landlock.OLDEST:
        return ()
    writable: list[str] = list(_ALWAYS)
    read_only: list[str] = []
    for volume in policy.volumes:
        (read_only if volume.read_only else writable).append(volume.target)
    writable += [tmpfs.target for tmpfs in policy.tmpfs]
    (read_only if policy.home is not None and policy.home.read_only else writable).append(home)
    return (
        RestrictFiles(
            version,
            tuple(dict.fromkeys(writable)),
            frozenset((*CLOSED, *(path.split("/")[1] for path in read_only))),
            everything=whole_system,
        ),
    )


def around_container(policy: Policy, version: int) -> tuple[Operation, ...]:
    """Return the operation that replaces a network of the session's own; none where the kernel lacks it."""
    if policy.network_mode != "host" or not landlock.scopes(version):
        return ()
    return (RestrictReach(version, "network_mode"),)


def around_process(policy: Policy, host: Host) -> list[Operation]:
    """Return the resource limits of each process. Raises Refusal as :func:`_core_limit`."""
    chosen = {
        name: (_at_most(soft, host.limits[name]), _at_most(hard, host.limits[name]))
        for name, (soft, hard) in DEFAULT_LIMITS.items()
    }
    chosen.update(policy.ulimits)
    chosen["core"] = _core_limit(host)
    return [
        limits.SetLimit(name, soft, hard, "ulimits." + name if name in policy.ulimits else "")
        for name, (soft, hard) in sorted(chosen.items())
    ]


def around_sessions(policy: Policy, host: Host) -> tuple[Operation, ...]:
    """Return what limits the processes of all the user's sessions together, without any cgroup."""
    most, key = policy.values["user_limits.pids_limit"], "user_limits.pids_limit"
    if most is None:
        one, key = DEFAULT_LIMITS["nproc"][1], ""
        if "nproc" in policy.ulimits:
            one, key = policy.ulimits["nproc"][1], "ulimits.nproc"
        most = one if one < 0 else max(one * _SESSIONS_AT_THEIR_LIMIT, _LEAST_OF_ALL_PROCESSES)
    if most < 0 or most != _at_most(most, host.processes):
        return ()  # the login's own is as low
    return (limits.LimitUser(most, host.limits["nproc"], key),)


def _core_limit(host: Host) -> tuple[int, int]:
    """Return the limit with which no crash writes a core or starts the host's core handler (core(5)).

    Exactly 1 keeps a handler from being started, 0 does not. A login whose hard limit is 0 can have no other,
    which is as good where the host has no handler.
    """
    if host.limits["core"] != 0:
        return 1, 1
    if host.core_handler:
        raise Refusal(
            "cannot keep crashes of the session from the host's core handler",
            "the login's hard limit for core files is 0, and only 1 keeps a handler from "
            "being started (core(5))",
            "an administrator changes the 0 to 1 in limits.conf(5) or LimitCORE= of sshd's unit",
            "limit",
        )
    return 0, 0


def _at_most(value: int, hard: int) -> int:
    """Return a limit that the login's own hard one (-1: none) permits."""
    return value if hard < 0 else min(value, hard)


def room_for_descriptors(host: Host, *, ranged: bool) -> tuple[Operation, ...]:
    """Return what lets pid 1 of a shared range send a terminal out whatever other sessions do.

    Descriptors on their way are counted for all sessions that are the same id on the host, and each sender is
    measured by their own limit (unix(7), ETOOMANYREFS): the payloads' is lower.
    """
    hard = host.limits["nofile"]
    return (limits.SetLimit("nofile", hard, hard),) if ranged else ()

"""What a policy opens beyond the defaults, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.plan import forwarding, private
from ssh2container.policy import devices, host_commands

if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

_SHARED_IDS = (
    "all sessions of this mode share host ids, whoever logs in: one can use up the others' pipes and"
    " descriptors; so each has a network of its own, and no writable volume whose group is mapped"
)


def weaker(policy: Policy, *, shared: bool) -> list[tuple[str, str, str]]:
    """Return (key, meaning, place) of every setting that opens more than the default does.

    shared: whether the session's ids are those of other users' sessions too.
    """
    found: list[tuple[str, str]] = []
    if policy.network_mode == "host":
        found.append(
            (
                "network_mode",
                "the session is on the host's network: it reaches services on loopback and abstract sockets",
            )
        )
    if policy.network_mode == "private":
        found.append(("network_mode", f"the session reaches {private.reach(policy)}"))
        found += [(port.key, f"{port} of the host leads into the session") for port in policy.ports]
    found += [
        (f"networks.{one.name}", f"the session is on the network {one.name}, and who is there reaches it")
        for one in policy.networks
    ]
    if shared:
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
    found += [
        (one.key, f"the session uses {one.source} of the host, whose driver is the host's kernel")
        for one in devices.of(policy.values)
    ]
    if policy.allow_agent_forwarding:
        found.append(("allow_agent_forwarding", "programs inside can use the keys of the client's agent"))
    if policy.values[forwarding.KEY]:
        found.append(
            (forwarding.KEY, "the client reaches what listens inside, and lends what it has: ports, agent")
        )
    found += [
        (one.key, f"the session has the host run {one.path}") for one in host_commands.of(policy.values)
    ]
    found += [("cap_add", f"the session's root keeps {name}") for name in policy.cap_add]
    found += [("seccomp.allow", f"the system call {name} is allowed") for name in policy.seccomp.allow]
    if policy.seccomp.on_violation == "log":
        found.append(("seccomp.on_violation", "system calls are logged and not stopped"))
    if policy.seccomp.profile != "default":
        found.append(("seccomp.profile", f"{policy.seccomp.profile} replaces the default filter"))
    if policy.container_per != "session":
        found.append(("container_per", "the user's logins share processes and memory"))
    found += [
        ("accept_env", f"the client may set {pattern}")
        for pattern in policy.accept_env
        if pattern in ("*", "LD_*", "PYTHON*") or pattern.startswith("*")
    ]
    return [(key, means, str(policy.origin(key) or "built-in default")) for key, means in found]

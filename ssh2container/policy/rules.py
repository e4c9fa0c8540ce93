"""Rules over more than one key: what no single declaration can refuse. Pure."""

from __future__ import annotations

from ssh2container.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.policy import Policy


class Broken:
    """A rule that a merged policy breaks.

    key: the setting or entry to blame, for its origin.
    message: what was found; allowed: what would be right.
    """

    __slots__ = ("allowed", "key", "message")

    def __init__(self, key: str, message: str, allowed: str) -> None:
        self.key = key
        self.message = message
        self.allowed = allowed


HOST_HOME = Broken(
    "home.source",
    "the home of the session is the user's home on the host, where user units, .forward and "
    "authorized_keys act outside of any container",
    "a directory of its own such as /srv/homes/%u, or unsafe_host_home: true beside it",
)


def exposes_home(policy: Policy, source: str, host_home: str) -> bool:
    """Tell whether the session's home would be the user's home on the host, or a directory around it.

    source: ``home.source``, expanded like ``host_home``. A directory below the home is no exposure.
    """
    if policy.unsafe_host_home:
        return False
    return (host_home.rstrip("/") + "/").startswith(source.rstrip("/") + "/")


def require_apart(policy: Policy, source: str, host_home: str) -> None:
    """Raise Refusal when :func:`exposes_home`."""
    if exposes_home(policy, source, host_home):
        raise _refusal(policy, HOST_HOME)


def broken(policy: Policy) -> Iterator[Broken]:
    """Yield every rule that ``policy`` breaks."""
    if policy.home is not None:
        if policy.home.source is None:
            yield Broken("home", "home is a map without source", "home: {source: DIRECTORY}, or ephemeral")
        elif exposes_home(policy, policy.home.source, "%h"):
            yield HOST_HOME
    if policy.allow_agent_forwarding and policy.container_per != "session":
        yield Broken(
            "allow_agent_forwarding",
            "a container that logins share was made before the next login's agent",
            "container_per: session beside allow_agent_forwarding: true",
        )
    if policy.linger and policy.container_per != "user":
        yield Broken(
            "linger",
            f"a container_per: {policy.container_per} container does not outlive what it is for",
            "container_per: user beside linger",
        )
    if policy.ranged and policy.image == "host":
        yield Broken(
            "userns_mode",
            f"userns_mode: {policy.userns_mode} maps a system's users, and the host's files belong to others",
            "image: the name of an image of the store (ssh2containerctl image list), or userns_mode: single",
        )
    targets = {volume.target for volume in policy.volumes}
    for tmpfs in policy.tmpfs:
        if tmpfs.target in targets:
            yield Broken(
                f"tmpfs.{tmpfs.target}", f"{tmpfs.target} is the target of a volume too", "one of them"
            )


def require(policy: Policy) -> None:
    """Raise Refusal for the first rule that ``policy`` breaks."""
    for rule in broken(policy):
        raise _refusal(policy, rule)


def _refusal(policy: Policy, rule: Broken) -> Refusal:
    return Refusal(
        "the policy contradicts itself",
        f"{policy.origin(rule.key)}: {rule.message}",
        f"allowed: {rule.allowed}",
        step="policy",
    )

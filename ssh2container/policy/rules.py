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


def broken(policy: Policy) -> Iterator[Broken]:
    """Yield every rule that ``policy`` breaks."""
    if policy.home is not None:
        if policy.home.source is None:
            yield Broken("home", "home is a map without source", "home: {source: DIRECTORY}, or ephemeral")
        elif policy.home.source == "%h" and not policy.unsafe_host_home:
            yield Broken(
                "home.source",
                "the home of the session is the user's home on the host, where user units, .forward and "
                "authorized_keys act outside of any container",
                "a directory of its own such as /srv/homes/%u, or unsafe_host_home: true beside it",
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
        origin = policy.origin(rule.key)
        raise Refusal(
            "the policy contradicts itself",
            f"{origin}: {rule.message}",
            f"allowed: {rule.allowed}",
            step="policy",
        )

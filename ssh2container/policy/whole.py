"""Rules over a policy with ``boot``, whose sessions are whole systems. Pure; imported only for one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.policy import Policy

    Found = tuple[str, str, str]
    """The key to blame, what was found, what would be right."""


def broken(policy: Policy) -> Iterator[Found]:
    """Yield what a whole system cannot be combined with."""
    if not policy.values["boot"]:
        yield "stop_signal", "there is no init for it to go to", "boot: true beside stop_signal"
        return
    if policy.image == "host":
        yield (
            "boot",
            "the image host is the running host's own system, which cannot start again inside",
            "image: the name of an imported image (ssh2containerctl image list)",
        )
    elif not policy.ranged or policy.user != "root":
        yield (
            "boot",
            "a system's process 1 is root among the system's users",
            "user: root beside boot, with userns_mode: auto, own_range or range",
        )
    if policy.network_mode == "host":
        # Both have entered a domain that scopes signals (RestrictReach), each one of its own.
        yield (
            "network_mode",
            "on the host's network Landlock keeps our pid 1 from ending a system",
            "network_mode: none or private, or networks, beside boot",
        )
    if policy.hooks:
        yield (
            "hooks",
            "a system's init has started before a hook could run",
            "one of them: what a hook does, a unit of the system does",
        )
    access = policy.access
    if access.commands != "any":
        yield (
            "access.commands",
            "what a whole system runs is not what a client asks for: it starts services and logs people in",
            "access.commands: any beside boot",
        )
    if access.interactive is not True:
        yield (
            "access.interactive",
            "a login gets the console of the system",
            "access.interactive: true beside boot",
        )

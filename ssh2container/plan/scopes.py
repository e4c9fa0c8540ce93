"""Which scope a session needs: for its limits, or as a whole system. Pure; imported only for one of these."""

from __future__ import annotations

from . import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.limits import Limits
    from ssh2container.policy.policy import Policy

    from .host import Host
    from .request import Request


def choose(request: Request, policy: Policy, wanted: Limits, host: Host) -> limits.Scope | None:
    """Return the scope for ``wanted``; None for a command alone where only systems need one."""
    bounds = limits.bounds(wanted)
    if not policy.values["boot"]:
        return limits.Scope(host.session, bounds, is_required=policy.limits_required)
    if policy.container_per == "session" and request.kind != "login":
        # Nothing is started for a command or a transfer alone.
        return limits.Scope(host.session, bounds, is_required=True) if bounds else None
    from . import whole

    return whole.scope(policy, bounds, host)

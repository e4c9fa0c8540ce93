"""Being in a network that root prepared (:mod:`ssh2container.plan.pools`)."""

from __future__ import annotations

from ssh2container.plan.pools import STEP

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.plan.pools import Pool

_SHOWN = 4


class JoinNetworks(Operation):
    """Have pid 1 start in a network namespace that root prepared: ``run.networks`` takes it."""

    __slots__ = ("pool",)
    step = STEP
    why = "what root prepared, nobody inside can change: not the addresses, not the routes, not as root"

    def __init__(self, pool: Pool) -> None:
        super().__init__("networks")
        self.pool = pool

    def describe(self) -> str:
        slots = self.pool.slots
        ways = [" and ".join(one.words for one in slot.interfaces) for slot in slots[:_SHOWN]]
        ways += [f"{len(slots) - _SHOWN} more"] * (len(slots) > _SHOWN)
        count = "the one network" if len(slots) == 1 else f"one of {len(slots)} networks"
        return f"start pid 1 in {count} prepared for {self.pool.name}: {', or '.join(ways)}"

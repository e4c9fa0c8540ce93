"""Being in a network that root prepared (:mod:`ssh2container.plan.pools`)."""

from __future__ import annotations

from ssh2container.plan.pools import STEP

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script
    from ssh2container.plan.pools import Pool

_SHOWN = 4


class JoinNetworks(Operation):
    """Have pid 1 start in a network namespace that root prepared: ``run.networks`` takes it.

    entering: what pid 1 does of it.
    """

    __slots__ = ("entering", "pool")
    step = STEP
    why = "what root prepared, nobody inside can change: not the addresses, not the routes, not as root"

    def __init__(self, pool: Pool) -> None:
        super().__init__("networks")
        self.pool = pool
        self.entering = (AwaitInterfaces(),)

    def describe(self) -> str:
        slots = self.pool.slots
        ways = [" and ".join(one.words for one in slot.interfaces) for slot in slots[:_SHOWN]]
        ways += [f"{len(slots) - _SHOWN} more"] * (len(slots) > _SHOWN)
        count = "the one network" if len(slots) == 1 else f"one of {len(slots)} networks"
        return f"start pid 1 in {count} prepared for {self.pool.name}: {', or '.join(ways)}"


class AwaitInterfaces(Operation):
    """Wait until the monitor has seen that what was prepared is all there."""

    __slots__ = ()
    step = STEP
    why = "nothing runs in a network that has lost an interface, and so a way that the policy promises"

    def __init__(self) -> None:
        super().__init__("networks")

    def describe(self) -> str:
        return "wait until its interfaces have been looked at"

    def write(self, script: Script) -> None:
        script.await_word()

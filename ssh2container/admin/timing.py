"""Where the time of a start-up goes: a session whose every stage is watched.

The stages of ``shell.session`` and the operations of its plan are wrapped, nothing else changes.
Operations run in the container's processes, so their times come back through shared memory.
"""

from __future__ import annotations

import mmap
import os
import time

from ssh2container import shell
from ssh2container.plan.account import Account
from ssh2container.plan.host import Host
from ssh2container.plan.request import Request
from ssh2container.run.launch import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ssh2container.plan.make import Plan
    from ssh2container.plan.operations import Operation, State
    from ssh2container.policy.policy import Policy
    from ssh2container.run.monitor import Monitor, Outcome

_SIZE_OF_TIME = 8


class _Timed:
    """An operation that notes, in a slot of shared memory, how long it took (ns)."""

    def __init__(self, operation: Operation, memory: mmap.mmap, slot: int) -> None:
        self._operation = operation
        self._memory = memory
        self._at = slot * _SIZE_OF_TIME

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._operation, name)

    def apply(self, state: State) -> None:
        began = time.perf_counter_ns()
        self._operation.apply(state)
        took = time.perf_counter_ns() - began
        self._memory[self._at : self._at + _SIZE_OF_TIME] = took.to_bytes(_SIZE_OF_TIME, "little")


class _Watch:
    """Collects (name, ns) of the stages, and the memory of the operations."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.plan: Plan | None = None
        self.memory = mmap.mmap(-1, mmap.PAGESIZE * 4)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, noting the time of each call under ``name``."""

        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            began = time.perf_counter_ns()
            result = function(*arguments, **named)
            self.stages.append((name, time.perf_counter_ns() - began))
            return result

        return call

    def replace(self, holder: Any, attribute: str, name: str) -> None:  # noqa: ANN401
        """Note the time of each call of ``holder``'s function ``attribute`` under ``name``."""
        setattr(holder, attribute, self.timed(name, getattr(holder, attribute)))

    def launch(self, plan: Plan) -> Monitor:
        """Launch ``plan`` with its operations watched."""
        self.plan = plan
        slot = 0
        for phase in ("monitor", "init", "payload"):
            operations = getattr(plan, phase)
            watched = tuple(_Timed(op, self.memory, slot + at) for at, op in enumerate(operations))
            setattr(plan, phase, watched)
            slot += len(operations)
        monitor: Monitor = self.timed("launch: clone pid 1", launch)(plan)
        began = time.perf_counter_ns()
        hear = monitor._let_go  # noqa: SLF001 - the moment when the payload's program runs

        def started() -> None:
            self.stages.append(("container: from clone to exec", time.perf_counter_ns() - began))
            self.report()
            hear()

        monitor._let_go = started  # type: ignore[method-assign]  # noqa: SLF001
        return monitor

    def report(self) -> None:
        """Print the table on standard error, while it is still ours."""
        lines = [f"{ns / 1e6:8.3f} ms  {name}" for name, ns in self.stages]
        if self.plan is not None:
            for slot, operation in enumerate(self.plan.operations()):
                at = slot * _SIZE_OF_TIME
                ns = int.from_bytes(self.memory[at : at + _SIZE_OF_TIME], "little")
                lines.append(f"{ns / 1e6:8.3f} ms    {operation.describe()[:90]}")
        os.write(2, ("\n".join(lines) + "\n").encode())


def session(
    arguments: Sequence[bytes],
    environment: Mapping[bytes, bytes],
    load: Callable[[str, Sequence[str]], Policy],
) -> Outcome:
    """Run ``shell.session`` under watch; the table is printed when the payload's program starts."""
    watch = _Watch()
    watch.replace(shell, "check_descriptors", "check the descriptors")
    watch.replace(shell, "make", "make the plan")
    for kind, method, name in (
        (Request, "parse", "read the request"),
        (Account, "current", "look up the account"),
        (Host, "observe", "observe the host"),
    ):
        watch.replace(kind, method, name)
    return shell.session(arguments, environment, watch.timed("load the policy", load), watch.launch)

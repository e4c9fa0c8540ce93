"""Where the time of a start-up goes: a session whose every stage is watched.

The stages of ``shell.session`` and the operations of its plan are wrapped, nothing else changes.
Operations are carried out by pid 1, which notes the times in the file that it was handed.
"""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING

from ssh2container import shell
from ssh2container.plan.account import Account
from ssh2container.plan.host import Host
from ssh2container.plan.operations import Operation
from ssh2container.plan.request import Request
from ssh2container.run import order, scope
from ssh2container.run.launch import launch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping, Sequence
    from typing import Any

    from ssh2container.kernel.script import Script
    from ssh2container.plan.make import Container, Payload, Plan
    from ssh2container.policy.policy import Policy
    from ssh2container.record import audit
    from ssh2container.run.monitor import Monitor, Outcome

_SIZE_OF_TIME = 16


class _Timed:
    """An operation that notes when it begins, in the file that pid 1 was handed."""

    def __init__(self, operation: Operation, noted: list[tuple[Operation, int]]) -> None:
        self._operation = operation
        self._noted = noted

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._operation, name)

    def write(self, script: Script) -> None:
        self._noted.append((self._operation, script.clock()))
        self._operation.write(script)


class _Watch:
    """Collects (name, ns) of the stages, and where the times of the operations are."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.noted: list[tuple[Operation, int]] = []
        self.file = -1

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

    def launch(self, plan: Plan, log: audit.Session) -> Monitor:
        """Launch ``plan`` with its operations watched."""
        watched = plan.without()
        watched.container.init = self._watched(plan.container.init)
        watched.payload.operations = self._watched(plan.payload.operations)

        def write(_: Container, __: Payload, like: bytes, file: int) -> None:
            order.write(watched.container, watched.payload, like, file, writable=True)
            self.file = os.dup(file)

        if plan.container.scope is not None:
            self.replace(scope.Placing, "_ask", "ask the user's service manager for a scope")
            self.replace(scope.Placing, "settle", "wait until process 1 is in its scope")
        named = self.timed("write the container specification", write)
        monitor: Monitor = self.timed("launch: start pid 1", launch)(plan, log, named)
        began = time.perf_counter_ns()
        hear = monitor._let_go  # noqa: SLF001 - the moment when the payload's program runs

        def started() -> None:
            self.stages.append(("container: from the start to exec", time.perf_counter_ns() - began))
            self.report()
            hear()

        monitor._let_go = started  # type: ignore[method-assign]  # noqa: SLF001
        return monitor

    def _watched(self, operations: Iterable[Operation]) -> tuple[Any, ...]:
        return tuple(_Timed(operation, self.noted) for operation in (*operations, _End()))

    def report(self) -> None:
        """Print the table on standard error, while it is still ours."""
        lines = [f"{ns / 1e6:8.3f} ms  {name}" for name, ns in self.stages]
        if self.file >= 0:
            texts = order.texts_at(os.pread(self.file, 1 << 16, 0))
            times = [self._time(texts + at) for _, at in self.noted]
            for (operation, _), began, ended in zip(self.noted, times, times[1:], strict=False):
                if not isinstance(operation, _End):
                    lines.append(f"{(ended - began) / 1e6:8.3f} ms    {operation.describe()[:90]}")
        os.write(2, ("\n".join(lines) + "\n").encode())

    def _time(self, at: int) -> int:
        seconds, nanoseconds = struct.unpack("=qq", os.pread(self.file, _SIZE_OF_TIME, at))
        return int(seconds * 1_000_000_000 + nanoseconds)


class _End(Operation):
    """The end of a phase."""

    def describe(self) -> str:
        return "end"

    def write(self, script: Script) -> None:
        """Write nothing."""


def session(
    arguments: Sequence[bytes],
    environment: MutableMapping[bytes, bytes],
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

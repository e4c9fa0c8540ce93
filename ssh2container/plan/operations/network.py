"""The session's network namespace."""

from __future__ import annotations

from ssh2container.kernel import namespaces

from . import Operation, State


class LoopbackUp(Operation):
    """Bring up the loopback interface, the only one there is."""

    __slots__ = ()
    step = "loopback"

    def describe(self) -> str:
        return "bring up the loopback interface of the session's own network"

    def apply(self, state: State) -> None:
        namespaces.loopback_up()

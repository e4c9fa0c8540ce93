"""What a filter decides, as plain values: the form between a profile and its BPF.

A call is looked up by number. First its *refusals* are tried: conditions on arguments that
are never acceptable. Then its *permissions*: without a condition, or with conditions of which
one must hold. What neither refuses nor permits gets the call's ``otherwise``, and a call
that is not in the table at all does not exist: ENOSYS.
"""

from __future__ import annotations

import errno
import operator
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

WORD = (1 << 64) - 1
_INT = 0xFFFFFFFF

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
NOTIFY = 0x7FC00000
TRAP = 0x00030000
KILL_THREAD = 0x00000000
KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_CODE = 0x0000FFFF
_ACTION = 0xFFFF0000


def refuse(number: int) -> int:
    """Return the action that fails the call with errno ``number``."""
    return _ERRNO | number


NO_SUCH_CALL = refuse(errno.ENOSYS)


def lets_pass(action: int) -> bool:
    """Whether the kernel carries the call out."""
    return action in (ALLOW, LOG)


def describe(action: int) -> str:
    """Return an action as a person reads it: "allow", "EPERM", "kill process"."""
    if action & _ACTION == _ERRNO:
        code = action & _CODE
        return errno.errorcode.get(code, f"errno {code}") if code else "0 without effect"
    words = {
        ALLOW: "allow",
        LOG: "allow and log",
        NOTIFY: "ask the supervisor",
        TRAP: "SIGSYS",
        KILL_THREAD: "kill thread",
        KILL_PROCESS: "kill process",
    }
    return words.get(action & _ACTION, f"action {action:#010x}")


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "&": operator.eq,
}


class Condition(NamedTuple):
    """A comparison of one argument, counted from 0: ``argument op value``, all unsigned 64 bit.

    op: one of ``== != < <= > >= &``; for ``&`` it is ``argument & mask == value``.
    """

    argument: int
    op: str
    value: int
    mask: int = WORD

    def holds(self, arguments: tuple[int, ...]) -> bool:
        """Whether the comparison is true for the call's six arguments."""
        return _COMPARE[self.op](arguments[self.argument] & self.mask, self.value)

    def halves(self) -> tuple[str, str]:
        """Return what is compared and what with, the argument as a0 to a5."""
        name, value = f"a{self.argument}", f"{self.value:#x}"
        if self.op != "&":
            return f"{name} {self.op}", value
        if self.mask == _INT:
            return f"(u32){name} ==", value
        if self.value == self.mask:
            return f"{name} has", value
        if self.value == 0:
            return f"{name} has none of", f"{self.mask:#x}"
        return f"({name} & {self.mask:#x}) ==", value


Conditions = tuple[Condition, ...]
"""All must hold; at most one per argument, which is what libseccomp can express."""


class Rule(NamedTuple):
    """``action`` when all conditions hold."""

    conditions: Conditions
    action: int


class Decision:
    """What one call gets.

    refusals: tried first; the first whose conditions hold decides.
    permissions: tried next; one without conditions always holds.
    otherwise: the action when none held.
    """

    def __init__(self, otherwise: int) -> None:
        self.refusals: list[Rule] = []
        self.permissions: list[Rule] = []
        self.otherwise = otherwise

    def action(self, arguments: tuple[int, ...]) -> int:
        """Return the action for a call with these six arguments."""
        for rule in (*self.refusals, *self.permissions):
            if all(condition.holds(arguments) for condition in rule.conditions):
                return rule.action
        return self.otherwise

    def permit(self, action: int = ALLOW) -> None:
        """Let the call pass whatever its arguments, but for the refusals."""
        self.permissions = [Rule((), action)]

    def forbid(self, action: int) -> None:
        """Give every call ``action``."""
        self.refusals = []
        self.permissions = []
        self.otherwise = action

    def same_for_all(self) -> int | None:
        """Return the action if it does not depend on arguments, else None."""
        if self.refusals:
            return None
        if not self.permissions:
            return self.otherwise
        first = self.permissions[0]
        return None if first.conditions else first.action


class Table:
    """The decision of every existing call, by number; a missing number gets ``unknown``.

    foreign: the action for calls of another architecture and of the x32 ABI.
    """

    def __init__(self) -> None:
        self.decisions: dict[int, Decision] = {}
        self.unknown = NO_SUCH_CALL
        self.foreign = KILL_PROCESS

    def action(self, number: int, arguments: tuple[int, ...]) -> int:
        """Return the action for a native call."""
        decision = self.decisions.get(number)
        return decision.action(arguments) if decision else self.unknown

"""What every payload's filter refuses, whatever profile the policy names and whatever it allows.

Two things that a process may do by itself reach out of the container. A set-user-ID file that it leaves
in a writable source of the host gives its uid to whoever executes the file there (execve(2)). And a core
limit that is not exactly 1 starts the host's core handler, as root and in the host's namespaces, for
every crash (core(5)); a limit can always be lowered.
"""

from __future__ import annotations

import errno
import stat

from . import rules, syscalls
from .rules import Condition, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .rules import Table
    from .syscalls import Machine

_INT = 0xFFFFFFFF
_RLIMIT_CORE = 4  # <sys/resource.h>, the same on every machine
_O_CREAT, _O_TMPFILE = 0o100, 0o20000000
"""The latter without O_DIRECTORY, which goes with it: what makes the kernel look at the mode (open(2))."""
_CHANGES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2}
_NODES = {"mknod": 1, "mknodat": 2, "creat": 1}
_OPENINGS = {"open": 1, "openat": 2, "mq_open": 1}
"""Call -> which argument is the mode; of an opening the flags, with the mode behind them.

mkdir(2) drops both bits, and a directory takes the set-group-ID bit from the one above it.
"""
SET_ID = stat.S_ISUID | stat.S_ISGID


def lay(table: Table, machine: Machine, bits: int) -> None:
    """Put the refusals before all else that ``table`` says.

    bits: those of S_ISUID and S_ISGID that may be set: both, S_ISGID (by chmod(2), for directories), none.
    """
    keep_core_limit(table, machine)
    # Its mode lies behind a pointer.
    number = syscalls.number("openat2", machine)
    if number in table.decisions:
        table.decisions[number].forbid(rules.NO_SUCH_CALL)
    if bits == SET_ID:
        return
    for bit in (stat.S_ISUID, stat.S_ISGID):
        if not bits & bit:
            for name, mode in _CHANGES.items():
                _refuse(table, machine, name, errno.EPERM, _has(mode, bit))
        for name, mode in _NODES.items():
            _refuse(table, machine, name, errno.EPERM, _has(mode, bit))
        for name, flags in _OPENINGS.items():
            for making in (_O_CREAT, _O_TMPFILE):
                _refuse(table, machine, name, errno.EPERM, _has(flags, making), _has(flags + 1, bit))


def keep_core_limit(table: Table, machine: Machine) -> None:
    """Let nobody change the core limit; ``ulimit -c 0`` in a profile is told that it has.

    Who wants to see the former limit in the same call cannot be answered so, and gets EPERM.
    """
    core = Condition(0, "&", _RLIMIT_CORE, _INT)
    _refuse(table, machine, "setrlimit", 0, core)
    core, new = Condition(1, "&", _RLIMIT_CORE, _INT), Condition(2, "!=", 0)
    _refuse(table, machine, "prlimit64", 0, core, new, Condition(3, "==", 0))
    _refuse(table, machine, "prlimit64", errno.EPERM, core, new, Condition(3, "!=", 0))


def _has(argument: int, bit: int) -> Condition:
    return Condition(argument, "&", bit, bit)


def _refuse(table: Table, machine: Machine, name: str, code: int, *conditions: Condition) -> None:
    """Add a refusal, after those of this kind that are there; one that refuses all already needs none."""
    number = syscalls.number(name, machine)
    if number is None:
        return
    decision = table.decisions.setdefault(number, rules.Decision(table.unknown))
    passes = decision.permissions or rules.lets_pass(decision.otherwise)
    rule = Rule(conditions, rules.refuse(code))
    if passes and rule not in decision.refusals:
        decision.refusals.append(rule)

"""What a table says, in words: for ``show``, ``diff`` and ``simulate``."""

from __future__ import annotations

import os
import re
import signal
import socket
import termios
from typing import TYPE_CHECKING, NamedTuple

from ssh2container.kernel import namespaces

from . import rules, syscalls

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .rules import Decision, Table
    from .syscalls import Machine

_ARGUMENTS = 6
_VALUES_IN_A_LINE = 7
_LARGEST_CALL = 0xFFFFFFFF


class Summary(NamedTuple):
    """A table by answers.

    plain: answer -> names of the calls that always get it, sorted.
    conditional: name of call -> lines such as "EPERM when (a0 & 0x10) == 0x10".
    unknown, foreign: the answers to calls without a name and to calls of other architectures.
    """

    plain: dict[str, list[str]]
    conditional: dict[str, list[str]]
    unknown: str
    foreign: str


class Difference(NamedTuple):
    """A call that two tables decide differently; ``ours`` and ``theirs`` are :func:`words`."""

    name: str
    ours: list[str]
    theirs: list[str]


def summary(table: Table, machine: Machine) -> Summary:
    """Return what ``table`` decides, sorted for people."""
    plain: dict[str, list[str]] = {}
    conditional = {}
    for number, decision in sorted(table.decisions.items()):
        name = syscalls.label(number, machine)
        action = decision.same_for_all()
        if action is None:
            conditional[name] = words(decision)
        else:
            plain.setdefault(rules.describe(action), []).append(name)
    for found in plain.values():
        found.sort()
    unknown, foreign = rules.describe(table.unknown), rules.describe(table.foreign)
    return Summary(plain, dict(sorted(conditional.items())), unknown, foreign)


def words(decision: Decision) -> list[str]:
    """Return a decision as lines, in the order in which they are tried."""
    lines: dict[str, list[str]] = {}
    for action, conditions in (
        (rules.describe(rule.action), rule.conditions) for rule in (*decision.refusals, *decision.permissions)
    ):
        if not conditions:
            lines[action] = []
            continue
        *first, last = (condition.halves() for condition in conditions)
        head = " and ".join([*(" ".join(halves) for halves in first), last[0]])
        lines.setdefault(f"{action} when {head}", []).append(last[1])
    found = []
    for head, values in lines.items():
        found += [
            f"{head} {' or '.join(values[start : start + _VALUES_IN_A_LINE])}".rstrip()
            for start in range(0, len(values) or 1, _VALUES_IN_A_LINE)
        ]
    if all(rule.conditions for rule in decision.permissions):
        otherwise = rules.describe(decision.otherwise)
        found.append(f"else {otherwise}" if found else otherwise)
    return found


def differences(ours: Table, theirs: Table, machine: Machine) -> list[Difference]:
    """Return the calls that the tables decide differently, by name."""
    found = []
    for number in sorted(ours.decisions.keys() | theirs.decisions.keys()):
        pair = [
            words(table.decisions[number]) if number in table.decisions else [rules.describe(table.unknown)]
            for table in (ours, theirs)
        ]
        if pair[0] != pair[1]:
            found.append(Difference(syscalls.label(number, machine), *pair))
    return sorted(found)


def depends(difference: Difference) -> bool:
    """Whether one side's answer depends on arguments."""
    return max(len(difference.ours), len(difference.theirs)) > 1


def grouped(found: Iterable[Difference]) -> list[tuple[str, str, list[str]]]:
    """Return (our answer, their answer, names) of the differences that depend on no arguments."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in found:
        if not depends(each):
            groups.setdefault((each.ours[0], each.theirs[0]), []).append(each.name)
    return [(*answers, names) for answers, names in sorted(groups.items())]


_WORDS: dict[str, int] = {
    **{name: value for name, value in vars(namespaces).items() if name.startswith("CLONE_")},
    "AF_NETLINK": 16,
    "AF_ALG": 38,
    "AF_VSOCK": 40,
    "TIOCLINUX": 0x541C,
}
_CONSTANT = re.compile(r"(AF|SOCK|IPPROTO|NETLINK|TIOC|SIG|O|SOL|SO|TCP)_?[A-Z0-9_]*")


def argument(text: str) -> int:
    """Return an argument as the kernel would get it, unsigned 64 bit.

    text: a number as in C, negative too, a name such as AF_UNIX or CLONE_NEWUSER, or several of
    them joined by ``|``. Raises ValueError.
    """
    value = 0
    for part in text.split("|"):
        value |= _one(part.strip())
    return value & rules.WORD


def _one(text: str) -> int:
    if text in _WORDS:
        return _WORDS[text]
    if _CONSTANT.fullmatch(text):
        for module in (socket, termios, signal, os):
            value = getattr(module, text, None)
            if isinstance(value, int):
                return int(value)
    try:
        value = int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is neither a number nor a constant that is known here") from None
    if not -(1 << 63) <= value <= rules.WORD:
        raise ValueError(f"{text} does not fit into 64 bits")
    return value


def call(text: str, machine: Machine) -> int | None:
    """Return the number of the call ``text`` names: a name, or a number as C writes it, x32's too.

    None for a call that only other machines have. Raises ValueError.
    """
    if not text[:1].isdigit():
        return syscalls.number(text, machine)
    value = _one(text)
    if value > _LARGEST_CALL:
        raise ValueError(f"system call {text}: a number has 32 bits")
    return value


def six(values: Iterable[int]) -> tuple[int, ...]:
    """Return arguments filled up with zeros to the six that a call has; raises ValueError."""
    given = tuple(values)
    if len(given) > _ARGUMENTS:
        raise ValueError(f"{len(given)} arguments: a system call has at most {_ARGUMENTS}")
    return given + (0,) * (_ARGUMENTS - len(given))

# Longer than 300 lines: the form of a profile and its meaning are one: an entry is read as it will apply.
"""Profiles in the JSON format of the OCI runtime specification, with Docker's additions.

Source: runtime-spec config-linux.md, section Seccomp; Docker adds ``includes`` and
``excludes`` (caps, arches, minKernel) and ``archMap``. Of what other runtimes leave to the
order of rules in libseccomp, three things are defined here:

- a rule with arguments whose action refuses wins over one that permits;
- a rule without arguments whose action refuses is what the call gets when no permission holds;
- a call that the machine does not have is ENOSYS, also when ``defaultAction`` is EPERM, so
  that programs fall back from a call that is younger than the profile.
"""

from __future__ import annotations

import errno
import json
import os
import re

from ssh2container.admin.capabilities import NAMES

from . import rules, syscalls
from .rules import Condition, Decision, Rule, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .syscalls import Machine

CAPABILITIES = tuple(f"CAP_{name}" for name in NAMES)
"""Names by number, capabilities(7)."""

ACTIONS = {
    "SCMP_ACT_ALLOW": rules.ALLOW,
    "SCMP_ACT_LOG": rules.LOG,
    "SCMP_ACT_TRAP": rules.TRAP,
    "SCMP_ACT_KILL": rules.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": rules.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": rules.KILL_PROCESS,
}
_ERRNO = "SCMP_ACT_ERRNO"
_OPERATORS = {
    "SCMP_CMP_EQ": "==",
    "SCMP_CMP_NE": "!=",
    "SCMP_CMP_LT": "<",
    "SCMP_CMP_LE": "<=",
    "SCMP_CMP_GT": ">",
    "SCMP_CMP_GE": ">=",
    "SCMP_CMP_MASKED_EQ": "&",
}
_KEYS = {
    "": {
        "defaultAction",
        "defaultErrnoRet",
        "defaultErrno",
        "architectures",
        "archMap",
        "flags",
        "syscalls",
        "comment",
    },
    "rule": {
        "names",
        "name",
        "action",
        "errnoRet",
        "errno",
        "args",
        "comment",
        "includes",
        "excludes",
    },
    "argument": {"index", "value", "valueTwo", "op"},
    "filter": {"caps", "arches", "minKernel"},
}
# The filter is loaded by the one thread of a new process and keeps the mitigation against
# speculative store bypass: with or without these flags, what the profile permits is the same.
_FLAGS_WITHOUT_EFFECT = {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"}
_MAX_ERRNO = 4095
_ARGUMENTS = 6


class ProfileError(ValueError):
    """A profile that cannot be obeyed; the text names the file, the place and what is allowed."""


class Profile:
    """A profile as written: not yet bound to a machine, to capabilities or to a kernel.

    name: for messages, usually the path.
    """

    def __init__(self, name: str, document: object) -> None:
        self.name = name
        reader = _Reader(name)
        self._default, self._rules = reader.document(document)
        self.machines = reader.machines

    def table(
        self, machine: Machine, capabilities: Iterable[str] = (), kernel: tuple[int, int] | None = None
    ) -> Table:
        """Return what the profile decides on ``machine`` for a process with ``capabilities``.

        capabilities: names such as "CAP_CHOWN".
        kernel: (major, minor) that ``minKernel`` is compared with; the running one when None.
        """
        if self.machines is not None and machine.oci not in self.machines:
            raise ProfileError(f"{self.name}: it does not name {machine.oci} in architectures")
        held = frozenset(capabilities)
        version = running_kernel() if kernel is None else kernel
        table = Table()
        for number in syscalls.names(machine):
            table.decisions[number] = Decision(self._default)
            if rules.lets_pass(self._default):
                table.decisions[number].permit(self._default)
        for entry in self._rules:
            if entry.applies(machine, held, version):
                for number in entry.numbers(machine):
                    decision = table.decisions.setdefault(number, Decision(self._default))
                    entry.add_to(decision, self._default)
        return table

    def waits_for_a_kernel(self) -> bool:
        """Whether a rule will begin to apply with a kernel newer than the running one."""
        return any(entry.filter.newest_kernel() > running_kernel() for entry in self._rules)

    def unknown_names(self) -> list[str]:
        """Return the names in the profile that no architecture has, as far as we know."""
        written = {name for entry in self._rules for name in entry.names}
        return sorted(name for name in written if not name.isdigit() and not syscalls.exists_somewhere(name))


def read(path: str, text: bytes | str) -> Profile:
    """Return the profile in ``text``, which was read from ``path``; raises ProfileError."""
    try:
        document = json.loads(text, object_pairs_hook=_without_duplicates)
    except ValueError as problem:
        raise ProfileError(f"{path}: not a JSON document: {problem}") from problem
    except RecursionError as problem:
        raise ProfileError(f"{path}: nested too deeply") from problem
    return Profile(path, document)


def running_kernel() -> tuple[int, int]:
    """Return (major, minor) of the running kernel."""
    return _version(os.uname().release)


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]), int(found[2] or 0)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"{', '.join(twice)} given twice in one object")
    return found


class _Entry:
    """One object of ``syscalls``, checked."""

    def __init__(self, names: list[str], rule: Rule, conditions: _Filter) -> None:
        self.names = names
        self.rule = rule
        self.filter = conditions

    def applies(self, machine: Machine, held: frozenset[str], kernel: tuple[int, int]) -> bool:
        return self.filter.applies(machine, held, kernel)

    def numbers(self, machine: Machine) -> list[int]:
        known = syscalls.table(machine)
        return [known[name] for name in self.names if name in known] + [
            int(name) for name in self.names if name.isdigit()
        ]

    def add_to(self, decision: Decision, default: int) -> None:
        conditions, action = self.rule
        if rules.lets_pass(action):
            if not conditions:
                decision.permit(action)
            elif all(permission.conditions for permission in decision.permissions):
                decision.permissions.append(self.rule)
        elif conditions:
            decision.refusals.append(self.rule)
        else:
            decision.otherwise = action
            if rules.lets_pass(default):
                decision.permissions = [rule for rule in decision.permissions if rule.conditions]


class _Filter:
    """``includes`` and ``excludes``: when a rule applies at all."""

    def __init__(self, includes: dict[str, Any], excludes: dict[str, Any]) -> None:
        self.includes = includes
        self.excludes = excludes

    def applies(self, machine: Machine, held: frozenset[str], kernel: tuple[int, int]) -> bool:
        needed, unwanted = self.includes, self.excludes
        return (
            held.issuperset(needed.get("caps", ()))
            and (not needed.get("arches") or machine.go in needed["arches"])
            and ("minKernel" not in needed or kernel >= _version(needed["minKernel"]))
            and held.isdisjoint(unwanted.get("caps", ()))
            and machine.go not in unwanted.get("arches", ())
            and ("minKernel" not in unwanted or kernel < _version(unwanted["minKernel"]))
        )

    def newest_kernel(self) -> tuple[int, int]:
        named = [each["minKernel"] for each in (self.includes, self.excludes) if "minKernel" in each]
        return max((_version(text) for text in named), default=(0, 0))


class _Reader:
    """Checks a document, naming the place of what is wrong with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.machines: frozenset[str] | None = None

    def wrong(self, place: str, found: object, allowed: str) -> ProfileError:
        return ProfileError(f"{self.name}: {place}: found {found!r}; allowed: {allowed}")

    def document(self, document: object) -> tuple[int, list[_Entry]]:
        top = self.mapping("document", document, "")
        default = self.action("defaultAction", top, "defaultAction", ("defaultErrnoRet", "defaultErrno"))
        self.machines = self.architectures(top)
        for flag in self.texts("flags", top.get("flags")):
            if flag not in _FLAGS_WITHOUT_EFFECT:
                raise self.wrong("flags", flag, ", ".join(sorted(_FLAGS_WITHOUT_EFFECT)))
        written = self.items("syscalls", top.get("syscalls"))
        return default, [self.entry(f"syscalls[{n}]", item) for n, item in enumerate(written)]

    def architectures(self, top: dict[str, Any]) -> frozenset[str] | None:
        plain = self.texts("architectures", top.get("architectures"))
        mapped = []
        for number, item in enumerate(self.items("archMap", top.get("archMap"))):
            place = f"archMap[{number}]"
            if not isinstance(item, dict) or not isinstance(item.get("architecture"), str):
                raise self.wrong(place, item, "an object with architecture and subArchitectures")
            mapped.append(item["architecture"])
        return frozenset(plain + mapped) or None

    def entry(self, place: str, item: object) -> _Entry:
        rule = self.mapping(place, item, "rule")
        names = self.texts(f"{place}.names", rule.get("names"))
        names += self.texts(f"{place}.name", [rule["name"]] if "name" in rule else None)
        if not names:
            raise self.wrong(f"{place}.names", names, "a list of names of system calls")
        written = self.items(f"{place}.args", rule.get("args"))
        conditions = tuple(self.condition(f"{place}.args[{n}]", arg) for n, arg in enumerate(written))
        if len({condition.argument for condition in conditions}) != len(conditions):
            raise self.wrong(f"{place}.args", written, "one comparison per argument in one rule")
        action = self.action(f"{place}.action", rule, "action", ("errnoRet", "errno"))
        includes = self.filter(f"{place}.includes", rule.get("includes"))
        excludes = self.filter(f"{place}.excludes", rule.get("excludes"))
        return _Entry(names, Rule(conditions, action), _Filter(includes, excludes))

    def condition(self, place: str, item: object) -> Condition:
        written = self.mapping(place, item, "argument")
        argument = self.integer(f"{place}.index", written.get("index"), _ARGUMENTS - 1)
        value = self.integer(f"{place}.value", written.get("value"), rules.WORD)
        second = self.integer(f"{place}.valueTwo", written.get("valueTwo", 0), rules.WORD)
        operator = written.get("op")
        if not isinstance(operator, str) or operator not in _OPERATORS:
            raise self.wrong(f"{place}.op", operator, ", ".join(_OPERATORS))
        if operator == "SCMP_CMP_MASKED_EQ":  # value is the mask, valueTwo what must be left
            return Condition(argument, "&", second & value, value)
        return Condition(argument, _OPERATORS[operator], value)

    def action(self, place: str, where: dict[str, Any], key: str, codes: tuple[str, str]) -> int:
        name = where.get(key)
        code = next((where[each] for each in codes if where.get(each) is not None), None)
        if isinstance(code, str):
            code = getattr(errno, code, code)
        if name == _ERRNO:
            number = errno.EPERM if code is None else self.integer(place, code, _MAX_ERRNO)
            return rules.refuse(number)
        if not isinstance(name, str) or name not in ACTIONS:
            raise self.wrong(place, name, ", ".join([_ERRNO, *ACTIONS]))
        return ACTIONS[name]

    def filter(self, place: str, item: object) -> dict[str, Any]:
        if item is None:
            return {}
        found = self.mapping(place, item, "filter")
        result: dict[str, Any] = {}
        for key in ("caps", "arches"):
            result[key] = self.texts(f"{place}.{key}", found.get(key))
        for name in result["caps"]:
            if name not in CAPABILITIES:
                raise self.wrong(f"{place}.caps", name, "names such as CAP_CHOWN, capabilities(7)")
        if found.get("minKernel"):
            try:
                _version(found["minKernel"])
            except (ValueError, AttributeError):
                raise self.wrong(f"{place}.minKernel", found["minKernel"], "MAJOR.MINOR") from None
            result["minKernel"] = found["minKernel"]
        return result

    def mapping(self, place: str, item: object, kind: str) -> dict[str, Any]:
        if not isinstance(item, dict):
            raise self.wrong(place, item, "an object")
        for key in item:
            if key not in _KEYS[kind]:
                raise self.wrong(place, key, ", ".join(sorted(_KEYS[kind])))
        return item

    def items(self, place: str, item: object) -> list[Any]:
        if item is None:
            return []
        if not isinstance(item, list):
            raise self.wrong(place, item, "a list")
        return item

    def texts(self, place: str, item: object) -> list[str]:
        found = self.items(place, item)
        if not all(isinstance(each, str) for each in found):
            raise self.wrong(place, item, "a list of strings")
        return list(found)

    def integer(self, place: str, item: object, highest: int) -> int:
        if type(item) is not int or not 0 <= item <= highest:
            raise self.wrong(place, item, f"an integer from 0 to {highest}")
        return item

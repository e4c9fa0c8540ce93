"""``seccomp learn`` from the first run to the written profile."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from ssh2container import shell
from ssh2container.admin import atomic, try_
from ssh2container.admin.learn import learn
from ssh2container.admin.seccomp import profile, rules, syscalls
from ssh2container.errors import EXIT_OURS, SessionError
from ssh2container.plan.make import make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ssh2container.admin.learn.learn import Learnt
    from ssh2container.admin.seccomp.rules import Condition, Rule, Table
    from ssh2container.admin.seccomp.syscalls import Machine
    from ssh2container.plan.make import Plan
    from ssh2container.plan.operations import Operation
    from ssh2container.policy.policy import Policy

_MOST_ROUNDS = 4
_OPERATORS = {"==": "EQ", "!=": "NE", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE"}


class Lesson:
    """What ``learn`` found.

    table: the learnt profile. learnt: all runs together. spare: what the command passes without,
    None when that was not tried. rounds: how many runs it took until the command passed.
    """

    def __init__(
        self, table: Table, learnt: Learnt, spare: set[tuple[int, Rule | None]] | None, rounds: int
    ) -> None:
        self.table = table
        self.learnt = learnt
        self.spare = spare
        self.rounds = rounds


def teach(
    policy: Policy, user: str, words: Sequence[str], *, trials: bool, told: Callable[[str], None]
) -> Lesson:
    """Learn what ``words`` needs in a session of ``user``.

    The first run has the caller's descriptors, all others have /dev/null. told: is given a word
    for each step. Raises SessionError when the command fails on its own, or under every profile
    learnt from it.
    """
    if os.geteuid() != 0:
        raise SessionError("cannot learn", "only root may supervise a user's session", "run it with sudo")
    machine = syscalls.native()
    table = learn.base(policy.seccomp, machine)

    def run(operations: Sequence[Operation], output: int | None) -> int:
        return start(user, words, operations, output)

    told("first run")
    learnt = learn.watch(table, machine, run, None)
    if learnt.status != 0:
        raise SessionError(
            "cannot learn from a command that fails", _ending(learnt.status), "correct the command first"
        )
    for round_ in range(1, _MOST_ROUNDS + 1):
        told("run under the learnt profile")
        found = learn.profile_table(table, learnt.used, machine)
        once, twice = (learn.trial(found, machine, run, learn.limit_s(learnt)) for _ in range(2))
        if once.status == twice.status == 0:
            passing = learn.Ending(0, once.output if once.output == twice.output else None)
            spare = learn.spare(table, learnt, machine, run, passing, told) if trials else None
            return Lesson(found, learnt, spare, round_)
        told("run again")  # some calls depend on timing: futex(2), for one
        with open(os.devnull, "wb") as null:
            learnt.used += learn.watch(table, machine, run, null.fileno()).used
    raise SessionError(
        "cannot find a profile under which the command passes",
        f"it still failed after {_MOST_ROUNDS} rounds",
        "it may depend on the time or on its standard input",
    )


def start(user: str, words: Sequence[str], operations: Sequence[Operation], output: int | None) -> int:
    """Start a session with ``operations`` in place of the policy's filter; return its process.

    output: descriptor for standard output and error, with /dev/null as input; None for the
    caller's own three.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        if output is not None:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)

        def amended(*arguments: Any) -> Plan:  # noqa: ANN401 - whatever the planner takes
            plan = make(*arguments)
            kept = [each for each in plan.payload.operations if each.step != "seccomp"]
            plan.payload.operations = (*kept, *operations)
            return plan

        setattr(shell, "make", amended)  # noqa: B010 - the planner as the login shell sees it
        try_.run(user, None, words)
    except SessionError as problem:
        shell.complain(str(problem), problem.status)
    finally:
        os._exit(EXIT_OURS)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"it died by signal {os.WTERMSIG(status)}"
    return f"it ended with status {os.WEXITSTATUS(status)}"


def document(lesson: Lesson, machine: Machine, words: Sequence[str]) -> dict[str, Any]:
    """Return the learnt profile in the OCI format."""
    table = lesson.table
    used = {number for number, _ in lesson.learnt.used}
    spared = _spared(lesson)
    plain: dict[str, list[str]] = {"needed": [], "spare": [], "kept": []}
    missing, entries = [], []
    for number, decision in sorted(table.decisions.items()):
        name = syscalls.label(number, machine)
        if decision.same_for_all() == table.unknown:
            missing.append(name)
        elif decision.permissions and not decision.permissions[0].conditions:
            plain["kept" if number not in used else "spare" if number in spared else "needed"].append(name)
            entries += [_entry([name], rule) for rule in decision.refusals]
        elif decision.permissions:
            entries += [_entry([name], rule) for rule in (*decision.refusals, *decision.permissions)]
            if decision.otherwise != rules.refuse(1):
                entries.append(_entry([name], rules.Rule((), decision.otherwise)))
    comments = {
        "needed": f"Learnt from: {' '.join(words)}",
        "spare": "Used too, but the command passes when one of them is refused.",
        "kept": "Not seen; made up by the kernel after signals, or where the clock needs a call.",
    }
    groups = [
        {"comment": comments[key], **_entry(names, rules.Rule((), rules.ALLOW))}
        for key, names in plain.items()
        if names
    ]
    fall_back = {"comment": "As on a kernel without them.", **_entry(missing, rules.Rule((), table.unknown))}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": [machine.oci],
        "syscalls": [*groups, *([fall_back] if missing else []), *entries],
    }


def spared_names(lesson: Lesson, machine: Machine) -> list[str]:
    """Return the names of the calls that the command passes without, sorted."""
    return sorted(syscalls.label(number, machine) for number in _spared(lesson))


def _spared(lesson: Lesson) -> set[int]:
    """Return the numbers of which every use is spare."""
    needed = {item[0] for item in lesson.learnt.used if item not in (lesson.spare or ())}
    return {number for number, _ in lesson.learnt.used} - needed


def _entry(names: list[str], rule: Rule) -> dict[str, Any]:
    entry: dict[str, Any] = {"names": names, **_action(rule.action)}
    if rule.conditions:
        entry["args"] = [_argument(each) for each in rule.conditions]
    return entry


def _action(action: int) -> dict[str, Any]:
    for name, value in profile.ACTIONS.items():
        if value == action:
            return {"action": name}
    return {"action": "SCMP_ACT_ERRNO", "errnoRet": action & 0xFFFF}


def _argument(condition: Condition) -> dict[str, Any]:
    if condition.op == "&":
        values = {"value": condition.mask, "valueTwo": condition.value, "op": "SCMP_CMP_MASKED_EQ"}
    else:
        values = {"value": condition.value, "op": f"SCMP_CMP_{_OPERATORS[condition.op]}"}
    return {"index": condition.argument, **values}


def write(path: str, content: dict[str, Any]) -> None:
    """Write a profile in one step, readable for every login; raises OSError."""
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, mode=0o755, exist_ok=True)
    atomic.write(path, json.dumps(content, indent=1) + "\n")

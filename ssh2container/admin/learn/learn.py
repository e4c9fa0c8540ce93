"""Learning a profile: what a command calls, seen in a real session of a user.

The session runs under a filter that asks a supervisor about every call (seccomp_unotify(2)): it sees number
and arguments of each call of every process, loses none, needs no audit daemon and no tracer, so that a
command may trace others. What the user's filter refuses with another errno than EPERM stays refused, so
that programs fall back as they will under the learnt profile; violations are carried out and reported.

A call is then tried without: a session under the learnt profile less this call. If the command
ends and writes as before, the call is marked as spare.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ssh2container.admin.seccomp import build, rules, syscalls
from ssh2container.admin.seccomp.rules import Decision, Rule, Table
from ssh2container.errors import SessionError
from ssh2container.kernel import notify, signals
from ssh2container.plan.operations import Operation
from ssh2container.policy.policy import Seccomp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ssh2container.admin.seccomp.syscalls import Machine
    from ssh2container.kernel.script import Script

    Run = Callable[[Sequence[Operation], int | None], int]
    """Starts a session with these last operations before the command and this descriptor for its
    output (None: the caller's own descriptors); returns its process."""

KEPT = (
    "clock_getres",
    "clock_gettime",
    "exit",
    "exit_group",
    "getcpu",
    "gettimeofday",
    "restart_syscall",
    "rt_sigreturn",
    "time",
)
"""Calls that one run may not show and another needs: the kernel makes them up after a signal, or
they are carried out without entering the kernel where the clock allows it (vdso(7))."""

_POLL_S = 0.005
_MOST_OUTPUT_BYTES = 1 << 20
_LONGEST_START_S = 30.0
_LONGEST_END_S = 10.0
_TRIAL_FACTOR, _SHORTEST_TRIAL_S = 10, 5.0


class Learnt:
    """What one run has shown.

    status: the raw wait status of the session. seconds: how long it took, supervised.
    used: (number, the permission it used or None) -> how often. None is a violation of the
    user's own filter.
    """

    def __init__(self) -> None:
        self.status = -1
        self.seconds = 0.0
        self.used: Counter[tuple[int, Rule | None]] = Counter()

    def violations(self) -> list[int]:
        """Return the numbers of the calls that the user's own filter refuses."""
        return sorted({number for number, rule in self.used if rule is None})


class Ending(NamedTuple):
    """How a session ended: raw wait status, and what it wrote (None: it differs from run to run)."""

    status: int
    output: bytes | None


class AskSupervisor(Operation):
    """Load the filter that asks about every call; the supervisor takes the listener away."""

    __slots__ = ("bpf",)
    step = "seccomp"
    why = "what a session calls is to be written down before it is allowed"

    def __init__(self, bpf: bytes) -> None:
        super().__init__("seccomp")
        self.bpf = bpf

    def describe(self) -> str:
        """Say what it does."""
        return "load a filter that asks the supervisor about every system call"

    def write(self, script: Script) -> None:
        """Have it loaded. From there on every call waits for the supervisor."""
        script.filter(self.bpf, notify.LISTENER, notify.LISTENER_OF_OLD)


def asking(table: Table) -> Table:
    """Return ``table`` with a question in place of each permission and of each plain violation."""
    result = Table()
    result.unknown, result.foreign = table.unknown, table.foreign
    for number, decision in table.decisions.items():
        asked = result.decisions[number] = Decision(decision.otherwise)
        asked.refusals = list(decision.refusals)
        asked.permissions = [rule._replace(action=rules.NOTIFY) for rule in decision.permissions]
        if decision.otherwise == build.VIOLATION:
            asked.otherwise = rules.NOTIFY
    return result


def base(seccomp: Seccomp, machine: Machine) -> Table:
    """Return the decisions of a user's own filter, with EPERM as the answer to violations."""
    plain = Seccomp(seccomp.profile, seccomp.allow, seccomp.deny, "errno")
    return build.decide(build.profile_of(seccomp), plain, (), machine)


def watch(table: Table, machine: Machine, run: Run, output: int | None) -> Learnt:
    """Run a session under a filter that asks, and return what was called; raises SessionError."""
    session = run((AskSupervisor(build.assemble(asking(table), machine)),), output)
    learnt = Learnt()
    started = time.monotonic()
    try:
        listener = _listener(session, learnt)
        if listener is not None:
            try:
                _supervise(listener, table, learnt)
            finally:
                os.close(listener)
        if learnt.status == -1:
            learnt.status = os.waitpid(session, 0)[1]
    except BaseException:
        os.kill(session, signal.SIGKILL)
        os.waitpid(session, 0)
        raise
    learnt.seconds = time.monotonic() - started
    return learnt


def _listener(session: int, learnt: Learnt) -> int | None:
    """Wait for the listener to appear in a descendant of ``session``; None if it ended before."""
    deadline = time.monotonic() + _LONGEST_START_S
    while time.monotonic() < deadline:
        for pid in _descendants(session):
            for number in _listeners_of(pid):
                pidfd = os.pidfd_open(pid)
                try:
                    return notify.take_descriptor(pidfd, number)
                finally:
                    os.close(pidfd)
        ended, status = os.waitpid(session, os.WNOHANG)
        if ended:
            learnt.status = status
            return None
        select.select((), (), (), _POLL_S)  # nobody could tell: the payload's next call waits for us
    raise SessionError("cannot learn from this session", f"it did not start within {_LONGEST_START_S:.0f} s")


def _descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    after_name = file.read().rpartition(b")")[2]  # proc(5): pid (comm) state ppid
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(int(after_name.split()[1]), []).append(int(name))
    found = [ancestor]
    for pid in found:
        found += children.get(pid, [])
    return found


def _listeners_of(pid: int) -> Iterable[int]:
    directory = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(directory):
            if os.readlink(f"{directory}/{name}") == notify.LISTENER_LINK:
                yield int(name)
    except (FileNotFoundError, ProcessLookupError):
        return


def _supervise(listener: int, table: Table, learnt: Learnt) -> None:
    """Let every call pass and count it, until the last process under the filter has ended."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        for _, events in poll.poll():
            if not events & select.POLLIN:
                return
            call = notify.receive(listener)
            if call is not None:
                learnt.used[call.number, permission(table, call.number, call.arguments)] += 1
                notify.answer(listener, call)


def permission(table: Table, number: int, arguments: tuple[int, ...]) -> Rule | None:
    """Return the rule of ``table`` that permits the call, None for a violation."""
    for rule in table.decisions[number].permissions:
        if all(condition.holds(arguments) for condition in rule.conditions):
            return rule
    return None


def profile_table(table: Table, used: Iterable[tuple[int, Rule | None]], machine: Machine) -> Table:
    """Return ``table`` with nothing permitted but what was used and :data:`KEPT`.

    Refusals of arguments stay on the calls that remain; what ``table`` answers with ENOSYS, so
    that programs fall back, is still answered so.
    """
    result = Table()
    result.unknown, result.foreign = table.unknown, table.foreign
    wanted: dict[int, list[Rule]] = {}
    for number, rule in used:
        wanted.setdefault(number, []).append(rule or Rule((), rules.ALLOW))
    known = syscalls.table(machine)
    for name in KEPT:
        number = known.get(name, -1)
        if number in table.decisions and number not in wanted:
            wanted[number] = [Rule((), rules.ALLOW)]
    for number, decision in table.decisions.items():
        if number in wanted:
            kept = result.decisions[number] = Decision(decision.otherwise)
            kept.refusals = list(decision.refusals)
            if any(not rule.conditions for rule in wanted[number]):
                kept.permit()
            else:
                order = decision.permissions
                kept.permissions = sorted(wanted[number], key=order.index)
        else:
            absent = decision.otherwise == table.unknown
            result.decisions[number] = Decision(table.unknown if absent else build.VIOLATION)
    return result


def spare(
    table: Table,
    learnt: Learnt,
    machine: Machine,
    run: Run,
    passing: Ending,
    told: Callable[[str], None],
) -> set[tuple[int, Rule | None]]:
    """Try the command without each thing it used; return what it passes without.

    run: as for :func:`watch`. passing: how a run ends that passes. told: is given the name of each
    call as it is tried.
    """
    found = set()
    for item in sorted(learnt.used, key=str):
        number = item[0]
        told(syscalls.label(number, machine))
        others = [each for each in learnt.used if each != item]
        rest = profile_table(table, others, machine)
        if all(each[0] != number for each in others):
            rest.decisions[number] = Decision(build.VIOLATION)
        ending = trial(rest, machine, run, limit_s(learnt))
        if ending.status == passing.status and passing.output in (None, ending.output):
            found.add(item)
    return found


def limit_s(learnt: Learnt) -> float:
    """Return the seconds after which a trial counts as failed: it may wait for ever."""
    return max(_SHORTEST_TRIAL_S, _TRIAL_FACTOR * learnt.seconds)


def trial(table: Table, machine: Machine, run: Run, longest_s: float) -> Ending:
    """Run a session under ``table``; return how it ended, at the latest after ``longest_s``."""
    from ssh2container.plan.operations.confinement import LoadFilter

    confined = LoadFilter("learnt", build.assemble(table, machine), "seccomp")
    with open(os.memfd_create("output"), "rb") as output:
        session = run((confined,), output.fileno())
        pidfd = os.pidfd_open(session)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            wait_s = longest_s
            for number in (signals.PARENT_DIED, signal.SIGKILL):  # it ends as when its client is gone
                if poll.poll(wait_s * 1000):
                    break
                os.kill(session, number)
                wait_s = _LONGEST_END_S
            status = os.waitpid(session, 0)[1]
        finally:
            os.close(pidfd)
        output.seek(0)
        return Ending(status, output.read(_MOST_OUTPUT_BYTES))

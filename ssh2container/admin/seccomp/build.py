# Longer than 300 lines: what is built is simulated before it leaves, and packed, from the same tables.
"""From a policy's words to the bytes that seccomp(2) loads.

libseccomp orders the rules of one call as it likes and knows one default. A table of
decisions needs more: rules in order, refusals before permissions, and another answer for each
call that nothing permits. So libseccomp makes a few filters, each of which it can express
without ambiguity, and they are linked into one program (:func:`.bpf.link`). The result is run
by our own interpreter against the table before anyone gets it.
"""

from __future__ import annotations

import errno
import os

from ssh2container.admin import atomic
from ssh2container.policy import filters

from . import bpf, floor, made, profile, rules, search, syscalls
from .library import pyseccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ssh2container.policy.policy import Seccomp

    from .rules import Condition, Conditions, Table
    from .syscalls import Machine

# Actions newer than the kernel of the machine that builds must not be refused by libseccomp:
# a filter may be built in a chroot or an emulator that cannot tell what the kernel has.
_API_LEVEL = 5  # user notification
_BINARY_TREE = 2  # of SCMP_FLTATR_CTL_OPTIMIZE: looks a number up in logarithmic time
VIOLATION = rules.refuse(errno.EPERM)
_NOTHING = rules.refuse(0)
"""The call is not made and returns 0, of which no program can tell that it was not (seccomp(2))."""
_NEXT_STAGE = pyseccomp.TRACE(0x6E78)
_OPERATORS = {
    "==": pyseccomp.EQ,
    "!=": pyseccomp.NE,
    "<": pyseccomp.LT,
    "<=": pyseccomp.LE,
    ">": pyseccomp.GT,
    ">=": pyseccomp.GE,
}


class BuildError(RuntimeError):
    """libseccomp made something else than the table says.

    written: the files that were made all the same.
    """

    def __init__(self, text: str, written: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.written = tuple(written)


def decide(
    found: profile.Profile,
    seccomp: Seccomp,
    capabilities: Iterable[int | str] = (),
    machine: Machine | None = None,
    bits: int = 0,
) -> Table:
    """Return the decisions of ``found`` with a policy's ``allow``, ``deny`` and ``on_violation``.

    bits: the set-ID bits that a payload may set, see :func:`.floor.lay`.

    ``allow`` permits a call that the profile refuses whatever its arguments; one that it permits
    under conditions stays under them. ``deny`` is stronger than ``allow`` and than the profile.
    A violation is what would be answered EPERM: the answers that programs expect of a kernel
    without the feature (ENOSYS, EAFNOSUPPORT and the like) are given under every
    ``on_violation``. Under "log" the answer stays EPERM, see :func:`recorder`.

    Raises ProfileError and UnknownSyscallError.
    """
    target = machine or syscalls.native()
    held = [profile.CAPABILITIES[each] if isinstance(each, int) else each for each in capabilities]
    table = found.table(target, held)
    for text in seccomp.allow:
        number = syscalls.number(text, target)
        if number is not None:
            decision = table.decisions.setdefault(number, rules.Decision(table.unknown))
            if not decision.permissions:
                decision.permit()
    for text in seccomp.deny:
        number = syscalls.number(text, target)
        if number is not None:
            table.decisions.setdefault(number, rules.Decision(VIOLATION)).forbid(VIOLATION)
    if seccomp != filters.INIT:  # pid 1 sets the payloads' limits
        floor.lay(table, target, bits)
        if not held:
            _hide_groups(table, seccomp, target)
    if seccomp.on_violation == "kill":
        _kill_violators(table)
    return table


def _hide_groups(table: Table, seccomp: Seccomp, machine: Machine) -> None:
    """Let getgroups(2) answer that there are no supplementary groups, unless ``seccomp.allow`` names it.

    Without CAP_SETGID over a range of ids none of them is mapped: each would show as 65534, as do files
    of the host's root, so that rsync and others believe that they may give files away to that group, and fail
    (EINVAL). What the groups open on the host's files is the kernel's matter and stays.
    """
    number = syscalls.number("getgroups", machine)
    decision = table.decisions.get(number) if number is not None else None
    if decision is not None and "getgroups" not in (*seccomp.allow, *seccomp.deny):
        decision.forbid(_NOTHING)


def _kill_violators(table: Table) -> None:
    for decision in table.decisions.values():
        decision.refusals = [
            rule._replace(action=rules.KILL_PROCESS) if rule.action == VIOLATION else rule
            for rule in decision.refusals
        ]
        if decision.otherwise == VIOLATION:
            decision.otherwise = rules.KILL_PROCESS


def recorder(table: Table) -> Table:
    """Return a table that refuses the violations of ``table`` and permits all other calls."""
    result = rules.Table()
    result.unknown = rules.ALLOW
    result.foreign = table.foreign
    for number, decision in table.decisions.items():
        mirrored = rules.Decision(rules.ALLOW)
        mirrored.refusals = [rule for rule in decision.refusals if rule.action == VIOLATION]
        if decision.otherwise == VIOLATION:
            mirrored.permissions = [rule._replace(action=rules.ALLOW) for rule in decision.permissions]
            mirrored.otherwise = VIOLATION
        result.decisions[number] = mirrored
    return result


def assemble(table: Table, machine: Machine) -> bytes:
    """Return the BPF for ``table``; raises BuildError if it does not do what the table says."""
    refusals, permissions, answers = _Layers(), _Layers(), _Stage(table.unknown)
    for number, decision in sorted(table.decisions.items()):
        refusals.add(number, decision.refusals)
        permissions.add(number, decision.permissions)
        if all(rule.conditions for rule in decision.permissions):
            answers.add(number, decision.otherwise, ())
    stages = [*refusals.stages, *permissions.stages, answers]
    linked = bpf.link([stage.export(machine) for stage in stages], _NEXT_STAGE)
    beginning = {border for number in table.decisions for border in (number, number + 1)}
    found = search.by_number(linked, machine.token, beginning)
    program = bpf.link([_gate(machine, table.foreign), found], _NEXT_STAGE)
    check(program, table, machine)
    return program


def _gate(machine: Machine, foreign: int) -> bytes:
    """Return the first stage: calls of other architectures and of x32 get ``foreign``.

    libseccomp does the same again, but knows x32 only on x86. Number -1 is what a tracer
    leaves to skip a call.
    """
    load, equal, at_least, leave = 0x20, 0x15, 0x35, 0x06
    skipped = 0xFFFFFFFF
    code = [
        bpf.Instruction(load, 0, 0, 4),
        bpf.Instruction(equal, 1, 0, machine.token),
        bpf.Instruction(leave, 0, 0, foreign),
    ]
    if machine is syscalls.X86_64:
        code += [
            bpf.Instruction(load, 0, 0, 0),
            bpf.Instruction(at_least, 0, 2, syscalls.X32_BIT),
            bpf.Instruction(equal, 1, 0, skipped),
            bpf.Instruction(leave, 0, 0, foreign),
        ]
    return bpf.encode([*code, bpf.Instruction(leave, 0, 0, _NEXT_STAGE)])


class _Layers:
    """Stages that try the rules of each call in their order.

    libseccomp orders rules of one call by itself, and 2.6.0 was seen to loop for ever over some
    that overlap. So rules share a stage only where they cannot: equations of the same form over
    the same arguments, with other values.
    """

    def __init__(self) -> None:
        self.stages: list[_Stage] = []

    def add(self, number: int, ordered: list[rules.Rule]) -> None:
        layer, form = -1, None
        seen: set[Conditions] = set()
        for conditions, action in ordered:
            if form is None or form != _form(conditions):
                layer, form, seen = layer + 1, _form(conditions), set()
            if conditions in seen:
                continue
            seen.add(conditions)
            if layer == len(self.stages):
                self.stages.append(_Stage(_NEXT_STAGE))
            self.stages[layer].add(number, action, conditions)


def _form(conditions: Conditions) -> tuple[tuple[int, str, int], ...] | None:
    """Return what equations have in common but for their values; None for any other comparison."""
    if all(each.op in ("==", "&") for each in conditions):
        return tuple((each.argument, each.op, each.mask) for each in conditions)
    return None


class _Stage:
    """A filter of libseccomp for the native machine, with numbers of any machine."""

    def __init__(self, default: int) -> None:
        pyseccomp.set_api(_API_LEVEL)
        self.default = default
        self.filter = pyseccomp.SyscallFilter(default)
        self.filter.set_attr(pyseccomp.Attr.ACT_BADARCH, rules.KILL_PROCESS)
        self.filter.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, _BINARY_TREE)

    def add(self, number: int, action: int, conditions: Conditions) -> None:
        if action != self.default:  # libseccomp refuses a rule that says what is said anyway
            self.filter.add_rule_exactly(action, number, *(_comparison(each) for each in conditions))

    def export(self, machine: Machine) -> bytes:
        with os.fdopen(os.memfd_create("filter"), "w+b") as file:
            self.filter.export_bpf(file)
            file.seek(0)
            program = file.read()
        return _for_machine(program, machine)


def _for_machine(program: bytes, machine: Machine) -> bytes:
    """Return a native filter as one of ``machine``.

    libseccomp translates the numbers of a foreign architecture by their names, which fails
    for every call younger than itself. The machines differ in nothing but the numbers, which
    are ours, and the token that the filter compares with.
    """
    token = syscalls.native().token
    return bpf.encode(
        [
            each._replace(k=machine.token) if bpf.is_jump(each) and each.k == token else each
            for each in bpf.decode(program)
        ]
    )


def _comparison(condition: Condition) -> pyseccomp.Arg:
    if condition.op == "&":
        return pyseccomp.Arg(condition.argument, pyseccomp.MASKED_EQ, condition.mask, condition.value)
    return pyseccomp.Arg(condition.argument, _OPERATORS[condition.op], condition.value)


def check(program: bytes, table: Table, machine: Machine) -> None:
    """Run ``program`` on every number and around every condition; raises BuildError."""
    code = bpf.decode(program)
    last = max([syscalls.LAST_KNOWN, *table.decisions]) + 2
    for number in range(last):
        decision = table.decisions.get(number)
        for arguments in _samples(decision):
            wanted = table.action(number, arguments)
            found = bpf.run(code, number, machine.token, arguments)
            if found != wanted:
                shown = ", ".join(f"{argument:#x}" for argument in arguments)
                raise BuildError(
                    f"the filter for {machine.name} answers {rules.describe(found)} to "
                    f"{syscalls.label(number, machine)}({shown}), not {rules.describe(wanted)}: "
                    "a fault in libseccomp"
                )
    foreign = [(0, machine.token ^ rules.KILL_PROCESS)]
    if machine is syscalls.X86_64:
        foreign.append((syscalls.X32_BIT, machine.token))
    for number, token in foreign:
        if bpf.run(code, number, token) != table.foreign:
            raise BuildError(f"the filter for {machine.name} lets a foreign call pass")


def _samples(decision: rules.Decision | None) -> Iterable[tuple[int, ...]]:
    """Yield arguments on and beside the border of every condition."""
    yield (0,) * 6
    yield (rules.WORD,) * 6
    if decision is None:
        return
    for conditions, _ in (*decision.refusals, *decision.permissions):
        inside = [0] * 6
        for each in conditions:
            inside[each.argument] = each.value
        yield tuple(inside)
        for each in conditions:
            for value in (each.value + 1, each.value - 1, each.value ^ 1 << 32, each.value ^ 1 << 31):
                beside = list(inside)
                beside[each.argument] = value & rules.WORD
                yield tuple(beside)


def build(
    seccomp: Seccomp,
    capabilities: Iterable[int | str] = (),
    machine: Machine | None = None,
    bits: int = 0,
) -> bytes:
    """Return the BPF of a policy's ``seccomp`` for a payload with ``capabilities`` and set-ID ``bits``.

    Raises OSError, ProfileError, UnknownSyscallError, BuildError.
    """
    target = machine or syscalls.native()
    return assemble(decide(profile_of(seccomp), seccomp, capabilities, target, bits), target)


def programs(seccomp: Seccomp, capabilities: Iterable[int | str] = (), bits: int = 0) -> filters.Programs:
    """Return what a login loads: the filter, and under ``on_violation: log`` the recorder.

    Raises what :func:`build` raises.
    """
    machine = syscalls.native()
    return _assemble(tables(seccomp, capabilities, machine, bits), machine)


def tables(
    seccomp: Seccomp, capabilities: Iterable[int | str], machine: Machine, bits: int
) -> tuple[Table, ...]:
    """Return the decisions of what a login loads: of the filter, and of the recorder where there is one."""
    table = decide(profile_of(seccomp), seccomp, capabilities, machine, bits)
    return (table, recorder(table)) if seccomp.on_violation == "log" else (table,)


def _assemble(found: tuple[Table, ...], machine: Machine) -> filters.Programs:
    first, *recording = found
    return assemble(first, machine), b"".join(assemble(table, machine) for table in recording)


def profile_of(seccomp: Seccomp) -> profile.Profile:
    """Return the profile a policy names, as it is on the disk; raises OSError, ProfileError."""
    path, _ = filters.find(seccomp.profile)
    return profile.read(path, filters.read_trusted(path))


def compile_all(
    combinations: Iterable[tuple[Seccomp, frozenset[int], int]], directory: str = filters.COMPILED
) -> list[str]:
    """Write the filters of every (seccomp, capabilities, bits) to ``directory`` and remove all others.

    pid 1's own filter is always among them. Returns the files' paths. Each is written beside
    its place and renamed, so that a login finds the old one or the new one.

    One policy that cannot be obeyed does not keep the others from being compiled: what is wrong
    is raised at the end, all at once, as BuildError.
    """
    os.makedirs(directory, mode=0o755, exist_ok=True)
    written: list[str] = []
    wrong = []
    known = made.Made(directory)
    for seccomp, capabilities, bits in (*combinations, (filters.INIT, frozenset[int](), 0)):
        path = os.path.join(directory, filters.key_of(seccomp, capabilities, bits))
        if path in written:
            continue
        try:
            content = _compile(seccomp, capabilities, bits, known, os.path.basename(path))
        except (OSError, ValueError, BuildError) as problem:
            wrong.append(f"{seccomp.profile}: {problem}")
            continue
        atomic.update(path, content)
        written.append(path)
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if path not in written:
            os.unlink(path)
    known.keep()
    if wrong:
        raise BuildError("; ".join(dict.fromkeys(wrong)), written)
    return written


def _compile(seccomp: Seccomp, capabilities: Iterable[int], bits: int, known: made.Made, name: str) -> bytes:
    """Return a filter's file: the one that is there, where it was made from the same."""
    _, identity = filters.find(seccomp.profile)
    release = os.uname().release if profile_of(seccomp).waits_for_a_kernel() else None
    machine = syscalls.native()
    found = tables(seccomp, capabilities, machine, bits)
    source = known.source(identity, release, machine.name, tables=found)
    content = known.content(name, source)
    if content is None:
        content = filters.pack(identity, _assemble(found, machine), release)
    known.note(name, source, content)
    return content

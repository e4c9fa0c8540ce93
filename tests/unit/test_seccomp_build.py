"""What libseccomp makes of a table does what the table says, on both machines."""

from __future__ import annotations

import errno
import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssh2container.admin.seccomp import bpf, build, profile, rules, syscalls
from ssh2container.admin.seccomp.rules import Condition, Decision, Rule, Table
from ssh2container.admin.seccomp.syscalls import AARCH64, X86_64, Machine, UnknownSyscallError
from ssh2container.policy.policy import Seccomp

EPERM = rules.refuse(errno.EPERM)
ENOSYS = rules.refuse(errno.ENOSYS)
PLAIN = Seccomp("default", (), (), "errno")
MACHINES = pytest.mark.parametrize("machine", [X86_64, AARCH64], ids=str)
LAST = 600


def shipped(checkout: str, name: str = "default") -> profile.Profile:
    path = os.path.join(checkout, "etc/seccomp", name + ".json")
    with open(path, "rb") as file:
        return profile.read(path, file.read())


@MACHINES
@pytest.mark.parametrize("violation", ["errno", "kill", "log"])
@pytest.mark.parametrize(
    "capabilities", [(), ("CAP_SYS_CHROOT", "CAP_SYS_BOOT", "CAP_NET_BROADCAST")], ids=["none", "system"]
)
def test_whole_table(checkout: str, machine: Machine, violation: str, capabilities: tuple[str, ...]) -> None:
    """Every number, every argument at and beside every border, in all combinations."""
    seccomp = Seccomp("default", ("ptrace", "599"), ("listen",), violation)
    table = build.decide(shipped(checkout), seccomp, capabilities, machine)
    code = bpf.decode(build.assemble(table, machine))
    for number in range(LAST + 1):
        decision = table.decisions.get(number)
        for arguments in combinations(decision):
            assert bpf.run(code, number, machine.token, arguments) == table.action(number, arguments)
    named = {syscalls.label(number, machine) for number in range(LAST + 1)}
    assert {"ptrace", "599", "listen"} <= named


def combinations(decision: Decision | None) -> list[tuple[int, ...]]:
    values: list[set[int]] = [{0, rules.WORD} for _ in range(6)]
    for rule in (*decision.refusals, *decision.permissions) if decision else ():
        for each in rule.conditions:
            around = {each.value + 1, each.value - 1, each.value, each.value | 1 << 32, each.value ^ 1 << 31}
            values[each.argument] |= {value & rules.WORD for value in around}
    used = [found if len(found) > 2 else {0} for found in values]
    return [*itertools.product(*used), (rules.WORD,) * 6]


@MACHINES
def test_foreign_calls_are_killed(checkout: str, machine: Machine) -> None:
    """int 0x80, 32-bit ARM, the other machine, any other: killed whatever the number."""
    code = bpf.decode(build.assemble(build.decide(shipped(checkout), PLAIN, (), machine), machine))
    i386, arm = 0x40000003, 0x40000028
    other = AARCH64 if machine is X86_64 else X86_64
    for token in (i386, arm, other.token, 0, 0xFFFFFFFF, machine.token ^ 0x40000000):
        for number in range(LAST + 1):
            assert bpf.run(code, number, token) == rules.KILL_PROCESS


def test_x32_is_killed(checkout: str) -> None:
    code = bpf.decode(build.assemble(build.decide(shipped(checkout), PLAIN, (), X86_64), X86_64))
    for number in (*range(LAST + 1), 0x3FFFFFFF, 0x7FFFFFFF, 0xBFFFFFFE):
        assert bpf.run(code, syscalls.X32_BIT | number, X86_64.token) == rules.KILL_PROCESS
    assert bpf.run(code, syscalls.X32_BIT - 1, X86_64.token) == ENOSYS
    skipped_by_a_tracer = 0xFFFFFFFF
    assert bpf.run(code, skipped_by_a_tracer, X86_64.token) == ENOSYS


@MACHINES
def test_programs_are_within_what_the_kernel_loads(checkout: str, machine: Machine) -> None:
    for name in ("default", "init"):
        program = build.assemble(build.decide(shipped(checkout, name), PLAIN, (), machine), machine)
        assert 0 < len(program) // bpf.INSTRUCTION_BYTES < 1000


REFUSED = (  # noqa: SIM905
    "mount umount2 pivot_root chroot unshare setns bpf perf_event_open userfaultfd kexec_load "
    "kexec_file_load init_module finit_module delete_module open_by_handle_at syslog clock_settime "
    "settimeofday reboot swapon swapoff acct quotactl quotactl_fd vhangup sethostname setdomainname "
    "add_key keyctl request_key ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd "
    "process_madvise name_to_handle_at fanotify_init fanotify_mark lookup_dcookie mbind set_mempolicy "
    "get_mempolicy migrate_pages move_pages set_mempolicy_home_node"
).split()
MISSING = (  # noqa: SIM905
    "clone3 fsopen fsconfig fsmount fspick move_mount mount_setattr open_tree open_tree_attr "
    "io_uring_setup io_uring_enter io_uring_register cachestat listns"
).split()
CORPUS = [
    # (call, arguments, answer), from the probes of the escape corpus
    *[(name, (), "EPERM") for name in REFUSED],
    *[(name, (), "ENOSYS") for name in MISSING],
    *[("clone", (1 << bit | 17,), "EPERM") for bit in (17, 25, 26, 27, 28, 29, 30)],
    ("clone", (17,), "allow"),
    ("clone", (0x3D0F00,), "allow"),  # pthread_create
    ("clone", (0x1200011,), "allow"),  # fork of glibc
    *[("ioctl", (0, high | request), "EPERM")
      for high in (0, 1 << 32, 0xFFFFFFFF << 32) for request in (0x5412, 0x541C, 0x541D, 0x5423)],
    *[("ioctl", (0, request), "allow") for request in (0x5401, 0x5411, 0x5413, 0x541B, 0x541E, 0x5410)],
    *[("socket", (family, 1, 0), "allow") for family in (1, 2, 10, 16)],
    *[("socket", (family, 1, 0), "EAFNOSUPPORT")
      for family in (0, *range(3, 10), *range(11, 16), *range(18, 50), 1 << 31, 1 << 32 | 38)],
    *[("socketpair", (family, 1, 0), "EAFNOSUPPORT") for family in (0, 3, 21, 30, 38, 40)],
    ("socketpair", (1, 1, 0), "allow"),
    ("socketpair", (16, 3, 0), "EPROTONOSUPPORT"),
    ("socket", (17, 3, 0x300), "EPERM"),
    ("socket", (2, 10, 0x300), "EPERM"),
    ("socket", (2, 3, 1), "allow"),
    ("socket", (2, 3, 255), "allow"),
    *[("socket", (16, 3, protocol), "EPROTONOSUPPORT") for protocol in (*range(1, 23), 1 << 31)],
    *[("socket", (2, 0x80801, number), "EPROTONOSUPPORT") for number in (33, 115, 132, 136, 256, 262)],
    *[("socket", (family, kind | 0x80000, 0), "ESOCKTNOSUPPORT") for family in (2, 10) for kind in (4, 5, 6)],
    *[("personality", (value,), "allow") for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, rules.WORD)],
    *[("personality", (value,), "EPERM") for value in (0x40000, 0x400000, 1, 0x20001)],
    *[("prctl", (option,), "EPERM") for option in (28, 33, 35, 57, 62, 67, 1 << 32 | 35)],
    *[("prctl", (option,), "allow") for option in (1, 4, 15, 22, 36, 38, 0x53564D41, 0x59616D61)],
    *[("prctl", (option,), "EINVAL") for option in (0, 9, 78, 1000)],
    ("seccomp", (1, 0), "allow"),
    ("setsockopt", (3, 6, 31), "ENOPROTOOPT"),
    ("setsockopt", (3, 17, 100), "ENOPROTOOPT"),
    ("setsockopt", (3, 0, 64), "ENOPROTOOPT"),
    ("setsockopt", (3, 6, 1), "allow"),
    ("memfd_create", (), "allow"),
    ("execveat", (), "allow"),
]  # fmt: skip


@MACHINES
def test_corpus(checkout: str, machine: Machine) -> None:
    """The shipped profile answers every probe of the escape corpus as the corpus says."""
    code = bpf.decode(build.assemble(build.decide(shipped(checkout), PLAIN, (), machine), machine))
    wrong = []
    for name, arguments, wanted in CORPUS:
        found = rules.describe(bpf.run(code, syscalls.table(machine)[name], machine.token, arguments))
        if found != wanted:
            wrong.append((name, arguments, wanted, found))
    assert not wrong


@MACHINES
def test_calls_younger_than_our_table_do_not_exist(checkout: str, machine: Machine) -> None:
    code = bpf.decode(build.assemble(build.decide(shipped(checkout), PLAIN, (), machine), machine))
    for number in (*range(syscalls.LAST_KNOWN + 1, LAST), 4095, 0x3FFFFFFF):
        assert bpf.run(code, number, machine.token) == ENOSYS


def test_only_permitted_calls_depend_on_arguments_that_the_profile_names(checkout: str) -> None:
    """The kernel answers calls without conditions from a bitmap: only these may be slow."""
    table = build.decide(shipped(checkout), PLAIN, (), X86_64)
    conditional = {
        syscalls.label(number, X86_64)
        for number, decision in table.decisions.items()
        if decision.same_for_all() is None
    }
    of_the_profile = {
        "clone", "ioctl", "personality", "prctl", "preadv2", "setsockopt", "socket", "socketpair"
    }  # fmt: skip
    of_the_floor = {
        "chmod", "creat", "fchmod", "fchmodat", "fchmodat2", "mknod", "mknodat", "mq_open", "open", "openat",
        "prlimit64", "setrlimit",
    }  # fmt: skip
    assert conditional == of_the_profile | of_the_floor


def action(seccomp: Seccomp, name: str, arguments: tuple[int, ...], checkout: str) -> str:
    table = build.decide(shipped(checkout), seccomp, (), X86_64)
    number = syscalls.number(name, X86_64)
    assert number is not None
    code = bpf.decode(build.assemble(table, X86_64))
    return rules.describe(bpf.run(code, number, X86_64.token, arguments))


def test_allow_adds_calls_but_lifts_no_condition_on_arguments(checkout: str) -> None:
    seccomp = Seccomp("default", ("ptrace", "clone", "ioctl", "personality", "321"), (), "errno")
    assert action(seccomp, "ptrace", (), checkout) == "allow"
    assert action(seccomp, "bpf", (), checkout) == "allow"
    assert action(seccomp, "personality", (0x40000,), checkout) == "EPERM"
    assert action(seccomp, "clone", (1 << 28,), checkout) == "EPERM"
    assert action(seccomp, "ioctl", (0, 0x5412), checkout) == "EPERM"


def test_deny_is_stronger_than_allow_and_profile(checkout: str) -> None:
    seccomp = Seccomp("default", ("memfd_create",), ("memfd_create", "41", "ioctl"), "errno")
    assert action(seccomp, "memfd_create", (), checkout) == "EPERM"
    assert action(seccomp, "socket", (1, 1, 0), checkout) == "EPERM"
    assert action(seccomp, "ioctl", (0, 0x5401), checkout) == "EPERM"


def test_kill_is_for_violations_only(checkout: str) -> None:
    seccomp = Seccomp("default", (), ("listen",), "kill")
    for name, arguments in (("listen", ()), ("unshare", ()), ("clone", (1 << 28,)), ("ioctl", (0, 0x5412))):
        assert action(seccomp, name, arguments, checkout) == "kill process"
    assert action(seccomp, "clone3", (), checkout) == "ENOSYS"
    assert action(seccomp, "socket", (38,), checkout) == "EAFNOSUPPORT"
    assert action(seccomp, "550", (), checkout) == "ENOSYS"


@MACHINES
def test_recorder_refuses_the_violations_and_nothing_else(checkout: str, machine: Machine) -> None:
    table = build.decide(shipped(checkout), Seccomp("default", (), ("listen",), "log"), (), machine)
    code = bpf.decode(build.assemble(build.recorder(table), machine))
    for number in range(LAST + 1):
        for arguments in combinations(table.decisions.get(number)):
            violates = table.action(number, arguments) == EPERM
            wanted = EPERM if violates else rules.ALLOW
            assert bpf.run(code, number, machine.token, arguments) == wanted


def test_words_that_name_no_call_are_refused_with_the_nearest(checkout: str) -> None:
    with pytest.raises(UnknownSyscallError, match="'ptrase'; did you mean ptrace"):
        build.decide(shipped(checkout), Seccomp("default", ("ptrase",), (), "errno"))


def test_names_of_other_machines_are_no_error(checkout: str) -> None:
    """One policy serves machines of both kinds."""
    for machine in (X86_64, AARCH64):
        build.decide(
            shipped(checkout), Seccomp("default", ("arch_prctl", "chown32"), (), "errno"), (), machine
        )


def test_the_check_notices_a_filter_that_is_not_the_table(checkout: str) -> None:
    table = build.decide(shipped(checkout), PLAIN, (), X86_64)
    program = build.assemble(table, X86_64)
    table.decisions[syscalls.table(X86_64)["mount"]].permit()
    with pytest.raises(build.BuildError, match="answers EPERM to mount"):
        build.check(program, table, X86_64)


def test_of_rules_that_overlap_the_first_decides() -> None:
    """libseccomp alone leaves the order open."""
    table = Table()
    decision = table.decisions[16] = Decision(EPERM)
    decision.permit()
    decision.refusals = [
        Rule((Condition(0, "&", 5, 0xFFFFFFFF),), rules.refuse(5)),
        Rule((Condition(0, "<", 9),), rules.refuse(6)),
        Rule((Condition(0, "&", 5, 0xFFFFFFFF),), rules.refuse(7)),
    ]
    for refusals in (decision.refusals, decision.refusals[::-1]):
        decision.refusals = refusals
        code = bpf.decode(build.assemble(table, X86_64))
        for value in (0, 5, 9, 1 << 32 | 5):
            assert bpf.run(code, 16, X86_64.token, (value,)) == table.action(16, (value, 0, 0, 0, 0, 0))


numbers = st.one_of(st.integers(0, 20), st.integers(0, rules.WORD))
conditions = st.builds(
    lambda argument, op, value, mask: (
        Condition(argument, op, value & mask, mask) if op == "&" else Condition(argument, op, value)
    ),
    st.integers(0, 5),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "&"]),
    numbers,
    st.one_of(st.just(0xFFFFFFFF), st.integers(1, rules.WORD)),
)
rows = st.lists(conditions, min_size=1, max_size=2, unique_by=lambda each: each.argument).map(tuple)


@settings(max_examples=150, deadline=None)
@given(
    refusals=st.lists(rows, max_size=2),
    permissions=st.lists(rows, max_size=3),
    otherwise=st.sampled_from([EPERM, ENOSYS, rules.refuse(97), rules.KILL_PROCESS, rules.ALLOW]),
    samples=st.lists(
        st.tuples(*[st.one_of(st.integers(0, 20), st.integers(0, rules.WORD))] * 6), max_size=20
    ),
)
def test_any_table_is_built_right(
    refusals: list[tuple[Condition, ...]],
    permissions: list[tuple[Condition, ...]],
    otherwise: int,
    samples: list[tuple[int, ...]],
) -> None:
    table = Table()
    decision = table.decisions[16] = Decision(otherwise)
    decision.refusals = [Rule(row, rules.refuse(errno.EACCES)) for row in refusals]
    decision.permissions = [Rule(row, rules.ALLOW) for row in permissions]
    table.decisions[0] = Decision(EPERM)
    table.decisions[0].permit()
    code = bpf.decode(build.assemble(table, X86_64))
    for arguments in samples:
        assert bpf.run(code, 16, X86_64.token, arguments) == table.action(16, arguments)

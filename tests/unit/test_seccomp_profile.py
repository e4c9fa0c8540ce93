"""Reading profiles: what the OCI format says, and what is wrong with a bad one."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.admin.seccomp import profile, rules, syscalls
from ssh2container.admin.seccomp.profile import Profile, ProfileError
from ssh2container.admin.seccomp.syscalls import AARCH64, X86_64

EPERM = rules.refuse(errno.EPERM)
ENOSYS = rules.refuse(errno.ENOSYS)
NONE = (0,) * 6
KERNEL = (5, 15)


def make(*entries: dict[str, Any], default: str = "SCMP_ACT_ERRNO", **more: object) -> Profile:
    return Profile("test.json", {"defaultAction": default, "syscalls": list(entries), **more})


def allow(*names: str, **more: object) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def refuse(*names: str, code: int = 1, **more: object) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": code, **more}


def answer(found: Profile, name: str, arguments: tuple[int, ...] = NONE, *caps: str) -> int:
    table = found.table(X86_64, caps, KERNEL)
    return table.action(syscalls.table(X86_64)[name], (*arguments, *NONE)[:6])


def test_a_call_that_is_not_listed_gets_the_default() -> None:
    assert answer(make(allow("read")), "read") == rules.ALLOW
    assert answer(make(allow("read")), "write") == EPERM
    assert answer(make(allow("read"), defaultErrnoRet=13), "write") == rules.refuse(13)
    assert answer(make(allow("read"), default="SCMP_ACT_KILL_PROCESS"), "write") == rules.KILL_PROCESS
    assert answer(make(default="SCMP_ACT_ALLOW"), "mount") == rules.ALLOW


def test_a_call_that_does_not_exist_is_enosys_whatever_the_default() -> None:
    for default in ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_ALLOW"):
        assert make(default=default).table(X86_64).action(syscalls.LAST_KNOWN + 1, NONE) == ENOSYS


@pytest.mark.parametrize(
    ("operator", "value", "second", "holds", "fails"),
    [
        ("EQ", 5, 0, [5], [4, 6, 1 << 32 | 5]),
        ("NE", 5, 0, [4, 6, 1 << 32 | 5], [5]),
        ("LT", 5, 0, [0, 4], [5, 1 << 63]),
        ("LE", 5, 0, [0, 5], [6, 1 << 63]),
        ("GT", 5, 0, [6, 1 << 63], [0, 5]),
        ("GE", 5, 0, [5, 1 << 63], [0, 4]),
        ("MASKED_EQ", 0xF0, 0x10, [0x10, 0x1F, 1 << 40 | 0x10], [0, 0x20, 0x30]),
        ("MASKED_EQ", 0xF0, 0x1F, [0x10], [0x20]),
    ],
)
def test_comparisons(operator: str, value: int, second: int, holds: list[int], fails: list[int]) -> None:
    arg = {"index": 2, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{operator}"}
    found = make(allow("ioctl", args=[arg]))
    assert {answer(found, "ioctl", (0, 0, number)) for number in holds} == {rules.ALLOW}
    assert {answer(found, "ioctl", (0, 0, number)) for number in fails} == {EPERM}


def test_a_refusal_with_arguments_is_stronger_than_any_permission() -> None:
    arg = [{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]
    for entries in ((allow("ioctl"), refuse("ioctl", args=arg)), (refuse("ioctl", args=arg), allow("ioctl"))):
        assert answer(make(*entries), "ioctl", (0, 7)) == EPERM
        assert answer(make(*entries), "ioctl", (0, 8)) == rules.ALLOW


def test_a_refusal_without_arguments_is_what_no_permission_leaves() -> None:
    arg = [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
    found = make(allow("socket", args=arg), refuse("socket", code=97))
    assert answer(found, "socket", (1,)) == rules.ALLOW
    assert answer(found, "socket", (2,)) == rules.refuse(97)


def test_capabilities_open_and_close_rules() -> None:
    found = make(
        allow("chroot", includes={"caps": ["CAP_SYS_CHROOT"]}),
        allow("clone3", includes={"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}),
        refuse("clone3", code=38, excludes={"caps": ["CAP_SYS_ADMIN"]}),
    )
    assert answer(found, "chroot") == EPERM
    assert answer(found, "chroot", NONE, "CAP_SYS_CHROOT") == rules.ALLOW
    assert answer(found, "clone3") == ENOSYS
    assert answer(found, "clone3", NONE, "CAP_SYS_ADMIN") == EPERM
    assert answer(found, "clone3", NONE, "CAP_SYS_ADMIN", "CAP_CHOWN") == rules.ALLOW


def test_rules_of_other_architectures_are_left_out() -> None:
    found = make(
        allow("arch_prctl", "pause", includes={"arches": ["amd64", "x32"]}),
        allow("getcpu", excludes={"arches": ["arm64"]}),
    )
    assert answer(found, "arch_prctl") == rules.ALLOW
    assert answer(found, "getcpu") == rules.ALLOW
    assert found.table(AARCH64).action(syscalls.table(AARCH64)["getcpu"], NONE) == EPERM


def test_a_rule_may_wait_for_a_kernel() -> None:
    found = make(
        allow("ptrace", includes={"minKernel": "4.8"}), allow("acct", includes={"minKernel": "99.1"})
    )
    assert answer(found, "ptrace") == rules.ALLOW
    assert answer(found, "acct") == EPERM
    assert found.table(X86_64, (), (99, 1)).action(syscalls.table(X86_64)["acct"], NONE) == rules.ALLOW
    assert found.waits_for_a_kernel()
    assert not make(allow("ptrace", includes={"minKernel": "4.8"})).waits_for_a_kernel()


def test_a_profile_for_other_machines_is_refused() -> None:
    found = make(archMap=[{"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": None}])
    with pytest.raises(ProfileError, match="SCMP_ARCH_X86_64"):
        found.table(X86_64)


def test_names_that_no_machine_has_are_reported_but_harmless() -> None:
    found = make(allow("read", "chown32", "s390_runtime_instr", "frobnicate"))
    assert found.unknown_names() == ["frobnicate"]
    assert answer(found, "read") == rules.ALLOW


def test_numbers_stand_for_calls_too() -> None:
    table = make(allow("9", "4000")).table(X86_64)
    assert table.action(9, NONE) == rules.ALLOW
    assert table.action(4000, NONE) == rules.ALLOW
    assert table.action(4001, NONE) == ENOSYS


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("[]", "document: found"),
        ("{", "not a JSON document"),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "defaultAction": "SCMP_ACT_KILL"}',
            "defaultAction given twice",
        ),
        ('{"syscalls": []}', "defaultAction: found None; allowed: SCMP_ACT_ERRNO"),
        ('{"defaultAction": "SCMP_ACT_NOTIFY"}', "defaultAction: found 'SCMP_ACT_NOTIFY'"),
        ('{"defaultAction": "SCMP_ACT_TRACE"}', "defaultAction: found 'SCMP_ACT_TRACE'"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}', "an integer from 0 to 4095"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/x"}', "found 'listenerPath'; allowed:"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}', "flags: found"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": {}}', "syscalls: found"),
        ('{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]}', r"syscalls\[0\]"),
    ],
)
def test_a_bad_document_is_named_with_its_place(document: str, text: str) -> None:
    with pytest.raises(ProfileError, match=text) as caught:
        profile.read("/etc/x.json", document)
    assert str(caught.value).startswith("/etc/x.json: ")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"names": "read", "action": "SCMP_ACT_ALLOW"}, r"syscalls\[0\]\.names"),
        ({"names": ["read"], "action": "ALLOW"}, r"syscalls\[0\]\.action: found 'ALLOW'"),
        ({"names": ["read"], "action": "SCMP_ACT_ALLOW", "arguments": []}, "found 'arguments'"),
        (allow("read", args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]), r"args\[0\]\.index"),
        (allow("read", args=[{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]), r"args\[0\]\.value"),
        (allow("read", args=[{"index": 0, "value": 1 << 64, "op": "SCMP_CMP_EQ"}]), r"args\[0\]\.value"),
        (allow("read", args=[{"index": 0, "value": 0, "op": "EQ"}]), r"args\[0\]\.op: found 'EQ'"),
        (
            allow("read", args=[{"index": 0, "value": n, "op": "SCMP_CMP_NE"} for n in (1, 2)]),
            "one comparison",
        ),
        (allow("read", includes={"caps": ["CAP_EVERYTHING"]}), "found 'CAP_EVERYTHING'"),
        (allow("read", includes={"minKernel": "new"}), "minKernel: found 'new'"),
    ],
)
def test_a_bad_rule_is_named_with_its_place(entry: dict[str, Any], text: str) -> None:
    with pytest.raises(ProfileError, match=text):
        make(entry)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["defaultAction", "syscalls", "names", "action", "args", "index", "value", "op", "caps"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def complaint(content: bytes | str) -> str:
    try:
        profile.read("f.json", content)
    except ProfileError as problem:
        return str(problem)
    return "f.json: none"


@given(_json)
def test_any_json_is_a_profile_or_an_error_that_names_the_file(document: object) -> None:
    assert complaint(json.dumps(document)).startswith("f.json: ")


@given(st.binary(max_size=64))
def test_any_bytes_are_a_profile_or_an_error_that_names_the_file(content: bytes) -> None:
    assert complaint(content).startswith("f.json: ")

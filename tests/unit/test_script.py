"""Scripts: what operations write is what pid 1's interpreter reads, checks and carries out."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.planning import plan
from support.policies import policy

from ssh2container.errors import SessionError
from ssh2container.kernel import _syscall
from ssh2container.kernel.script import Script
from ssh2container.plan import operations
from ssh2container.plan.operations import Operation, carry_out
from ssh2container.plan.operations.filesystem import GiveTo, MakeTree

RECORD = struct.Struct("=4H2I6q")
MARGIN = 128
CALL, STEPS = 1, 14
TEXT, SLOT = 1, 2


def decoded(script: Script) -> list[tuple[int, str, list[int | bytes | str]]]:
    """(kind of step, system call, arguments) of each record; texts up to their zero byte, slots as "#N"."""
    names = {number: name for name, number in _syscall.NUMBERS.items()}
    found = []
    for record in script.records:
        kind, call, kinds, _, _, _, *values = RECORD.unpack(record)
        arguments: list[int | bytes | str] = list(values)
        for place, value in enumerate(values):
            if kinds >> 2 * place & 3 == TEXT:
                arguments[place] = bytes(script.texts[value : script.texts.index(0, value)])
            elif kinds >> 2 * place & 3 == SLOT:
                arguments[place] = f"#{value}"
        found.append((kind, names[call] if kind == CALL else "", arguments))
    return found


def test_a_script_reads_as_it_was_written() -> None:
    script = Script()
    slot = script.slot()
    script.call("openat2", -100, "/srv/é", bytes(3), 24, result=slot)
    script.call("mount", "tmpfs", "/tmp", "tmpfs", 6, "size=4k")
    script.close(slot)
    assert decoded(script) == [
        (CALL, "openat2", [-100, "/srv/é".encode(), b"", 24, 0, 0]),
        (CALL, "mount", [b"tmpfs", b"/tmp", b"tmpfs", 6, b"size=4k", 0]),
        (CALL, "close", ["#0", 0, 0, 0, 0, 0]),
    ]
    assert RECORD.unpack(script.records[0])[4] == slot.number + 1
    assert script.at == ["openat2", "mount", "close"]
    assert script.finish().endswith(bytes(MARGIN))


def test_a_closed_slot_is_used_again() -> None:
    script = Script()
    first, second = script.slot(), script.named("a tree")
    script.close(first)
    assert script.slot().number == first.number
    assert script.named("a tree") is second
    script.close(second)
    assert script.named("a tree") is not second


def test_more_slots_than_there_are_is_an_error() -> None:
    script = Script()
    slots = iter(script.slot, None)
    with pytest.raises(OSError, match="too much"):
        list(slots)


def test_a_zero_byte_in_a_path_is_an_error() -> None:
    with pytest.raises(OSError, match="NUL"):
        Script().call("chdir", "/a\0b")


@pytest.mark.parametrize(
    "text", ["image: host\n", "image: host\nnetwork_mode: host\n", "network_mode: private\n", "image: tree\n"]
)
def test_every_record_of_a_plan_names_its_operation(text: str) -> None:
    """What pid 1 tells of a failure is a number: each has to lead back to the operation that wrote it."""
    made = plan(policy(text))
    for phase in (made.container.init, made.payload.operations):
        script = operations.write(phase, Script())
        assert len(script.records) == len(script.at)
        number = 0
        for operation in phase:
            alone = Script()
            operation.write(alone)
            for _ in alone.records:
                error = operations.find(phase, number, errno.EIO)
                assert error.what == f"cannot {operation.describe()}"
                assert error.number == errno.EIO
                number += 1
        assert number == len(script.records)


def test_writing_twice_gives_the_same() -> None:
    made = plan(policy("image: host\nvolumes: ['/srv/x:/x']\n"))
    first, second = (operations.write(made.container.init, Script()) for _ in range(2))
    assert (first.records, first.texts, first.at) == (second.records, second.texts, second.at)


def refused(write: Callable[[Script], None]) -> int:
    script = Script()
    write(script)
    failed = script.run()
    assert failed is not None
    return failed[1]


def broken(step: int, *values: int, kinds: int = 0, call: int = 0) -> Callable[[Script], None]:
    """A script of one record."""

    def write(script: Script) -> None:
        script.records.append(RECORD.pack(step, call, kinds, 0, 0, 0, *values, *[0] * (6 - len(values))))
        script.at.append("")

    return write


@pytest.mark.parametrize(
    "write",
    [
        broken(0),
        broken(STEPS + 1),
        broken(CALL, call=57),  # fork is no call of the list
        broken(CALL, 1 << 40, kinds=TEXT, call=_syscall.NUMBERS["chdir"]),
        broken(CALL, -1, kinds=TEXT, call=_syscall.NUMBERS["chdir"]),
        broken(CALL, 600, kinds=SLOT, call=_syscall.NUMBERS["close"]),
        broken(CALL, -1, kinds=SLOT, call=_syscall.NUMBERS["close"]),
        broken(CALL, 0, kinds=3, call=_syscall.NUMBERS["close"]),
        broken(2, 1, 0, 0, 0, 1 << 62),
        broken(8, 0, -1, 0, -8),
        broken(8, 0, -1, 0, 7),
        broken(9, 64),
    ],
)
def test_what_makes_no_sense_is_refused(write: Callable[[Script], None]) -> None:
    def whole(script: Script) -> None:
        script.text(b"some text")
        write(script)

    assert refused(whole) == errno.EBADMSG


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([4, 5, 6, 7, 8, 9, 11, 12, *range(15, 70)]),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=6, max_size=6),
)
def test_no_record_reads_or_writes_outside(
    step: int, call: int, kinds: int, result: int, values: list[int]
) -> None:
    """Any values in steps that change nothing here: an error, never a crash."""
    child = os.fork()
    if child == 0:
        record = RECORD.pack(step, call, kinds, 0, result, 0, *values)
        _syscall.run(record, bytearray(b"/nowhere\0" + bytes(MARGIN)))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_an_address_that_is_there_is_not_waited_for() -> None:
    script = Script()
    script.await_address(struct.pack("=HHI16sI", 10, 0, 0, bytes(15) + b"\1", 0), "lo")
    assert script.run() is None
    assert refused(lambda script: script.await_address(b"", "lo")) == errno.EINVAL
    assert refused(lambda script: script.await_address(bytes(28), "lo")) in (errno.EINVAL, errno.EAFNOSUPPORT)


def test_trees_are_made_with_their_modes(tmp_path: os.PathLike[str]) -> None:
    base = os.fspath(tmp_path) + "/tree"
    before = os.umask(0o077)
    try:
        carry_out(
            MakeTree(
                "a tree",
                (
                    (base, 0o755, None),
                    (base, 0o1777, None),
                    (f"{base}/group", 0o2775, None),
                    (f"{base}/private", None, None),
                    (f"{base}/file", 0o644, b"\0" * 100_000),
                    (f"{base}/empty", None, b""),
                    (f"{base}/link", None, "nowhere"),
                ),
            )
        )
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    modes = {name: os.lstat(f"{base}/{name}").st_mode & 0o7777 for name in os.listdir(base)}
    assert modes == {"group": 0o2775, "private": 0o700, "file": 0o644, "empty": 0o600, "link": 0o777}
    assert os.stat(base).st_mode & 0o7777 == 0o1777
    assert os.path.getsize(f"{base}/file") == 100_000
    assert os.readlink(f"{base}/link") == "nowhere"


def test_what_is_there_already_is_an_error_with_its_path(tmp_path: os.PathLike[str]) -> None:
    path = os.fspath(tmp_path) + "/file"
    carry_out(MakeTree("a file", ((path, None, b"x"),)))
    for content in (b"y", None, "link"):
        with pytest.raises(FileExistsError) as caught:
            carry_out(MakeTree("another", ((path, None, content),)))
        assert caught.value.filename == path
    with open(path, "rb") as file:
        assert file.read() == b"x"


@pytest.mark.needs_root
def test_a_tree_is_given_away_whole_and_no_link_is_followed(tmp_path: os.PathLike[str]) -> None:
    base, outside = os.fspath(tmp_path) + "/own", os.fspath(tmp_path) + "/outside"
    files = ((outside, None, b""), (base, None, None), (f"{base}/a", None, None), (f"{base}/a/f", None, b""))
    links = ((f"{base}/l", None, outside), (f"{base}/d", None, os.fspath(tmp_path)))
    carry_out(MakeTree("both", (*files, *links)))
    carry_out(GiveTo(base, 1234, 4321))
    for path in (base, f"{base}/a", f"{base}/a/f", f"{base}/l", f"{base}/d"):
        found = os.lstat(path)
        assert (found.st_uid, found.st_gid) == (1234, 4321), path
    assert os.stat(outside).st_uid == 0
    assert os.stat(tmp_path).st_uid == 0


def test_an_operation_says_why_in_its_own_words() -> None:
    class Odd(Operation):
        step = "mount"
        reasons = {errno.ESTALE: "it was moved"}
        remedies = {errno.ESTALE: "move it back"}

        def describe(self) -> str:
            return "find it"

    error = operations.failure(Odd(), errno.ESTALE, "/x")
    assert str(error) == "cannot find it: it was moved (/x); move it back"
    assert isinstance(operations.failure(Odd(), errno.EIO, ""), SessionError)

"""The search by number that stands before what is left of a filter (admin/seccomp/search.py)."""

from __future__ import annotations

import pytest

from ssh2container.admin.seccomp import bpf, search
from ssh2container.admin.seccomp.bpf import Instruction

TOKEN = 0xC000003E
LOAD, EQUAL, ABOVE, STORE = 0x20, 0x15, 0x25, 0x02
FIRST_ARGUMENT = 16


def chain(numbers: range) -> list[Instruction]:
    """Return what compares the number with each of ``numbers`` and answers by the argument."""
    code = [Instruction(LOAD, 0, 0, 4), Instruction(EQUAL, 1, 0, TOKEN), Instruction(bpf.RETURN, 0, 0, 1)]
    for number in numbers:
        code += [
            Instruction(LOAD, 0, 0, 0),
            Instruction(EQUAL, 0, 5, number),
            Instruction(LOAD, 0, 0, FIRST_ARGUMENT),
            Instruction(ABOVE, 0, 1, number),
            Instruction(bpf.RETURN, 0, 0, 7000 + number),
            Instruction(EQUAL, 1, 0, 3),
            Instruction(bpf.RETURN, 0, 0, 6000 + number),
        ]
    return [*code, Instruction(bpf.RETURN, 0, 0, 5000)]


def test_every_number_gets_the_same_answer_in_fewer_steps() -> None:
    """Of so many numbers that a comparison cannot reach all of them by itself (255 instructions)."""
    numbers = range(200)
    before = chain(numbers)
    borders = [border for number in numbers for border in (number, number + 1)]
    after = bpf.decode(search.by_number(bpf.encode(before), TOKEN, borders))
    assert len(after) < len(before)
    for number in (*range(203), 1 << 31, (1 << 32) - 1):
        for argument in (0, 3, number - 1, number, number + 1):
            arguments = (max(0, argument) & 0xFFFFFFFF,)
            assert bpf.run(after, number, TOKEN, arguments) == bpf.run(before, number, TOKEN, arguments)


def test_equal_rests_stand_once() -> None:
    answer = [Instruction(bpf.RETURN, 0, 0, 9)]
    program = bpf.encode([Instruction(LOAD, 0, 0, 0), Instruction(EQUAL, 0, 0, 5), *answer])
    assert bpf.decode(search.by_number(program, TOKEN, range(9))) == [Instruction(LOAD, 0, 0, 0), *answer]


def test_what_libseccomp_does_not_write_is_not_guessed_at() -> None:
    program = bpf.encode([Instruction(STORE, 0, 0, 0), Instruction(bpf.RETURN, 0, 0, 9)])
    with pytest.raises(bpf.BadProgramError, match="instruction 0"):
        search.by_number(program, TOKEN, ())

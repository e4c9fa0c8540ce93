"""Classic BPF as seccomp uses it: decoding, running, linking.

The interpreter follows the kernel's description (Linux, Documentation/networking/filter.rst
and kernel/seccomp.c, seccomp_check_filter) and shares nothing with libseccomp: it is how a
built filter is checked and how ``simulate`` answers.
"""

from __future__ import annotations

import operator
import struct
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
INSTRUCTION_BYTES = 8
_WORD32 = 0xFFFFFFFF
_SCRATCH_WORDS = 16

# code = class | mode or operation | source
_JMP, _RET = 5, 6
_TXA = 0x80
_FROM_X, _FROM_A = 0x08, 0x10
_JA = 0x00
RETURN = _RET
JUMP_ALWAYS = _JMP | _JA
JUMP_AT_LEAST = _JMP | 0x30
_ALU: dict[int, Callable[[int, int], int]] = {
    0x00: operator.add,
    0x10: operator.sub,
    0x20: operator.mul,
    0x30: operator.floordiv,
    0x40: operator.or_,
    0x50: operator.and_,
    0x60: operator.lshift,
    0x70: operator.rshift,
    0x80: lambda a, _: -a,
    0xA0: operator.xor,
}


class Instruction(NamedTuple):
    """A struct sock_filter: ``jt`` and ``jf`` are instructions to skip, ``k`` the operand."""

    code: int
    jt: int
    jf: int
    k: int


class BadProgramError(ValueError):
    """A program that the kernel would not load, or that left its bounds."""


def decode(program: bytes) -> list[Instruction]:
    """Return the instructions of a filter in the native byte order of both machines."""
    if len(program) % INSTRUCTION_BYTES:
        raise BadProgramError(f"{len(program)} bytes are no whole number of instructions")
    return [Instruction(*fields) for fields in struct.iter_unpack("<HBBI", program)]


def encode(instructions: list[Instruction]) -> bytes:
    """Return the bytes that seccomp(2) loads; raises BadProgramError when there are too many."""
    if not 0 < len(instructions) <= MAX_INSTRUCTIONS:
        raise BadProgramError(f"{len(instructions)} instructions; the kernel takes 1 to {MAX_INSTRUCTIONS}")
    return b"".join(struct.pack("<HBBI", *each) for each in instructions)


def link(stages: list[bytes], go_on: int) -> bytes:
    """Return one program that runs ``stages`` one after the other.

    Where a stage would return the action ``go_on``, the next stage runs; what any other
    return says is final. The last stage must not go on.
    """
    result: list[Instruction] = []
    for position, stage in enumerate(stages):
        code = decode(stage)
        for offset, each in enumerate(code):
            if each.code == RETURN and each.k == go_on:
                if position == len(stages) - 1:
                    raise BadProgramError("the last stage leaves a call undecided")
                each = Instruction(JUMP_ALWAYS, 0, 0, len(code) - offset - 1)  # noqa: PLW2901
            result.append(each)
    return encode(result)


def is_jump(instruction: Instruction) -> bool:
    """Whether it compares or jumps, so that ``k`` may be a number to compare with."""
    return instruction.code & 0x07 == _JMP


def is_comparison(instruction: Instruction) -> bool:
    """Whether it compares the accumulator with ``k`` and goes on at one of two places."""
    return is_jump(instruction) and not instruction.code & _FROM_X and instruction.code != JUMP_ALWAYS


def holds(instruction: Instruction, value: int, operand: int | None = None) -> bool:
    """Whether a comparison of ``value`` with ``operand``, or else with its ``k``, is true."""
    operand = instruction.k if operand is None else operand
    match instruction.code & 0xF0:
        case 0x10:
            return value == operand
        case 0x20:
            return value > operand
        case 0x30:
            return value >= operand
        case 0x40:
            return bool(value & operand)
    raise BadProgramError(f"jump {instruction.code:#x}")


def run(
    program: list[Instruction],
    number: int,
    token: int,
    arguments: tuple[int, ...] = (),
    instruction_pointer: int = 0,
) -> int:
    """Return the action (SECCOMP_RET_* with its data) of a call.

    number: as the kernel puts it into ``seccomp_data.nr``.
    token: AUDIT_ARCH_* of the caller.
    arguments: up to six, unsigned 64 bit; missing ones are 0.
    """
    six = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number & _WORD32, token, instruction_pointer, *six)
    return _Interpreter(program, data).run()


class _Interpreter:
    def __init__(self, program: list[Instruction], data: bytes) -> None:
        self.program = program
        self.words: tuple[int, ...] = struct.unpack(f"<{len(data) // 4}I", data)
        self.a = 0
        self.x = 0
        self.scratch = [0] * _SCRATCH_WORDS

    def run(self) -> int:
        at = 0
        while 0 <= at < len(self.program):
            each = self.program[at]
            code, _, _, k = each
            at += 1
            match code & 0x07:
                case 0:
                    self.a = self.load(code, k)
                case 1:
                    self.x = self.load(code, k)
                case 2:
                    self.scratch[k] = self.a
                case 3:
                    self.scratch[k] = self.x
                case 4:
                    self.a = self.compute(code, k)
                case 5:
                    at += self.skip(each)
                case 6:
                    return self.a if code & 0x18 == _FROM_A else k
                case 7:
                    if code & 0xF8 == _TXA:
                        self.a = self.x
                    else:
                        self.x = self.a
        raise BadProgramError(f"execution left the program at instruction {at}")

    def skip(self, each: Instruction) -> int:
        if each.code & 0xF0 == _JA:
            return each.k
        return each.jt if holds(each, self.a, self.x if each.code & _FROM_X else None) else each.jf

    def load(self, code: int, k: int) -> int:
        match code & 0xE0:
            case 0x00:
                return k
            case 0x20:
                if k % 4 or code & 0x18 or not 0 <= k // 4 < len(self.words):
                    raise BadProgramError(f"load of {k}: only aligned words of seccomp_data")
                return self.words[k // 4]
            case 0x60:
                return self.scratch[k]
            case 0x80:
                return len(self.words) * 4
        raise BadProgramError(f"load {code:#x} is not allowed in a seccomp filter")

    def compute(self, code: int, k: int) -> int:
        operand = self.x if code & _FROM_X else k
        operation = _ALU.get(code & 0xF0)
        if operation is None or (operation is operator.floordiv and operand == 0):
            raise BadProgramError(f"operation {code:#x} on {operand}")
        return operation(self.a, operand) & _WORD32

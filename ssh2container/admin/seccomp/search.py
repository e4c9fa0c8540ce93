"""One search by the number of a call, and behind it what a program does with that number.

Linked stages (:func:`.bpf.link`) each look the number up anew, and name every number that they permit.
A login pays for that when the kernel takes the program: it translates every instruction, and it runs the
program once for every number, to know which calls are always permitted.
(seccomp_cache_prepare, kernel/seccomp.c).
"""

from __future__ import annotations

from . import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Node = int
    """The place of a node among :class:`_Nodes`."""

_LOAD_WORD, _AND = 0x20, 0x54
_NUMBER, _TOKEN = 0, 4
"""Where seccomp_data has the call's number and its caller's architecture (seccomp(2))."""
_FARTHEST = 253
"""Instructions that a comparison can surely skip, with the two jumps that may be put before its targets."""


def by_number(program: bytes, token: int, numbers: Iterable[int]) -> bytes:
    """Return a program that answers what ``program`` answers to callers of the architecture ``token``.

    It says nothing of others: they have to be sent away before.
    numbers: those at which another answer may begin.
    Raises BadProgramError for what libseccomp does not write, or if the result is too long.
    """
    code = bpf.decode(program)
    nodes = _Nodes()
    runs: list[tuple[int, Node]] = []
    for number in sorted({0, *numbers}):
        node = _Rest(code, number, token, nodes).after(0, number)
        if not runs or runs[-1][1] != node:
            runs.append((number, node))
    load = bpf.Instruction(_LOAD_WORD, 0, 0, _NUMBER)
    return bpf.encode(_Layout(nodes).of(nodes.make(load, _search(runs, nodes))))


def _search(runs: list[tuple[int, Node]], nodes: _Nodes) -> Node:
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    compare = bpf.Instruction(bpf.JUMP_AT_LEAST, 0, 0, runs[middle][0])
    return nodes.make(compare, _search(runs[middle:], nodes), _search(runs[:middle], nodes))


class _Nodes:
    """Instructions with what follows them, equal ones once.

    A return is followed by nothing, a comparison by where it leads if it holds and where if not.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bpf.Instruction, tuple[Node, ...]], Node] = {}
        self.all: list[tuple[bpf.Instruction, tuple[Node, ...]]] = []

    def make(self, instruction: bpf.Instruction, *following: Node) -> Node:
        if len(following) > 1:
            instruction = instruction._replace(jt=0, jf=0)
        node = instruction, following
        if node not in self._known:
            self._known[node] = len(self.all)
            self.all.append(node)
        return self._known[node]


class _Rest:
    """What is left of a program for one number: every comparison with it is decided, the others stay."""

    def __init__(self, code: list[bpf.Instruction], number: int, token: int, nodes: _Nodes) -> None:
        self._code = code
        self._known = {_NUMBER: number, _TOKEN: token}
        self._nodes = nodes
        self._found: dict[tuple[int, int | None], Node] = {}

    def after(self, at: int, value: int | None) -> Node:
        """Return the rest from instruction ``at``.

        value: the number or token that the accumulator holds, None where it holds an argument.
        """
        key = at, value
        if key not in self._found:
            self._found[key] = self._follow(at, value)
        return self._found[key]

    def _follow(self, at: int, value: int | None) -> Node:
        each = self._code[at]
        at += 1
        if each.code == bpf.RETURN:
            return self._nodes.make(each)
        if each.code == bpf.JUMP_ALWAYS:
            return self.after(at + each.k, value)
        if each.code == _LOAD_WORD and each.k in self._known:
            return self.after(at, self._known[each.k])
        if each.code == _LOAD_WORD or (each.code == _AND and value is None):
            return self._nodes.make(each, self.after(at, None))
        if not bpf.is_comparison(each):
            raise bpf.BadProgramError(f"instruction {at - 1} ({each.code:#x}) is none that libseccomp writes")
        if value is not None:
            return self.after(at + (each.jt if bpf.holds(each, value) else each.jf), value)
        yes, no = self.after(at + each.jt, None), self.after(at + each.jf, None)
        return yes if yes == no else self._nodes.make(each, yes, no)


class _Layout:
    """Places nodes from the last instruction to the first, since a jump only leads forward."""

    def __init__(self, nodes: _Nodes) -> None:
        self._nodes = nodes
        self._reversed: list[bpf.Instruction] = []
        self._places: dict[Node, int] = {}

    def of(self, node: Node) -> list[bpf.Instruction]:
        """Return the program that begins with ``node``."""
        self._place(node)
        return self._reversed[::-1]

    def _place(self, node: Node) -> int:
        """Return how many instructions there are from that of ``node`` to the end."""
        if node not in self._places:
            instruction, following = self._nodes.all[node]
            places = [self._place(each) for each in reversed(following)][::-1]
            if len(places) > 1:
                yes, no = (self._near(place) for place in places)
                instruction = instruction._replace(jt=self._skip(yes), jf=self._skip(no))
            elif places and self._skip(places[0]):
                self._jump(places[0])
            self._reversed.append(instruction)
            self._places[node] = len(self._reversed)
        return self._places[node]

    def _skip(self, place: int) -> int:
        return len(self._reversed) - place

    def _jump(self, place: int) -> int:
        self._reversed.append(bpf.Instruction(bpf.JUMP_ALWAYS, 0, 0, self._skip(place)))
        return len(self._reversed)

    def _near(self, place: int) -> int:
        return place if self._skip(place) <= _FARTHEST else self._jump(place)

"""What the short start runs once in place of a session, to tell what has been written to (:mod:`.written`).

Like ``loading.py`` it runs in an interpreter of which only the core has started.
"""

from __future__ import annotations

import posix as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_PAGE = os.sysconf("SC_PAGE_SIZE")
_SHORTEST = 8
"""Pages in a row: fewer cost as much to ask for as to wait for."""
_PRESENT, _OF_FILE = 1 << 63, 1 << 61
"""Bits of an entry of /proc/PID/pagemap (proc(5))."""


def start(*_: object, **__: object) -> NoReturn:
    """Write a line for each run of pages: where it begins, counted from the program's begin, and its size."""
    # The program is mapped at the lowest addresses: its code, its data, then what its data has no file for.
    lines = [line.split() for line in _read("/proc/self/maps", 0, _PAGE).splitlines()]
    begin = _place(lines[0][0])[0]
    path = lines[0][-1]
    parts = [_place(words[0]) for words in lines if words[1] == b"rw-p" and words[-1] == path]
    for first, end in parts:
        size = 8 * (end - first) // _PAGE
        entries = _read("/proc/self/pagemap", 8 * first // _PAGE, size)
        run = 0
        for at in range(0, size + 8, 8):
            entry = int.from_bytes(entries[at : at + 8], "little")
            if entry & _PRESENT and not entry & _OF_FILE:
                run += _PAGE
                continue
            if run >= _SHORTEST * _PAGE:
                os.write(1, b"%d %d\n" % (first - begin + at // 8 * _PAGE - run, run))
            run = 0
    os._exit(0)


def _read(path: str, offset: int, size: int) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    found = os.pread(file, size, offset)
    os.close(file)
    return found


def _place(words: bytes) -> tuple[int, int]:
    first, end = words.split(b"-")
    return int(first, 16), int(end, 16)

"""Asking the kernel about processes that may keep it from answering.

What is behind a mount, or behind a page of a mapped file, may be a server that is gone, and whoever looks
waits with it. So a child asks, one process after the other, and who waits for the child has a deadline: the
process at which it stays silent has no answer, and another child goes on with the next.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from ssh2container.admin.sessions import impersonate
from ssh2container.kernel import process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    Question = Callable[[int], tuple[int, ...]]

PATIENCE_S = 2.0
_MOST_SILENT = 3
"""So many processes are waited for; a host with more of them has other troubles than these numbers."""


def each(
    pids: Sequence[int], question: Question, patience_s: float = PATIENCE_S
) -> dict[int, tuple[int, ...]]:
    """Return what ``question`` answers of each of ``pids``.

    It is asked in a child, and raises OSError or ValueError where there is nothing to say: such a process is
    missing, as is one that it never answers of.
    """
    found: dict[int, tuple[int, ...]] = {}
    left = list(pids)
    for _ in range(_MOST_SILENT):
        if not left:
            break
        answers = _ask(left, question, patience_s)
        found |= {pid: answer for pid, answer in zip(left, answers, strict=False) if answer}
        left = left[len(answers) + 1 :]  # without the one that it waits for
    return found


def _ask(pids: Sequence[int], question: Question, patience_s: float) -> list[tuple[int, ...]]:
    """Have a child ask of all ``pids``; return its answers as far as they came, () for nothing to say."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = impersonate.fork()
    if child == 0:
        _answer(pids, question, writer)
    os.close(writer)
    answers: list[tuple[int, ...]] = []
    heard = b""
    deadline = time.monotonic() + patience_s
    try:
        while len(answers) < len(pids):
            if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
                break
            piece = os.read(reader, 1 << 16)
            if not piece:
                break
            *lines, heard = (heard + piece).split(b"\n")
            answers += (tuple(map(int, line.split())) for line in lines)
            deadline = time.monotonic() + patience_s
    finally:
        os.close(reader)
        _end(child)
    return answers


def _end(child: int) -> None:
    """End the child, and collect it unless it waits where no signal reaches it."""
    os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 1.0
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.001)


def _answer(pids: Sequence[int], question: Question, writer: int) -> NoReturn:
    """In the child: write a line for each of ``pids``, an empty one where there is nothing to say."""
    try:
        process.die_with_parent(signal.SIGKILL)
        for pid in pids:
            try:
                answer = b" ".join(b"%d" % number for number in question(pid))
            except (OSError, ValueError):
                answer = b""
            os.write(writer, answer + b"\n")
    finally:
        os._exit(0)

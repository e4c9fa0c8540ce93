"""Executing programs from a probe: the static helper from memory, or a function that executes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container.admin.verify.probe import require
from ssh2container.admin.verify.verdicts import Skipped
from ssh2container.kernel.process import read_rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh2container.admin.verify.surroundings import Surroundings

NOT_HERE = 77
"""The helper's exit status where this machine has no such thing, as for Automake's skipped tests."""


def spawn(execute: Callable[[], object]) -> tuple[str, int]:
    """Run ``execute`` in a child whose output is returned with its raw wait status."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            execute()
        finally:
            os._exit(127)
    os.close(writer)
    told = read_rest(reader)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return told.decode(errors="backslashreplace"), status


def start_helper(surroundings: Surroundings, *arguments: str) -> tuple[str, int]:
    """Execute the static helper from memory (memfd_create(2), fexecve(3)): output, raw wait status."""
    code = surroundings.need_helper()
    # Not close-on-exec would be a descriptor too many for the helper; fexecve needs none of the path.
    memory = os.memfd_create("helper", os.MFD_CLOEXEC)
    os.write(memory, code)
    return spawn(lambda: os.execve(memory, ["helper", *arguments], {}))  # noqa: S606


def run_helper(surroundings: Surroundings, *arguments: str) -> str:
    """Return the helper's output. Raises Skipped where it says that this machine has no such thing."""
    output, status = start_helper(surroundings, *arguments)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == NOT_HERE:
        raise Skipped(output.strip())
    require(status == 0, f"the helper ended with {status:#x}: {output}")
    return output

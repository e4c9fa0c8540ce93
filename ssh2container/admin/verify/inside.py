"""The payload of a verification: a process per probe, behind the session's own walls.

Everything is imported before the container is made; nothing here opens a file of the image.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
from typing import TYPE_CHECKING, NoReturn

from ssh2container.admin.verify.probe import Probe
from ssh2container.admin.verify.surroundings import Surroundings, weaker_filter
from ssh2container.admin.verify.verdicts import EXPECTED, FAIL, PASS, SKIPPED, WEAK, Escaped, Skipped, Weak
from ssh2container.kernel import process

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEADLINE_SECONDS = 120
_LONGEST_DETAIL = 1000
_MOST_BYTES = 4096
"""PIPE_BUF: a message of this size arrives whole (pipe(7))."""
_LAST_DESCRIPTOR = 1024


def run(surroundings: Surroundings, probes: Sequence[Probe]) -> int:
    """Make every attempt and print a JSON line for each: name, result, detail, key."""
    surroundings.descriptors = _open_descriptors()
    # execve(2) would have done it; without it /proc shows this process's files as root's.
    process.set_dumpable(dumpable=True)
    for probe in probes:
        outcome, detail, excusable = attempt(probe, surroundings)
        key = ""
        if outcome == FAIL and excusable:
            key = probe.excuse(surroundings) or weaker_filter(surroundings, probe.calls)
            if key:
                outcome = EXPECTED
        line = json.dumps({"name": probe.name, "result": outcome, "detail": detail, "key": key}) + "\n"
        os.write(1, line.encode())
    return 0


def attempt(probe: Probe, surroundings: Surroundings) -> tuple[str, str, bool]:
    """Run one probe in a process of its own; return its result, what was seen, whether it is excusable."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_probe(probe, surroundings, writer)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], _DEADLINE_SECONDS)
    message = os.read(reader, _MOST_BYTES) if ready else b""
    os.close(reader)
    if not ready:
        _kill_group(child)
    _, status = os.waitpid(child, 0)
    _kill_group(child)  # what it left behind must not meet the next probe
    if message:
        outcome, detail, excusable = json.loads(message)
        return outcome, detail, excusable
    if not ready:
        return FAIL, f"no answer within {_DEADLINE_SECONDS} s", False
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS and not probe.works:
        return PASS, "ended by the filter (SIGSYS)", False
    return FAIL, f"ended without an answer, wait status {status:#x}", False


def _be_the_probe(probe: Probe, surroundings: Surroundings, writer: int) -> NoReturn:
    try:
        os.setsid()
        outcome, detail, excusable = _judge(probe, surroundings)
        text = json.dumps([outcome, detail[:_LONGEST_DETAIL], excusable]).encode()
        if len(text) > _MOST_BYTES:
            text = json.dumps([outcome, "(too long to tell)", excusable]).encode()
        os.write(writer, text)
    finally:
        os._exit(0)


def _judge(probe: Probe, surroundings: Surroundings) -> tuple[str, str, bool]:
    try:
        return PASS, probe.attempt(surroundings), False
    except Weak as reason:
        return WEAK, str(reason), False
    except Skipped as reason:
        return SKIPPED, str(reason), False
    except Escaped as hole:
        return FAIL, str(hole), hole.excusable
    except Exception as error:  # noqa: BLE001 - a probe that breaks has shown nothing, least of all a pass
        return FAIL, f"the probe itself failed: {type(error).__name__}: {error}", False


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _open_descriptors() -> tuple[int, ...]:
    found = []
    for descriptor in range(3, _LAST_DESCRIPTOR):
        try:
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
        except OSError:
            continue
        found.append(descriptor)
    return tuple(found)

"""Running a verification from outside, and what comes of it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from ssh2container.admin.verify import entered, lifecycle
from ssh2container.admin.verify.corpus import PROBES
from ssh2container.admin.verify.verdicts import FAIL, PASS, RESULTS, SKIPPED, WEAK, Escaped, Skipped, Weak
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssh2container.admin.verify.sessions import Starter

    Row = dict[str, str]
    Advance = Callable[[str], None]

_LONGEST_LINE = 16384
_DEADLINE_SECONDS = 60


def verify(starter: Starter, advance: Advance = lambda _: None) -> list[Row]:
    """Open sessions as ``starter``'s user, make every attempt, and return the rows of the report.

    Raises SessionError when the user's policy allows no session at all.
    """
    rows = list(inside(starter, advance))
    for probe in (*lifecycle.PROBES, *entered.PROBES):
        advance(probe.name)
        outcome, detail = _judge(probe, starter)
        rows.append(_row(probe.name, probe.group, probe.source, outcome, detail))
    null = subprocess.DEVNULL
    starter.start("tidy", stdin=null, stdout=null, stderr=null).wait(_DEADLINE_SECONDS)
    return rows


def inside(starter: Starter, advance: Advance = lambda _: None) -> Iterator[Row]:
    """Run the corpus in one session and yield its rows; a probe that is not heard of has failed."""
    known = {probe.name: probe for probe in PROBES}
    process = starter.start("probes", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout and process.stderr  # noqa: S101, PT018 - both are pipes
    try:
        while line := process.stdout.readline(_LONGEST_LINE):
            answer = _parse(line)
            if "error" in answer:
                raise SessionError("no session could be opened", answer["error"], step="verify")
            probe = known.pop(answer.get("name", ""), None)
            if probe is None or answer.get("result") not in RESULTS:
                continue  # the user's side of the pipe may hold anything
            advance(probe.name)
            yield _row(
                probe.name,
                probe.group,
                probe.source,
                answer["result"],
                answer.get("detail", ""),
                answer.get("key", ""),
            )
        said = process.stderr.read(_LONGEST_LINE).decode(errors="backslashreplace").strip()
        status = process.wait(_DEADLINE_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
    if len(known) == len(PROBES):
        raise SessionError("no session could be opened", f"status {status}: {said}", step="verify")
    for probe in known.values():
        why = f"the session ended before it, status {status}: {said}"
        yield _row(probe.name, probe.group, probe.source, FAIL, why)


def _parse(line: bytes) -> Row:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): str(value) for name, value in found.items()}


def _judge(probe: lifecycle.LifeCycle, starter: Starter) -> tuple[str, str]:
    try:
        return PASS, probe.attempt(starter)
    except Weak as reason:
        return WEAK, str(reason)
    except Skipped as reason:
        return SKIPPED, str(reason)
    except Escaped as hole:
        return FAIL, str(hole)
    except (OSError, subprocess.SubprocessError) as error:
        return FAIL, f"the probe itself failed: {type(error).__name__}: {error}"


def _row(name: str, group: str, source: str, outcome: str, detail: str, key: str = "") -> Row:
    return {"name": name, "group": group, "source": source, "result": outcome, "detail": detail, "key": key}


def counts(rows: list[Row]) -> dict[str, int]:
    """Return how many probes had each result."""
    return {outcome: sum(row["result"] == outcome for row in rows) for outcome in RESULTS}


def about(name: str) -> Row:
    """Return what a reader of a kept report wants to know of where it was made."""
    system = os.uname()
    return {"user": name, "host": system.nodename, "kernel": system.release, "machine": system.machine}

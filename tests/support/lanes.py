"""Runs suites side by side, each lane on a machine of its own, and tells of them as of one run of pytest.

A lane's machine is a copy of this one, of which an overlay may stand for the largest part: own files,
processes, devices, /run, and a network of its own unless it fetches something. One lane keeps this machine's
files; it sees none of the others' processes either. Where no such machine can be made, everything runs in
place.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence

from support import disk, room
from support.copying import Source
from support.deal import plans
from support.one_lane import Lane, remove
from support.outcome import IN_PLACE, WATCHED, closing_line, headline, merged
from support.room import Obstacle
from support.saying import say
from support.times import Times

DEADLINE_SECONDS = 4 * 3600.0
"""A net under a lane that hangs: many times what one takes, on a machine that has other work, too."""
_GRACE_SECONDS = 60.0
_DETAILS = re.compile(
    r"=+ (ERRORS|FAILURES|PASSES|warnings summary.*|short test summary info|.* in [\d.]+s.*) =+$"
)
_SUMMARY = re.compile(r"=+ short test summary info =+$")
_CLOSING = re.compile(r"=+ .* in [\d.]+s( \(.*\))? =+$")
_ENTRY = re.compile(r"(FAILED|ERROR|SKIPPED|XFAIL|XPASS|PASSED) ")


class Run:
    """All lanes of one run."""

    def __init__(self, cache: str, lanes: Iterable[Lane] = ()) -> None:
        self._cache = cache
        self.lanes = list(lanes)
        self.printed: queue.SimpleQueue[tuple[Lane, str | None]] = queue.SimpleQueue()

    def make(self, source: Source, command: list[str], arguments: list[str], checkout: str) -> None:
        """Make and start all machines, side by side. Raises Obstacle, where nothing has run yet."""
        failures: list[str] = []

        def make(number: int, lane: Lane) -> None:
            try:
                lane.make(source, number, checkout)
            except (OSError, subprocess.CalledProcessError) as error:
                failures.append(f"the machine of the lane {lane.plan.name} cannot be made: {error}")

        makers = [threading.Thread(target=make, args=pair) for pair in enumerate(self.lanes)]
        for maker in makers:
            maker.start()
        try:
            for maker in makers:
                maker.join()
        except KeyboardInterrupt:
            for maker in makers:
                maker.join()  # nothing is removed while it is still being made
            raise
        if failures:
            raise Obstacle(failures[0])
        for lane in self.lanes:
            lane.start([*command, *lane.plan.paths, *arguments])

    def watch(self) -> None:
        """Let all tests run; print each lane's lines as they get complete, until the details of its tests."""
        for lane in self.lanes:
            lane.begin(self.printed)
        width = max(len(lane.plan.name) for lane in self.lanes)
        running = set(self.lanes)
        until = time.monotonic() + DEADLINE_SECONDS
        while running:
            try:
                lane, line = self.printed.get(timeout=max(until - time.monotonic(), 0.001))
            except queue.Empty:
                for lane in running:
                    lane.lines.append(f"tests/run: the lane {lane.plan.name} was ended at its deadline")
                    lane.end()
                return
            if line is None:
                lane.wait()
                running.discard(lane)
            elif lane.lines or _DETAILS.fullmatch(line):
                lane.lines.append(line)
            elif line:
                say(f"{lane.plan.name:{width}} | {line}")

    def interrupt(self) -> None:
        """Have all stop as after Ctrl-C, then end what did not."""
        for lane in self.lanes:
            lane.interrupt()
        until = time.monotonic() + _GRACE_SECONDS
        running = {lane for lane in self.lanes if lane.status is None}
        while running and time.monotonic() < until:
            try:
                lane, line = self.printed.get(timeout=max(until - time.monotonic(), 0.001))
            except queue.Empty:
                break
            if line is None:
                lane.wait()
                running.discard(lane)
            else:
                lane.lines.append(line)

    def end(self) -> None:
        for lane in self.lanes:
            lane.end()

    def spans(self) -> dict[str, tuple[float, float]]:
        """From when to when each file of tests ran."""
        return {
            f"{name} ({lane.plan.name})": (times.began, times.ended)
            for lane in self.lanes
            for name, times in lane.outcome.files.items()
        }

    def tell(self, seconds: float, checkout: str, notes: Sequence[str] = ()) -> int:
        """Print what failed, the summaries and the closing line; note the times; return the exit status.

        notes: lines that come before the closing one.
        """
        outcomes = [lane.outcome for lane in self.lanes]
        parts = [parted(lane.lines) for lane in self.lanes]
        for details, _ in parts:
            for line in details:
                say(line)
        say(headline("short test summary info"))
        # As pytest sorts them: what failed comes last.
        summary = [entry for _, entries in parts for entry in entries]
        summary += [lane.ended for lane in self.lanes if lane.ended]
        for entry in sorted(summary, key=lambda entry: entry.startswith(("FAILED", "ERROR"))):
            say(entry)
        whole = merged(outcomes)
        times = Times.read(self._cache)
        times.add(whole)
        times.lanes, times.seconds = [lane.times for lane in self.lanes], seconds
        try:
            times.write(self._cache, checkout)
        except OSError as error:
            say(f"tests/run: what this run took is not noted: {error}")
        for line in notes:
            say(line)
        say(closing_line(whole.counts, seconds))
        return whole.status


def parted(lines: list[str]) -> tuple[list[str], list[str]]:
    """The details of tests, and the entries of the summary, of what a pytest has printed at its end.

    An entry is a line. Where the environment tells pytest that this is a CI, it prints messages whole: then
    those of several lines are one entry of several lines.
    """
    lines = lines[:]
    closing = [number for number, line in enumerate(lines) if _CLOSING.fullmatch(line)]
    after = lines[closing[-1] + 1 :] if closing else []
    if closing:
        del lines[closing[-1] :]
    heads = [number for number, line in enumerate(lines) if _SUMMARY.fullmatch(line)]
    start = heads[-1] if heads else len(lines)
    entries: list[str] = []
    for line in lines[start + 1 :]:
        if entries and not _ENTRY.match(line):
            entries[-1] += "\n" + line
        else:
            entries.append(line)
    return lines[:start], entries + after


def _in_place(why: object, command: list[str]) -> None:
    """Become a run of pytest that runs everything in place; it says at its end again why."""
    os.environ[IN_PLACE] = f"tests/run: one suite after the other, in place: {why}"
    say(os.environ[IN_PLACE])
    os.execv(command[0], command)  # noqa: S606  # what a run in place is


def main(cache: str, python: str, suites: str, *arguments: str) -> int:
    """Run ``suites`` (names, separated by spaces) of the checkout that is the working directory."""
    began = time.monotonic()
    os.environ.pop("PYTHONPATH", "")
    checkout = os.getcwd()
    place = f"{cache}/lanes"
    command = [python, "-m", "pytest"]
    remove(place)  # what a killed run has left: its processes died with it
    chosen = plans(suites.split(), checkout)
    everything = [*command, *(f"tests/{suite}" for suite in suites.split()), *arguments]
    if len(chosen) == 1:
        os.execv(python, everything)  # noqa: S606  # what a run in place is
    watched = os.environ.pop(WATCHED, "")
    run, watch = Run(cache), disk.Watch(cache)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        try:
            os.mkdir(place, 0o700)
            found = room.find(cache, place, len(chosen) - 1, checkout)
            chosen = plans(suites.split(), checkout, found.machines + 1)
            names = ", ".join(plan.name for plan in chosen)
            say(f"tests/run: side by side, each on a machine of its own, {found.why}: {names}")
            for line in disk.opening(cache, found.needed):
                say(line)
            run.lanes = [Lane(plan, f"{place}/{plan.name}", found.shared) for plan in chosen]
            run.make(found.source, command, list(arguments), checkout)
        except (Obstacle, OSError, subprocess.CalledProcessError) as obstacle:
            run.end()
            remove(place)
            watch.end()
            os.environ[WATCHED] = watched
            _in_place(obstacle, everything)
        try:
            run.watch()
        except KeyboardInterrupt:
            run.interrupt()
        run.end()
        notes = disk.closing(watch.end(), watch.began, run.spans())
        return run.tell(time.monotonic() - began, checkout, notes)
    except KeyboardInterrupt:
        say("tests/run: interrupted before a test ran")
        return 2
    finally:
        run.end()
        remove(place)
        say.flush()


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

"""A plugin of pytest that notes what a run came to, and what each file of tests took."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Generator

import pytest

from support import disk
from support.outcome import IN_PLACE, OWN_INIT, STDOUT, TOLD, WATCHED, FileTimes, Outcome
from support.room import needed_bytes
from support.times import Times

_own_init = bool(os.environ.pop(OWN_INIT, ""))
_in_place = os.environ.pop(IN_PLACE, "")
_watched = os.environ.pop(WATCHED, "")
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """Time on a processor of this process, its ended children, and of orphans where pid 1 is ours."""
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    if _own_init:
        with open("/proc/1/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        used += (int(fields[13]) + int(fields[14])) / _TICKS  # cutime and cstime of proc_pid_stat(5)
    return used


class Recorder:
    """A plugin that notes the time of each file, and writes the outcome at the run's end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: dict[str, FileTimes] = {}
        self._collected: Counter[str] = Counter()
        self._partial: set[str] = set()
        self._watch: disk.Watch | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        if _watched and terminal:
            suites = {path.split("/")[1] for path in session.config.args if path.startswith("tests/")}
            for line in disk.opening(_watched, needed_bytes(suites)):
                terminal.write_line(line)
            self._watch = disk.Watch(_watched)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._partial.update(_file(item.nodeid) for item in items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected.update(_file(item.nodeid) for item in session.items)
        self._partial.update(_file(argument) for argument in session.config.args if "::" in argument)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        clock, processor = time.monotonic(), processor_seconds()
        self._files.setdefault(_file(item.nodeid), FileTimes(began=time.time()))
        try:
            return (yield)
        finally:
            times = self._files[_file(item.nodeid)]
            times.tests += 1
            times.ended = time.time()
            times.seconds += time.monotonic() - clock
            times.processor += processor_seconds() - processor

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        if self._watch:
            spans = {name: (times.began, times.ended) for name, times in self._files.items()}
            for line in disk.closing(self._watch.end(), self._watch.began, spans):
                terminalreporter.write_line(line)
        if _in_place:
            terminalreporter.write_line(_in_place)
        for name, times in self._files.items():
            times.whole = times.tests == self._collected[name] and name not in self._partial
        counts = {
            word: sum(getattr(report, "count_towards_summary", True) for report in reports)
            for word, reports in terminalreporter.stats.items()
            if word
        }
        outcome = Outcome(int(exitstatus), counts, self._files)
        if self._path == STDOUT:
            terminalreporter.write_line(TOLD + outcome.text())
            return
        try:
            outcome.write(self._path)
            add_times(outcome, os.path.dirname(self._path), str(terminalreporter.config.rootpath))
        except OSError as error:
            terminalreporter.write_line(f"tests/run: what this run took is not noted: {error}")


def add_times(outcome: Outcome, cache: str, top: str) -> None:
    """Note in the cache of tests/run what a run has taken. Raises OSError."""
    known = Times.read(cache)
    known.add(outcome)
    known.write(cache, top)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]

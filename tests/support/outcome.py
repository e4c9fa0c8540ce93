"""What a run of pytest came to: counts, exit status, the time of each file; of several runs, as of one."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

VARIABLE = "SSH2CONTAINER_TESTS_OUTCOME"
"""The environment variable that names the file to write a run's outcome to, in the cache of tests/run, or is
:data:`STDOUT`."""
STDOUT = "-"
"""In place of a file: a line of the run's stdout has its outcome, which then takes nothing of a full disk."""
TOLD = "tests/run: outcome: "
"""What that line begins with."""
OWN_INIT = "SSH2CONTAINER_TESTS_LANE"
"""Set for runs whose pid 1 is theirs alone: the time of the orphans that it has waited for is theirs too."""
IN_PLACE = "SSH2CONTAINER_TESTS_IN_PLACE"
"""The environment variable that says why suites that could run side by side run one after the other."""
WATCHED = "SSH2CONTAINER_TESTS_WATCHED"
"""The environment variable that names the cache of tests/run where the run is to tell of its disks."""


@dataclass
class FileTimes:
    """What one file of tests took.

    seconds: by the clock. processor: of these, on a processor. whole: whether all of its tests have run.
    began, ended: of its first and last test, as time.time() has it.
    """

    tests: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    whole: bool = True
    began: float = 0.0
    ended: float = 0.0


@dataclass
class Outcome:
    """A run that has ended. counts: by pytest's words ("passed"). files: by path from the checkout's top."""

    status: int
    counts: dict[str, int] = field(default_factory=dict)
    files: dict[str, FileTimes] = field(default_factory=dict)

    def text(self) -> str:
        """The outcome in one line."""
        return json.dumps(asdict(self))

    def write(self, path: str) -> None:
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(self.text())
        os.rename(path + ".new", path)

    @classmethod
    def read(cls, path: str) -> Outcome | None:
        """The outcome in the file ``path``; None when the run did not come to write it."""
        try:
            with open(path, encoding="utf-8") as file:
                return cls.parse(file.read())
        except FileNotFoundError:
            return None

    @classmethod
    def parse(cls, text: str) -> Outcome | None:
        """The outcome that :meth:`text` has made one line of; None for anything else."""
        try:
            known = json.loads(text)
        except ValueError:
            return None
        files = {name: FileTimes(**times) for name, times in known["files"].items()}
        return cls(known["status"], known["counts"], files)


_WORDS = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warnings", "error")
"""In the order of pytest's closing line."""


def closing_line(counts: dict[str, int], seconds: float, width: int = 80) -> str:
    """The closing line as pytest writes it."""
    parts = []
    for word in (*_WORDS, *(set(counts) - set(_WORDS))):
        number = counts.get(word, 0)
        if number:
            parts.append(f"{number} {_number_of(word, number)}")
    took = f"{seconds:.2f}s"
    if seconds >= 60:
        hours, rest = divmod(int(seconds), 3600)
        took += f" ({hours}:{rest // 60:02}:{rest % 60:02})"
    return headline(f"{', '.join(parts) or 'no tests ran'} in {took}", width)


def headline(title: str, width: int = 80) -> str:
    """A line of equals signs around ``title``, as pytest draws it."""
    fill = "=" * max((width - len(title) - 2) // 2, 1)
    line = f"{fill} {title} {fill}"
    return line + "=" if len(line) < width else line


def _number_of(word: str, number: int) -> str:
    if word == "error" and number != 1:
        return "errors"
    return "warning" if word == "warnings" and number == 1 else word


_GRAVEST = (3, 4, 2, 1)
"""pytest's exit statuses, the one that a run of several would have first: an internal error, wrong usage, an
interrupted run, failures (pytest.ExitCode)."""
_EMPTY = 5


def merged(outcomes: Iterable[Outcome]) -> Outcome:
    """Several runs as one: counts added, and the exit status that one run of all these tests would have."""
    counts: Counter[str] = Counter()
    files: dict[str, FileTimes] = {}
    statuses: set[int] = set()
    for outcome in outcomes:
        counts.update(outcome.counts)
        files.update(outcome.files)
        statuses.add(outcome.status)
    if statuses - {0, *_GRAVEST, _EMPTY}:
        status = 3  # no pytest's: something else has ended it
    elif statuses <= {_EMPTY}:
        status = _EMPTY
    else:
        status = next((code for code in _GRAVEST if code in statuses), 0)
    return Outcome(status, dict(counts), files)

"""Where the time of the tests goes: what each file took when it last ran as a whole, as a table."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from support.outcome import FileTimes, Outcome

NAME = "times.json"
"""In the cache of tests/run."""


@dataclass
class LaneTimes:
    """What one lane of the last run side by side took, its machine included."""

    name: str
    seconds: float
    processor: float


@dataclass
class Times:
    """What is known: of each file, and of the lanes of the last run side by side (``seconds`` in all)."""

    files: dict[str, FileTimes] = field(default_factory=dict)
    lanes: list[LaneTimes] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def read(cls, cache: str) -> Times:
        try:
            with open(f"{cache}/{NAME}", encoding="utf-8") as file:
                known = json.load(file)
        except (FileNotFoundError, ValueError):
            return cls()
        return cls(
            {name: FileTimes(**times) for name, times in known["files"].items()},
            [LaneTimes(**times) for times in known["lanes"]],
            known["seconds"],
        )

    def add(self, outcome: Outcome) -> None:
        """Take what ran as a whole; a file of which only some tests ran stays as it was known."""
        self.files.update({name: times for name, times in outcome.files.items() if times.whole})

    def write(self, cache: str, top: str) -> None:
        """Keep it in the cache, without files that are no longer below ``top``. Raises OSError."""
        self.files = {name: times for name, times in self.files.items() if os.path.exists(f"{top}/{name}")}
        # A name that no other run takes: processes of several machines may have one number.
        descriptor, new = tempfile.mkstemp(prefix=f"{NAME}.", dir=cache)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file, indent=1)
            os.rename(new, f"{cache}/{NAME}")
        except OSError:
            os.unlink(new)
            raise


def _row(suite: str, name: str, tests: str, seconds: float, processor: float) -> str:
    busy = f"{100 * processor / seconds:.0f} %" if seconds else "-"
    return f"{suite:8} {name:34} {tests:>6} {seconds:>9.1f} {processor:>10.1f} {busy:>6}"


def table(times: Times) -> Iterable[str]:
    """The lines of the table: files (slowest first), suites, lanes and the sum."""
    yield f"{'suite':8} {'file':34} {'tests':>6} {'seconds':>9} {'processor':>10} {'busy':>6}"
    suites: dict[str, FileTimes] = {}
    for path, one in sorted(times.files.items(), key=lambda pair: -pair[1].seconds):
        _, suite, name = path.split("/", 2)
        yield _row(suite, name, str(one.tests), one.seconds, one.processor)
        total = suites.setdefault(suite, FileTimes())
        total.tests += one.tests
        total.seconds += one.seconds
        total.processor += one.processor
    yield ""
    for suite, one in sorted(suites.items(), key=lambda pair: -pair[1].seconds):
        yield _row(suite, "all files", str(one.tests), one.seconds, one.processor)
    every = suites.values()
    yield _row(
        "all",
        "one after the other",
        str(sum(one.tests for one in every)),
        sum(one.seconds for one in every),
        sum(one.processor for one in every),
    )
    if times.lanes:
        yield ""
        for lane in times.lanes:
            yield _row("lane", lane.name, "", lane.seconds, lane.processor)
        yield _row(
            "all", "lanes side by side", "", times.seconds, sum(lane.processor for lane in times.lanes)
        )


def main(cache: str) -> int:
    """Print the table of what is known in ``cache``."""
    times = Times.read(cache)
    if not times.files:
        sys.stderr.write(
            f"tests/run: no times are known yet, runs of whole files note them in {cache}/{NAME}\n"
        )
        return 1
    sys.stdout.writelines(line + "\n" for line in table(times))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

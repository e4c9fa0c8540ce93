"""The text that node_exporter's textfile collector reads: Prometheus' exposition format, version 0.0.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container import __version__
from ssh2container.admin.metrics import counters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ssh2container.admin.metrics.state import State

PREFIX = "ssh2container_"
COLLECTED = "/var/lib/prometheus/node-exporter/ssh2container.prom"
"""Where node_exporter finds the text on Debian."""
GAUGES = {
    "info": "The version of ssh2container.",
    "sessions": "Sessions that run, by kind.",
    "containers": "Containers that run and that logins share.",
    "counted_since_timestamp_seconds": "When the counters began with 0.",
}
"""Name without prefix -> help."""


def names() -> set[str]:
    """Return the names of all metrics."""
    of_starts = {f"{PREFIX}{counters.START}{end}" for end in ("_bucket", "_sum", "_count")}
    found = {PREFIX + name for name in GAUGES} | {f"{PREFIX}{name}_total" for name in counters.COUNTERS}
    return found | of_starts


def text(state: State, running: Mapping[str, int], containers: int) -> str:
    """Return the whole exposition. running: how many sessions of each kind of :data:`counters.KINDS`."""
    return "".join(f"{line}\n" for line in _lines(state, running, containers))


def _lines(state: State, running: Mapping[str, int], containers: int) -> Iterator[str]:
    yield from _head("info", GAUGES["info"], "gauge")
    yield _sample("info", "version", __version__, 1)
    yield from _head("sessions", GAUGES["sessions"], "gauge")
    for kind in counters.KINDS:
        yield _sample("sessions", "kind", kind, running.get(kind, 0))
    yield from _head("containers", GAUGES["containers"], "gauge")
    yield _sample("containers", "", "", containers)
    since = "counted_since_timestamp_seconds"
    yield from _head(since, GAUGES[since], "gauge")
    yield _sample(since, "", "", round(state.since, 3))
    for name, (about, label, values) in counters.COUNTERS.items():
        yield from _head(f"{name}_total", about, "counter")
        for value in values or ("",):
            number: float = state.counted[name, value]
            if name in counters.PER_SECOND:
                number /= counters.PER_SECOND[name]
            yield _sample(f"{name}_total", label, value, number)
    about = "How long sessions took from the login shell's first work until their program was executed."
    yield from _head(counters.START, about, "histogram")
    within, total = counters.starts(state.counted)
    for bound, number in within.items():
        yield _sample(f"{counters.START}_bucket", "le", bound, number)
    yield _sample(f"{counters.START}_sum", "", "", total)
    yield _sample(f"{counters.START}_count", "", "", within["+Inf"])


def _head(name: str, about: str, kind: str) -> tuple[str, str]:
    return f"# HELP {PREFIX}{name} {about}", f"# TYPE {PREFIX}{name} {kind}"


def _sample(name: str, label: str, value: str, number: float) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{PREFIX}{name}{{{label}="{escaped}"}} {number!r}' if label else f"{PREFIX}{name} {number!r}"

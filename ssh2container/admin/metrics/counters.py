"""What is counted in the audit trail, for Prometheus.

Labels have values of the lists here and no others: what a record says, which any local process may have
written, makes no new series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.auditlog import killed, usage
from ssh2container.admin.auditlog.read import STRANGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssh2container.admin.auditlog.read import Record

    Series = tuple[str, str]
    """The name of a counter and the value of its label, "" where it has none."""

OTHER = "other"
KINDS = ("login", "command", "sftp", "sshd", "connect", "info", OTHER)
"""Kinds of sessions (docs/audit.md)."""
STEPS = (
    "access", "account", "agent", "answering", "audit", "descriptors", "home", "hook", "host-key", "hours",
    "identity-map", "image", "info", "join", "key", "keys", "limit", "limits", "namespaces", "network",
    "order", "owner", "policy", "record", "registry", "request", "sessions", "sshd", "system", "tools",
    "volume", "wait", OTHER,
)  # fmt: skip
"""At which step a login is refused or fails."""
ENDS = ("exit", "hangup", "reboot", "recording", *sorted(killed.OF_LIMITS), OTHER)
"""Why sessions end."""
LIMITS = ("memory", "processes", *sorted(killed.OF_LIMITS - {"oom"}))
_MOST = 10**15
"""A larger number in one record is a lie, and would make a counter useless."""

COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "sessions_started": ("Sessions that have started, by kind.", "kind", KINDS),
    "sessions_ended": ("Sessions that have ended, by reason.", "reason", ENDS),
    "logins_refused": ("Logins that the policy or the request forbids, by step.", "step", STEPS),
    "logins_failed": ("Logins whose container could not be made or broke, by step.", "step", STEPS),
    "limit_hits": ("Sessions and containers that met a limit, by limit.", "limit", LIMITS),
    "oom_kills": ("Programs killed because a session had no memory left.", "", ()),
    "processes_refused": ("Processes and threads that a limit refused.", "", ()),
    "recording_failures": ("Recordings that could not start or continue.", "", ()),
    "session_seconds": ("Seconds that ended sessions were connected.", "", ()),
    "cpu_seconds": ("Processor time that ended sessions and containers have used.", "", ()),
    "records_left_out": ("Records that could not be believed.", "why", ("bad", "forged", "strange")),
}
"""Name without prefix and "_total" -> help, label, values of the label."""
_COUNTED = {
    "open": ("sessions_started", "kind"),
    "refused": ("logins_refused", "step"),
    "failed": ("logins_failed", "step"),
    "recording-failed": ("recording_failures", ""),
}
"""Event -> the counter of it, and the field that is its label."""
START = "session_start_seconds"
"""The histogram of how long sessions took until their program was executed."""
BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
"""Of its buckets, in seconds, as Prometheus writes them; each is kept without those below it."""
_STARTED = START + "_sum", ""
"""The series of their sum, in microseconds."""
_LONGEST_START_USEC = 3_600_000_000
"""No start takes an hour: a longer one is a lie."""
PER_SECOND = {"session_seconds": 1_000, "cpu_seconds": 1_000_000}
"""Counters that are kept in parts of a second: how many make one."""


def nothing() -> dict[Series, int]:
    """Return all series, each 0: one that appears later would hide its first step from rate()."""
    counted = {(name, value): 0 for name, (_, _, values) in COUNTERS.items() for value in values or ("",)}
    return counted | {(START, bound): 0 for bound in BOUNDS} | {_STARTED: 0}


def count(counted: dict[Series, int], record: Record) -> None:
    """Count one record."""
    for (name, value), number in _of(record):
        known = COUNTERS[name][2] if name in COUNTERS else ()
        counted[name, value if not known or value in known else OTHER] += number


def _of(record: Record) -> list[tuple[Series, int]]:
    fields = record.fields
    event = fields["event"]
    if record.forged:
        return [(("records_left_out", "forged"), 1)]
    if event == STRANGE:
        return [(("records_left_out", "strange"), 1)]
    if event in _COUNTED:
        name, label = _COUNTED[event]
        return [((name, fields.get(label, "")), 1)]
    if event in ("close", "container-close"):
        used = usage.of_record(fields)
        started = _start(fields) if event == "close" else []
        if used is None or started is None or any(number > _MOST for number in used.values()):
            return [(("records_left_out", "bad"), 1)]
        return _last(fields, used) + started
    return []


def _start(fields: dict[str, str]) -> list[tuple[Series, int]] | None:
    """Count how long a session took to start, where its last record says so; None for what cannot be."""
    if "start_usec" not in fields:
        return []
    try:
        took = usage.number_of(fields["start_usec"])
    except ValueError:
        return None
    if took > _LONGEST_START_USEC:
        return None
    bound = next(bound for bound in BOUNDS if took <= float(bound) * 1e6)
    return [((START, bound), 1), (_STARTED, took)]


def starts(counted: Mapping[Series, int]) -> tuple[dict[str, int], float]:
    """Return how many sessions have started within each of :data:`BOUNDS`, and their sum in seconds."""
    within, total = {}, 0
    for bound in BOUNDS:
        total += counted[START, bound]
        within[bound] = total
    return within, counted[_STARTED] / 1e6


def _last(fields: dict[str, str], used: usage.Figures) -> list[tuple[Series, int]]:
    """Count the last record of a session, or of a container that logins share."""
    reason = fields.get("reason", "")
    found = [
        (("oom_kills", ""), used.get("oom_kills", 0)),
        (("processes_refused", ""), used.get("pids_refused", 0)),
        (("session_seconds", ""), used.get("connected_ms", 0)),
        (("cpu_seconds", ""), used.get("cpu_usec", 0)),
        (("limit_hits", "memory"), int(bool(used.get("oom_kills")) or reason == "oom")),
        (("limit_hits", "processes"), int(bool(used.get("pids_refused")))),
    ]
    if "sessions" in used:
        found.append((("sessions_ended", reason), 1))
        if reason in LIMITS:
            found.append((("limit_hits", reason), 1))
    return found

"""Which records tell of a session that met a limit or was ended, and for what."""

from __future__ import annotations

_BY_US = {
    "max_duration": "ended: max_duration is over",
    "idle_timeout": "ended: nobody typed for idle_timeout",
    "hours": "ended: the hours of the account are over",
    "until": "ended: the account has closed",
    "recording": "ended: the recording could not go on",
}
"""A session's last words on why it ended (docs/audit.md) -> the same for people."""
OF_LIMITS = frozenset(("oom", *_BY_US)) - {"recording"}
"""The last words of sessions that a limit has ended."""
_KILL = "9"
_LONGEST_NUMBER = 18


def why(fields: dict[str, str]) -> str:
    """Say for what a session was killed, or what its limits refused it; "" where nothing of this is told.

    fields: of a record. What they say is whatever its writer wrote: a number that is none counts as none.
    """
    if fields["event"] == "kill":
        return f"killed by {fields.get('by') or 'an administrator'}"
    if fields["event"] != "close":
        return ""
    told = [*_memory(fields), *_processes(fields)]
    reason = fields.get("reason", "")
    if reason in _BY_US:
        told.append(_BY_US[reason])
    elif not told and fields.get("signal") == _KILL and reason != "hangup":
        told.append("killed by SIGKILL: by a program of its own, or as the host ran out of memory")
    if told and fields.get("limits"):
        told.append(f"limits: {fields['limits']}")
    return "; ".join(told)


def _memory(fields: dict[str, str]) -> list[str]:
    killed = _number(fields, "oom_kills")
    if not killed and fields.get("reason") != "oom":
        return []
    peak = _number(fields, "memory_peak")
    used = f", the most used was {peak / (1 << 20):.1f}M" if peak else ""
    ended = "" if fields.get("reason") == "oom" else "; the session went on"
    programs = f"{killed} programs" if killed > 1 else "a program"
    return [f"out of memory: {programs} killed{used}{ended}"]


def _processes(fields: dict[str, str]) -> list[str]:
    refused, peak = _number(fields, "pids_refused"), _number(fields, "pids_peak")
    if not refused:
        return []
    return [f"{refused} times no further process" + (f", the most were {peak}" if peak else "")]


def _number(fields: dict[str, str], name: str) -> int:
    value = fields.get(name, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) <= _LONGEST_NUMBER else 0

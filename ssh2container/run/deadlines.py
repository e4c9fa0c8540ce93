"""Limits in time: when a session is warned, and when it ends. No clock of its own: it is told the time.

Imported only when the plan has such limits.
"""

from __future__ import annotations

from ssh2container.plan.greeting import spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Sessions

NEVER = float("inf")


class Notice:
    """Something that is due.

    final: the session ends now, else it is warned. reason: "idle_timeout" or "max_duration".
    text: for the person, one line.
    """

    __slots__ = ("final", "reason", "text")

    def __init__(self, reason: str, text: str, *, final: bool) -> None:
        self.final = final
        self.reason = reason
        self.text = text


class Deadlines:
    """The limits of one session; all times are of time.monotonic().

    terminal: whether anybody sees its traffic; without one only ``max_duration`` counts.
    due: when :meth:`look` has something to say at the earliest; activity only moves it later, so
    that a busy session is not looked at more often than an idle one.
    """

    def __init__(self, limits: Sessions, started: float, *, terminal: bool) -> None:
        self._idle_s = limits.idle_timeout if terminal else None
        self._longest_s = limits.max_duration
        self._warn_s = limits.warn_before
        self._started = started
        self._warned_of = NEVER
        self.due = 0.0
        self.look(started, started)

    def look(self, now: float, active: float) -> Notice | None:
        """Return what is due at ``now``, if anything. active: when there was input or output last."""
        end, reason, limit_s = self._nearest(active)
        if now >= end:
            self.due = NEVER
            return Notice(reason, f"this session ends now: {_why(reason, limit_s, limit_s)}", final=True)
        # Half the limit at most: a warning is of no use at the first moment.
        warning = end - min(self._warn_s, limit_s / 2)
        if now < warning:
            self.due = warning
            return None
        self.due = end
        if self._warned_of == end or not self._warn_s:
            return None
        self._warned_of = end
        way_out = "; any key keeps it" if reason == "idle_timeout" else ""
        why = _why(reason, limit_s, now - active)
        text = f"this session ends in {spell(end - now)}: {why}{way_out}"
        return Notice(reason, text, final=False)

    def _nearest(self, active: float) -> tuple[float, str, float]:
        ends = []
        if self._longest_s is not None:
            ends.append((self._started + self._longest_s, "max_duration", self._longest_s))
        if self._idle_s is not None:
            ends.append((active + self._idle_s, "idle_timeout", self._idle_s))
        return min(ends, default=(NEVER, "", 0.0))


def _why(reason: str, limit_s: float, idle_s: float) -> str:
    if reason == "idle_timeout":
        return f"nothing was typed or shown for {spell(idle_s)}"
    return f"a session may last {spell(limit_s)}"

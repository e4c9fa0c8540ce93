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

    final: the session ends now, else it is warned. reason: "idle_timeout", "max_duration",
    "hours" or "until".
    text: for the person, one line.
    """

    __slots__ = ("final", "reason", "text")

    def __init__(self, reason: str, text: str, *, final: bool) -> None:
        self.final = final
        self.reason = reason
        self.text = text


class Deadlines:
    """The limits of one session; all times are of time.monotonic(), but for the end of an account's hours.

    terminal: whether anybody sees its traffic; without one only ``max_duration`` counts.
    due: when :meth:`look` has something to say at the earliest; activity only moves it later, so
    that a busy session is not looked at more often than an idle one.
    """

    def __init__(self, limits: Sessions, started: float, *, terminal: bool) -> None:
        self._idle_s = limits.idle_timeout if terminal else None
        self._longest_s = limits.max_duration
        self._warn_s = limits.warn_before
        self._closing = limits.closing
        self._open_s = 0.0 if limits.closing is None else limits.closing.left()
        self._started = started
        self._warned_of = NEVER
        self.due = 0.0
        if self._closing is None:
            self.look(started, started)

    def look(self, now: float, active: float) -> Notice | None:
        """Return what is due at ``now``, if anything. active: when there was input or output last."""
        end, reason, limit_s = self._nearest(now, active)
        if now >= end:
            self.due = NEVER
            return Notice(reason, f"this session ends now: {self._why(reason, limit_s, limit_s)}", final=True)
        # Half the limit at most: a warning is of no use at the first moment.
        warning = end - min(self._warn_s, limit_s / 2)
        latest = NEVER if self._closing is None else now + self._closing.AGAIN_S
        if now < warning:
            self.due = min(warning, latest)
            return None
        self.due = min(end, latest)
        # The same end by the host's clock is never quite the same by ours.
        which = end if self._closing is None or reason != self._closing.reason else self._closing.at
        if self._warned_of == which or not self._warn_s:
            return None
        self._warned_of = which
        way_out = "; press any key to keep it open" if reason == "idle_timeout" else ""
        why = self._why(reason, limit_s, now - active)
        text = f"this session ends in {spell(end - now)}: {why}{way_out}"
        return Notice(reason, text, final=False)

    def _nearest(self, now: float, active: float) -> tuple[float, str, float]:
        ends = []
        if self._closing is not None:
            ends.append((now + self._closing.left(), self._closing.reason, self._open_s))
        if self._longest_s is not None:
            ends.append((self._started + self._longest_s, "max_duration", self._longest_s))
        if self._idle_s is not None:
            ends.append((active + self._idle_s, "idle_timeout", self._idle_s))
        return min(ends, default=(NEVER, "", 0.0))

    def _why(self, reason: str, limit_s: float, idle_s: float) -> str:
        if reason == "idle_timeout":
            return f"nothing was typed or shown for {spell(idle_s)}"
        if reason == "max_duration" or self._closing is None:
            return f"a session may last {spell(limit_s)}"
        return f"this account closes {self._closing.words}"

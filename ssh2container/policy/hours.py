"""When an account is open (``access.hours``, ``from``, ``until``), as written. Imported only where it is."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .policy import Values

    Hours = tuple[int, tuple[tuple[int, int], ...], str]
    """Days as a set of bits, Monday the lowest; (begin, end) in seconds of a day; a zone, "" the host's."""
    Moment = tuple[int, int, int, int | None, str]
    """Year, month, day, second of the day or None where none was written, zone."""

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAILY = "daily"
EVERY_DAY = (1 << len(DAYS)) - 1
DAY_S = 86400
_FEWEST_IN_A_ROW = 3
"""So many days in a row are written as from the first to the last."""


class Times:
    """When logins are admitted.

    hours: None for any. start, end: the first moment and the one after the last, or None.
    moment: what is taken for now, in seconds since the epoch; None is the host's clock.
    """

    __slots__ = ("end", "hours", "moment", "start")

    def __init__(
        self,
        hours: tuple[Hours, ...] | None,
        start: Moment | None,
        end: Moment | None,
        moment: float | None = None,
    ) -> None:
        self.hours = hours
        self.start = start
        self.end = end
        self.moment = moment

    def as_of(self, moment: float | None) -> Times | None:
        """Return the same for another now: for ``explain``, policy tests and rehearsals.

        moment: 0 for the clock's, None for any at which the account is open: then there are no times.
        """
        return None if moment is None else Times(self.hours, self.start, self.end, moment or None)

    def words(self) -> str:
        """Return a line for the person; it changes with the policy alone."""
        parts = []
        if self.hours is not None:
            parts.append("at " + "; ".join(spell_hours(entry) for entry in self.hours))
        if self.end is not None:
            parts.append(f"until {spell_moment(self.end)}")
        if not parts:
            return "This account is open."
        return f"This account is open {', '.join(parts)}; sessions end then."

    def zones(self) -> dict[str, str]:
        """Return the zones that are named -> the key that does."""
        found = {} if self.hours is None else {zone: "access.hours" for _, _, zone in self.hours}
        for key, moment in (("access.from", self.start), ("access.until", self.end)):
            if moment is not None:
                found.setdefault(moment[-1], key)
        return found


class Closing:
    """When sessions have to end.

    at: seconds since the epoch. key: the setting that says so. words: for the person, without the day.
    when: the same with the day, as it is called at the login.
    """

    AGAIN_S = 60.0
    """How often to ask again how much is left: the host's clock may be set meanwhile."""
    __slots__ = ("at", "key", "when", "words")

    def __init__(self, at: float, key: str, words: str, when: str) -> None:
        self.at = at
        self.key = key
        self.words = words
        self.when = when

    @property
    def reason(self) -> str:
        """What the record says of a session that ended for it: "hours" or "until"."""
        return self.key.rpartition(".")[2]

    def left(self) -> float:
        """Return the seconds until then by the host's clock, which may be set meanwhile."""
        return self.at - time.time()


def of(values: Values) -> Times:
    """Return what the settings of a policy say."""
    return Times(values["access.hours"], values["access.from"], values["access.until"])


def spell_hours(hours: Hours) -> str:
    """Return one entry of ``access.hours`` as it is written in a policy."""
    days, ranges, zone = hours
    spans = ",".join(f"{spell_time(begin)}-{spell_time(end)}" for begin, end in ranges)
    return " ".join(part for part in (_spell_days(days), spans, zone) if part)


def spell_moment(moment: Moment) -> str:
    """Return a moment as it is written in a policy."""
    year, month, day, second, zone = moment
    time = "" if second is None else spell_time(second)
    return " ".join(part for part in (f"{year:04}-{month:02}-{day:02}", time, zone) if part)


def spell_time(second: int) -> str:
    """Return a time of day, given in seconds: "08:00", "08:00:30"."""
    minute, rest = divmod(second, 60)
    return f"{minute // 60:02}:{minute % 60:02}" + (f":{rest:02}" if rest else "")


def _spell_days(days: int) -> str:
    if days == EVERY_DAY:
        return DAILY
    parts: list[str] = []
    day = 0
    while day < len(DAYS):
        last = day
        while last < len(DAYS) and days >> last & 1:
            last += 1
        if last - day >= _FEWEST_IN_A_ROW:
            parts.append(f"{DAYS[day]}-{DAYS[last - 1]}")
        else:
            parts += DAYS[day:last]
        day = last + 1
    return ",".join(parts)

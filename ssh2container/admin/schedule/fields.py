"""cron's five fields: what they mean, in systemd's words, and when that is next. Pure.

Sources: crontab(5), and systemd.time(7), "Calendar events". Nothing here knows of zones: a moment is what the
host's clock shows, as for cron and for systemd.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
"""Words that stand for fields (crontab(5), EXTENSIONS)."""
ALLOWED = f"MINUTE HOUR DAY MONTH WEEKDAY, as in 0 4 * * mon-fri, or {', '.join(WORDS)}"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SUNDAY = 7
"""The other number of the first day of the week."""
_FEWEST_IN_A_ROW = 3
_PIECE = re.compile(r"(?:\*|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,2}))?", re.ASCII)
_FIRST_DAY, _MOST_DAYS = (2000, 1, 1), 366 * 8 + 2
"""No date is rarer than a leap day, and between two of them are eight years at most."""


class Wrong(ValueError):
    """A text that says no time. allowed: what it could be."""

    def __init__(self, message: str, allowed: str = ALLOWED) -> None:
        super().__init__(message)
        self.allowed = allowed


class Part:
    """One field.

    any: whether it begins with ``*``: then it restricts no day beside the other field of days.
    text: in numbers, as each cron reads them. values: the numbers that it means.
    """

    __slots__ = ("any", "text", "values")

    def __init__(self, text: str, values: Iterable[int]) -> None:
        self.any = text.startswith("*")
        self.text = text
        self.values = frozenset(values)


class When:
    """The times that five fields name."""

    __slots__ = ("day", "hour", "minute", "month", "weekday")

    def __init__(self, minute: Part, hour: Part, day: Part, month: Part, weekday: Part) -> None:
        self.minute = minute
        self.hour = hour
        self.day = day
        self.month = month
        self.weekday = weekday

    @property
    def cron(self) -> str:
        """The fields as cron is given them."""
        return " ".join(part.text for part in (self.minute, self.hour, self.day, self.month, self.weekday))

    @property
    def either(self) -> bool:
        """Whether either field of days is enough: cron takes both for an "or" where neither is ``*``."""
        return not (self.day.any or self.weekday.any)

    def calendar(self) -> list[str]:
        """Return the same as values of ``OnCalendar=``: a timer that has two elapses with each."""
        hours = "*" if len(self.hour.values) == 24 else _listed(self.hour.values)  # noqa: PLR2004
        minutes = "*" if len(self.minute.values) == 60 else _listed(self.minute.values)  # noqa: PLR2004
        months = "*" if len(self.month.values) == len(_MONTHS) else _listed(self.month.values)
        days = "*" if len(self.day.values) == 31 else _listed(self.day.values)  # noqa: PLR2004
        names = [name.capitalize() for number, name in enumerate(_WEEKDAYS) if number in self.weekday.values]
        week = "" if len(names) == len(_WEEKDAYS) else ",".join(names) + " "
        time = f"{hours}:{minutes}:00"
        if self.either and days != "*" and week:
            return [f"*-{months}-{days} {time}", f"{week}*-{months}-* {time}"]
        if self.either:
            days, week = "*", ""
        return [f"{week}*-{months}-{days} {time}"]

    def on(self, day: date) -> bool:
        """Tell whether there are any on ``day``."""
        if day.month not in self.month.values:
            return False
        found = day.day in self.day.values, day.isoweekday() % len(_WEEKDAYS) in self.weekday.values
        return any(found) if self.either else all(found)

    def following(self, moment: datetime) -> datetime | None:
        """Return the first one after ``moment``, None where there is none at all."""
        from datetime import timedelta  # 3 ms, for which no login waits whose policy has no jobs

        after = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        hours, minutes = sorted(self.hour.values), sorted(self.minute.values)
        for _ in range(_MOST_DAYS):
            for hour in hours if self.on(after.date()) else ():
                for minute in minutes:
                    if (hour, minute) >= (after.hour, after.minute):
                        return after.replace(hour=hour, minute=minute)
            after = after.replace(hour=0, minute=0) + timedelta(days=1)
        return None


def parse(text: str) -> When:
    """Return what ``text`` means: five fields, or one of :data:`WORDS`. Raises Wrong."""
    if text.startswith("@") and text not in WORDS:
        raise Wrong(f"{text!r} is no time")
    words = WORDS.get(text, text).split()
    if len(words) != 5:  # noqa: PLR2004
        raise Wrong(f"{text!r} has {len(words)} field{'' if len(words) == 1 else 's'} in place of 5")
    minute, hour, day, month, weekday = words
    found = When(
        _part("minute", minute, 0, 59),
        _part("hour", hour, 0, 23),
        _part("day of the month", day, 1, 31),
        _part("month", month, 1, 12, _MONTHS),
        _part("day of the week", weekday, 0, _SUNDAY, _WEEKDAYS),
    )
    from datetime import datetime

    if found.following(datetime(*_FIRST_DAY)) is None:  # noqa: DTZ001 - of no zone, see above
        raise Wrong(f"{text!r} never comes: no month that it names has such a day", "a day of the month")
    return found


def _part(what: str, text: str, first: int, last: int, names: tuple[str, ...] = ()) -> Part:
    """Read one field. what: its name; first, last: its numbers; names: of the numbers from ``first`` on."""
    allowed = f"*, numbers from {first} to {last}" + (f", {names[0]} to {names[-1]}" if names else "")
    allowed += ", ranges such as 1-5, steps such as */2 or 1-5/2, and lists of these with commas"
    values: set[int] = set()
    written = []
    for piece in text.lower().split(","):
        match = _PIECE.fullmatch(piece)
        if match is None:
            raise Wrong(f"{piece!r} is no {what}", allowed)
        begin, end, step = match.groups()
        if step is not None and begin is not None and end is None:
            raise Wrong(f"{piece!r} has a step but no range", allowed)
        low = first if begin is None else _number(begin, what, first, last, names, allowed)
        high = (
            last if begin is None else low if end is None else _number(end, what, first, last, names, allowed)
        )
        if end == _WEEKDAYS[0] and low:
            high = _SUNDAY  # fri-sun ends with the week, where a number would be 7
        if low > high:
            raise Wrong(f"{piece!r} ends before it begins", allowed)
        stride = 1 if step is None else int(step)
        if not 1 <= stride <= last:
            raise Wrong(f"the step of {piece!r} is {stride}", f"a step from 1 to {last}")
        values.update(range(low, high + 1, stride))
        span = "*" if begin is None else str(low) if low == high else f"{low}-{high}"
        written.append(span + ("" if step is None or low == high else f"/{stride}"))
    if names is _WEEKDAYS:
        values = {value % len(_WEEKDAYS) for value in values}
    return Part(",".join(written), values)


def _number(text: str, what: str, first: int, last: int, names: tuple[str, ...], allowed: str) -> int:
    if text.isdigit():
        number = int(text)
    elif text in names:
        number = first + names.index(text)
    else:
        raise Wrong(f"{text!r} is no {what}", allowed)
    if not first <= number <= last:
        raise Wrong(f"{number} is no {what}", allowed)
    return number


def _listed(values: Iterable[int]) -> str:
    """Return numbers as systemd lists them, three and more in a row as a range."""
    found: list[list[int]] = []
    for value in sorted(values):
        if found and value == found[-1][-1] + 1:
            found[-1].append(value)
        else:
            found.append([value])
    parts: list[str] = []
    for row in found:
        if len(row) >= _FEWEST_IN_A_ROW:
            parts.append(f"{row[0]:02}..{row[-1]:02}")
        else:
            parts += [f"{value:02}" for value in row]
    return ",".join(parts)

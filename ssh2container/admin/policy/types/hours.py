# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind  # noqa: RUF100
"""When an account is open: hours of the week, and moments."""

# ruff: noqa: ANN401, D102 - values of any type; what each method does stands in kinds.Kind  # noqa: RUF100

from __future__ import annotations

import os
import re

from ssh2container.admin.policy.types import lists
from ssh2container.admin.policy.types.kinds import INVALID, Kind, Report, in_quotes
from ssh2container.admin.policy.yaml.problems import did_you_mean, quoted
from ssh2container.plan.hours import ZONES, fault_of
from ssh2container.policy.hours import DAILY, DAY_S, DAYS, EVERY_DAY, spell_hours, spell_moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ssh2container.admin.policy.yaml.nodes import Node

_ZONE = r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}"
_TIME = r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?"
_FIRST_YEAR, _LAST_YEAR = 1970, 2200
_MOST_ENTRIES = 32
_NO_ZONES = ("posix", "right", "localtime", "posixrules")
"""What else is in the directory of zones."""


class Hours(Kind):
    """Entries such as "Mon-Fri 08:00-18:00 Europe/Berlin"; a later file replaces all of them."""

    name = "list of texts"
    allowed = (
        "DAYS HH:MM-HH:MM [ZONE], as in Mon-Fri 08:00-12:00,13:00-18:00 Europe/Berlin; days are Mon to Sun,"
        " Mon-Fri, Sat,Sun or daily"
    )

    def read(self, node: Node, report: Report) -> Any:
        items = lists.entries(node, report, self.allowed)
        if items is None:
            return INVALID
        if not 0 < len(items) <= _MOST_ENTRIES:
            found = f"a list of {len(items)}" if items else "an empty list"
            return report.fail(node, found, f"1 to {_MOST_ENTRIES} entries, or any for no such limit")
        entries = [self._entry(item, report) for item in items]
        return INVALID if INVALID in entries else tuple(entries)

    def _entry(self, node: Node, report: Report) -> Any:
        text = self.text(node, report)
        if text is None:
            return INVALID
        words = text.split()
        if not 2 <= len(words) <= 3:  # noqa: PLR2004 - days, times, and perhaps a zone
            return report.fail(node, f"found {quoted(text)}", self.allowed)
        days = _days(words[0])
        if not days:
            return report.fail(node, f"{quoted(words[0])} names no days", f"{DAILY}, {', '.join(DAYS)}")
        ranges = [self._range(part, node, report) for part in words[1].split(",")]
        if INVALID in ranges:
            return INVALID
        zone = words[2] if len(words) > 2 else ""  # noqa: PLR2004
        return (days, tuple(ranges), zone) if _knows(zone, node, report) else INVALID

    def _range(self, text: str, node: Node, report: Report) -> Any:
        match = re.fullmatch(f"{_TIME}-{_TIME}", text, re.ASCII)
        if match is None:
            why = "has no end" if re.fullmatch(f"{_TIME}-?", text, re.ASCII) else "is no span of time"
            return report.fail(node, f"{quoted(text)} {why}", "HH:MM-HH:MM, as in 08:00-18:00")
        begin, end = _second(match.groups()[:3]), _second(match.groups()[3:])
        if begin is None or end is None or begin == DAY_S:
            return report.fail(node, f"{quoted(text)} is no span of time", "from 00:00 to 24:00")
        if begin == end:
            return report.fail(node, f"{quoted(text)} is empty", "00:00-24:00 for a whole day")
        return begin, end

    def write(self, value: Any) -> str:
        texts = [in_quotes(spell_hours(hours)) for hours in value]
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"

    def schema(self) -> dict[str, Any]:
        span = r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?-[0-9]{2}:[0-9]{2}(:[0-9]{2})?"
        entry = {"type": "string", "pattern": rf"^\S+ +{span}(,{span})*( +\S+)?$"}
        several = {"type": "array", "items": entry, "minItems": 1, "maxItems": _MOST_ENTRIES}
        return {"anyOf": [entry, several]}


class Moment(Kind):
    """A date, perhaps with a time and a zone. A date alone needs no quotes: it is its own text everywhere."""

    name = "date"
    allowed = "YYYY-MM-DD [HH:MM] [ZONE], as in 2027-01-31 or 2027-01-31 12:00 Europe/Berlin"

    def read(self, node: Node, report: Report) -> Any:
        scalar = self.scalar(node, report)
        if scalar is None:
            return INVALID
        return self.parse(scalar.text, node, report)

    def parse(self, text: str, node: Node, report: Report) -> Any:
        """Return the moment that ``text``, found at ``node``, means; INVALID after reporting why not."""
        form = rf"([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})(?:[ T]{_TIME})?(?: +({_ZONE}))?"
        match = re.fullmatch(form, text, re.ASCII)
        if match is None:
            return report.fail(node, f"found {quoted(text)}", self.allowed)
        year, month, day = (int(number) for number in match.groups()[:3])
        if not _FIRST_YEAR <= year <= _LAST_YEAR:
            return report.fail(node, f"found the year {year}", f"a year from {_FIRST_YEAR} to {_LAST_YEAR}")
        if not 1 <= month <= 12 or not 1 <= day <= _days_of(year, month):  # noqa: PLR2004
            return report.fail(node, f"there is no day {match[1]}-{match[2]}-{match[3]}", self.allowed)
        second = None
        if match[4] is not None:
            second = _second(match.groups()[3:6])
            if second is None:
                return report.fail(node, f"{quoted(text)} has no time of day", "from 00:00 to 24:00")
        zone = match[7] or ""
        return (year, month, day, second, zone) if _knows(zone, node, report) else INVALID

    def write(self, value: Any) -> str:
        text = spell_moment(value)
        return text if len(text) == len("2027-01-31") else in_quotes(text)

    def schema(self) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?)?( .+)?$",
        }


def _days(text: str) -> int:
    """Return the days that ``text`` names as a set of bits; 0 where it does not name any."""
    if text.lower() == DAILY:
        return EVERY_DAY
    found = 0
    for part in text.split(","):
        names = [name.capitalize() for name in part.split("-")]
        if len(names) > 2 or any(name not in DAYS for name in names):  # noqa: PLR2004 - the first and the last
            return 0
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        for day in range(first, last + 1 if last >= first else last + 1 + len(DAYS)):
            found |= 1 << day % len(DAYS)
    return found


def _days_of(year: int, month: int) -> int:
    """Return how many days a month has; without the module calendar, which loads locale and datetime."""
    if month == 2:  # noqa: PLR2004
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _second(parts: tuple[str | None, ...]) -> int | None:
    """Return the second of the day, None for a time that no clock shows."""
    hour, minute, second = (int(part or 0) for part in parts)
    found = (hour * 60 + minute) * 60 + second
    return found if minute < 60 and second < 60 and found <= DAY_S else None  # noqa: PLR2004


def _knows(zone: str, node: Node, report: Report) -> bool:
    """Tell whether the host knows ``zone``; report it where it does not."""
    if not zone or not os.path.isdir(ZONES):
        return True  # logins on a host without any are refused, and the doctor says so
    is_name = re.fullmatch(_ZONE, zone, re.ASCII) and zone.split("/", maxsplit=1)[0] not in _NO_ZONES
    if is_name and not fault_of(zone):
        return True
    import zoneinfo  # 20 ms, for which no login waits whose policy is not compiled

    hint = did_you_mean(zone, sorted(zoneinfo.available_timezones()))
    report.fail(
        node, f"the zone {quoted(zone)} is unknown", f"a name below {ZONES}, as in Europe/Berlin", hint
    )
    return False

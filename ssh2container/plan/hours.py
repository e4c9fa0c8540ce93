"""Whether an account is open now, until when, and when it opens next. Imported only for one with hours.

The zones are the host's own (tzfile(5)), read by the C library (tzset(3)): to ask it costs microseconds,
where the module ``zoneinfo`` takes half as long to import as a whole login.
"""

from __future__ import annotations

import posix as os
import time

from ssh2container.errors import Refusal, SessionError
from ssh2container.policy.hours import DAY_S, DAYS, Closing, spell_time
from ssh2container.policy.policy import Sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.policy.hours import Moment, Times
    from ssh2container.policy.policy import Policy

    Span = tuple[float, float, "Zone"]
    """From when to when, in seconds since the epoch, and the zone that says so."""

ZONES = "/usr/share/zoneinfo"
LOCAL = "/etc/localtime"
_MAGIC = b"TZif"
NEVER = float("inf")
_AHEAD_DAYS = 9
"""Hours repeat each week, and the clock that skips some of them does so on one day."""
_MONDAY = 3
"""Day 0, 1 January 1970, was a Thursday."""
_FULL_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_BEFORE_MONTH = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


_used: str | None = None


def use(place: str | None = None) -> None:
    """Have localtime(3) read a zone's file, or None what it read before; to switch costs a tenth of a ms."""
    global _used  # noqa: PLW0603 - so is what it stands for
    if place == _used:
        return
    before = os.environ.get(b"TZ")
    if place is not None:
        os.putenv(b"TZ", b":" + place.encode())
    elif before is None:
        os.unsetenv(b"TZ")
    else:
        os.putenv(b"TZ", before)
    time.tzset()
    _used = place


class Zone:
    """The clock of one zone. name: of the database of zones, "" for the host's."""

    def __init__(self, name: str = "") -> None:
        """Find its data. Raises SessionError where the host has none: another zone's would be wrong."""
        self.name = name
        self._place = place_of(name)
        fault = fault_of(name)
        if fault:
            raise SessionError(
                f"cannot tell the time of {name or 'this host'}",
                fault,
                "the administrator installs tzdata" + ("" if name else ", or sets the zone: timedatectl"),
                "hours",
            )

    def read(self, moment: float) -> time.struct_time:
        """Return what the zone's clock shows at ``moment``, in seconds since the epoch."""
        use(self._place)
        return time.localtime(moment)

    def shown(self, moment: float) -> int:
        """Return what the clock shows, in seconds since it showed the beginning of 1970."""
        return int(moment // 1) + self._offset(moment)

    def moment(self, shown: int, *, last: bool = False) -> int:
        """Return when the clock shows ``shown`` (:meth:`shown`).

        Where it does so twice, the first of them, or the ``last``; where it skips that, when it jumps.
        """
        early, late = self._offset(shown - DAY_S), self._offset(shown + DAY_S)
        found = [shown - offset for offset in (early, late) if self._offset(shown - offset) == offset]
        if found:
            return max(found) if last else min(found)
        before, after = shown - late, shown - early
        while before + 1 < after:
            middle = (before + after) // 2
            if self._offset(middle) == early:
                before = middle
            else:
                after = middle
        return after

    def _offset(self, moment: float) -> int:
        return self.read(moment).tm_gmtoff


class Timed(Sessions):
    """Limits of a session that ends with the hours, too."""

    __slots__ = ("closing",)

    def __init__(self, limits: Sessions, closing: Closing) -> None:
        super().__init__(limits.max, limits.idle_timeout, limits.max_duration, limits.warn_before)
        self.closing = closing


class Opening:
    """Whether an account is open.

    is_open: now. opens: when it opens next, None for never. closing: when it closes, None for never, too.
    zone: the one that said so. now: in seconds since the epoch.
    """

    __slots__ = ("_end_zone", "closing", "is_open", "now", "opens", "zone")

    def __init__(self, times: Times, now: float | None = None) -> None:
        """Ask the host's clock unless ``now`` is given. Raises SessionError where a zone is unknown."""
        moment = times.moment if now is None else now
        self.now = time.time() if moment is None else moment
        self.is_open = False
        self.opens: float | None = None
        self.closing: Closing | None = None
        self.zone = _zone_of(times)
        self._end_zone = self.zone if times.end is None else Zone(times.end[-1])
        try:
            self._judge(times)
        finally:
            use()

    def _judge(self, times: Times) -> None:
        now = self.now
        first = -NEVER if times.start is None else _moment(times.start)
        end = NEVER if times.end is None else _moment(times.end, last=True)
        spans = list(_spans(times, max(now, first)))
        self.is_open = first <= now < end and any(since <= now < until for since, until, _ in spans)
        if self.is_open:
            self._close(spans, end)
            return
        base = max(now, first)
        for since, until, zone in sorted(spans, key=lambda span: span[0]):
            at = max(since, base)
            if at < min(until, end):
                self.opens, self.zone = at, zone
                return

    def _close(self, spans: list[Span], end: float) -> None:
        """Find when it closes: spans that touch are one."""
        at, zone, key = self.now, self.zone, "access.hours"
        for since, until, of in sorted(spans, key=lambda span: span[0]):
            if since <= at < until:
                at, zone = until, of
        # Hours that are over within a week are not over at all if not by then.
        if end <= at or at >= self.now + (_AHEAD_DAYS - 1) * DAY_S:
            at, key, zone = end, "access.until", self._end_zone
        if at != NEVER:
            self.closing = Closing(at, key, _clock(at, zone), self.words(at, zone))

    def words(self, moment: float, zone: Zone | None = None) -> str:
        """Return ``moment`` as people say it: "today at 18:00 CET"."""
        try:
            return spell(moment, self.now, zone or self.zone)
        finally:
            use()


def observe(policy: Policy, times: Times) -> Opening:
    """Return how the account stands now. Raises Refusal where it is closed, SessionError as Zone."""
    found = Opening(times)
    if found.is_open or not policy.access.login:
        return found
    message = policy.access.message
    if found.opens is not None:
        raise Refusal("this account is closed now", f"it opens {found.words(found.opens)}", message, "hours")
    end = times.end and moment_of(times.end, last=True)
    if end is not None and end <= found.now:
        raise Refusal("this account is closed", f"its time ended {found.words(end)}", message, "hours")
    raise Refusal("this account is closed", "no hour of access.hours is left", message, "hours")


def place_of(name: str) -> str:
    """Return the file of a zone."""
    return f"{ZONES}/{name}" if name else LOCAL


def fault_of(name: str) -> str:
    """Say why the host cannot tell the time of a zone, "" where it can."""
    place = place_of(name)
    try:
        file = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if not name and not _is_link(place):
            return ""  # without the file, a host is in UTC (localtime(5))
        return f"{place}: {error.strerror}"
    try:
        return "" if os.read(file, len(_MAGIC)) == _MAGIC else f"{place} is no zone (tzfile(5))"
    except OSError as error:
        return f"{place}: {error.strerror}"
    finally:
        os.close(file)


def _is_link(path: str) -> bool:
    try:
        os.readlink(path)
    except OSError:
        return False
    return True


def moment_of(moment: Moment, *, last: bool = False) -> int:
    """Return a moment of a policy in seconds since the epoch. last: a day alone means its end.

    Raises SessionError for an unknown zone.
    """
    try:
        return _moment(moment, last=last)
    finally:
        use()


def _moment(moment: Moment, *, last: bool = False) -> int:
    year, month, day, second, zone = moment
    if second is None:
        second = DAY_S if last else 0
    return Zone(zone).moment(_days(year, month, day) * DAY_S + second, last=last)


def spell(moment: float, now: float, zone: Zone) -> str:
    """Return ``moment`` as people say it at ``now``: "tomorrow at 08:00 CET"."""
    read = zone.read(moment)
    days = zone.shown(moment) // DAY_S - zone.shown(now) // DAY_S
    clock = _clock(moment, zone)
    if days in _NEAR:
        return f"{_NEAR[days]} {clock}"
    if 0 < days < len(DAYS):
        return f"on {_FULL_NAMES[read.tm_wday]} {clock}"
    return f"on {read.tm_mday} {_MONTHS[read.tm_mon - 1]} {read.tm_year} {clock}"


def _clock(moment: float, zone: Zone) -> str:
    read = zone.read(moment)
    return f"at {spell_time(read.tm_hour * 3600 + read.tm_min * 60 + read.tm_sec)} {read.tm_zone}"


_NEAR = {-1: "yesterday", 0: "today", 1: "tomorrow"}


def _spans(times: Times, around: float) -> Iterator[Span]:
    """Yield the spans of the hours from the day before ``around`` on, for more than a week."""
    if times.hours is None:
        yield -NEVER, NEVER, _zone_of(times)
        return
    for days, ranges, name in times.hours:
        zone = Zone(name)
        today = zone.shown(around) // DAY_S
        for day in range(today - 1, today + _AHEAD_DAYS):
            if not days >> ((day + _MONDAY) % len(DAYS)) & 1:
                continue
            for begin, end in ranges:
                over = DAY_S if end <= begin else 0
                since = zone.moment(day * DAY_S + begin)
                until = zone.moment(day * DAY_S + end + over, last=True)
                if since < until:
                    yield since, until, zone


def _zone_of(times: Times) -> Zone:
    return Zone(next(iter(times.zones()), ""))


def _days(year: int, month: int, day: int) -> int:
    """Return the days from 1 January 1970 to a date of the Gregorian calendar."""
    before = year - 1
    leap_days = before // 4 - before // 100 + before // 400 - 477  # those before 1970
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return (year - 1970) * 365 + leap_days + _BEFORE_MONTH[month - 1] + (is_leap and month > 2) + day - 1  # noqa: PLR2004

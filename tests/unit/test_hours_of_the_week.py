"""When an account is open: what policies may say, and what the clocks of the world make of it."""

from __future__ import annotations

import calendar
import time
import zoneinfo
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.policies import policy, problems

from ssh2container.errors import Refusal, SessionError
from ssh2container.plan import hours
from ssh2container.policy.hours import Closing, Times
from ssh2container.policy.policy import Sessions
from ssh2container.run.deadlines import NEVER, Deadlines

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
"""With a change of an hour in both halves of the year, of half an hour, with a quarter, and without any."""


def seconds(zone: str, *moment: int) -> float:
    year, month, day, hour, minute, second = (*moment, 0, 0, 0)[:6]
    return datetime(year, month, day, hour, minute, second, tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


def as_of(times: Times, moment: float) -> Times:
    found = times.as_of(moment)
    assert found is not None
    return found


def opening(text: str, zone: str, *moment: int) -> hours.Opening:
    times = policy(f"access: {{{text}}}").access.times
    assert times is not None
    return hours.Opening(as_of(times, seconds(zone, *moment)))


def closes(found: hours.Opening) -> float:
    assert found.closing is not None
    return found.closing.at


@given(st.sampled_from(ZONES), st.integers(0, 4_000_000_000))
def test_clocks_show_what_zoneinfo_says(name: str, moment: int) -> None:
    """Another reader of the same files, at any moment, those on both sides of a change included."""
    zone, other = hours.Zone(name), zoneinfo.ZoneInfo(name)
    shown = datetime.fromtimestamp(moment, other)
    assert zone.read(moment)[:6] == shown.timetuple()[:6]
    wall = zone.shown(moment)
    assert zone.moment(wall) <= moment <= zone.moment(wall, last=True)
    assert (
        zone.read(zone.moment(wall))[:6]
        == zone.read(zone.moment(wall, last=True))[:6]
        == shown.timetuple()[:6]
    )


@given(st.sampled_from(ZONES), st.datetimes(datetime(2020, 1, 1), datetime(2036, 12, 31)))  # noqa: DTZ001
def test_times_of_day_are_those_of_zoneinfo(name: str, wall: datetime) -> None:
    zone, other = hours.Zone(name), zoneinfo.ZoneInfo(name)
    shown = int((wall.replace(microsecond=0) - datetime(1970, 1, 1)) / timedelta(seconds=1))  # noqa: DTZ001
    moments = [wall.replace(microsecond=0, tzinfo=other, fold=fold).timestamp() for fold in (0, 1)]
    found = [zone.moment(shown), zone.moment(shown, last=True)]
    if moments[0] <= moments[1]:
        assert found == moments
    else:  # the clock skips it
        assert moments[1] < found[0] == found[1] <= moments[0]
        assert zone.shown(found[0]) - zone.shown(found[0] - 1) > 1


def test_the_host_s_zone_is_read_again_afterwards() -> None:
    hours.use()
    before = time.localtime(0), time.tzname
    opening('hours: "daily 00:00-01:00 Asia/Kathmandu"', "UTC", 2026, 1, 1)
    assert (time.localtime(0), time.tzname) == before


def test_hours_of_a_week() -> None:
    work = 'hours: "Mon-Fri 08:00-18:00 Europe/Berlin"'
    monday = opening(work, "Europe/Berlin", 2026, 11, 30, 7, 59, 59)
    assert not monday.is_open
    assert monday.opens == seconds("Europe/Berlin", 2026, 11, 30, 8)
    assert monday.words(monday.opens) == "today at 08:00 CET"
    begun = opening(work, "Europe/Berlin", 2026, 11, 30, 8)
    assert begun.is_open
    assert closes(begun) == seconds("Europe/Berlin", 2026, 11, 30, 18)
    assert begun.closing is not None
    assert (begun.closing.reason, begun.closing.words, begun.closing.when) == (
        "hours",
        "at 18:00 CET",
        "today at 18:00 CET",
    )
    assert not opening(work, "Europe/Berlin", 2026, 11, 30, 18).is_open
    friday = opening(work, "Europe/Berlin", 2026, 11, 27, 18)
    assert friday.opens
    assert friday.words(friday.opens) == "on Monday at 08:00 CET"
    sunday = opening(work, "Europe/Berlin", 2026, 11, 29, 12)
    assert sunday.opens
    assert sunday.words(sunday.opens) == "tomorrow at 08:00 CET"


def test_several_spans_of_which_some_touch() -> None:
    text = 'hours: ["Mon 08:00-12:00,13:00-18:00 UTC", "Mon 18:00-20:00 UTC", "Tue 19:30-21:00 UTC"]'
    assert closes(opening(text, "UTC", 2026, 11, 30, 9)) == seconds("UTC", 2026, 11, 30, 12)
    noon = opening(text, "UTC", 2026, 11, 30, 12, 30)
    assert noon.opens == seconds("UTC", 2026, 11, 30, 13)
    assert closes(opening(text, "UTC", 2026, 11, 30, 13)) == seconds("UTC", 2026, 11, 30, 20)


def test_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    text = 'hours: "Fri 22:00-06:00 UTC"'
    assert closes(opening(text, "UTC", 2026, 11, 28, 5, 59)) == seconds("UTC", 2026, 11, 28, 6)
    assert not opening(text, "UTC", 2026, 11, 27, 5).is_open
    assert opening(text, "UTC", 2026, 11, 27, 23).is_open


def test_always_open_closes_never_or_with_the_last_day() -> None:
    assert opening('hours: "daily 00:00-24:00 Europe/Berlin"', "UTC", 2026, 10, 20).closing is None
    text = 'hours: "daily 00:00-24:00 UTC", until: 2026-12-24 UTC'
    closing = opening(text, "UTC", 2026, 10, 20).closing
    assert closing
    assert (closing.at, closing.reason) == (seconds("UTC", 2026, 12, 25), "until")


def test_a_clock_that_skips_an_hour_or_shows_it_twice() -> None:
    """In Berlin 02:00-03:00 does not exist on 28 March 2027, and comes twice on 31 October."""
    text = 'hours: "daily 02:30-05:00 Europe/Berlin"'
    spring = opening(text, "Europe/Berlin", 2027, 3, 28, 1, 59)
    assert spring.opens == seconds("UTC", 2027, 3, 28, 1)
    assert spring.words(spring.opens) == "today at 03:00 CEST"
    autumn = opening('hours: "daily 01:00-02:30 Europe/Berlin"', "UTC", 2027, 10, 31, 0, 45)
    assert autumn.is_open
    assert closes(autumn) == seconds("UTC", 2027, 10, 31, 1, 30)
    gone = opening('hours: "Sun 02:10-02:50 Europe/Berlin"', "Europe/Berlin", 2027, 3, 27, 12)
    assert gone.opens == seconds("Europe/Berlin", 2027, 4, 4, 2, 10)


def test_from_and_until() -> None:
    text = 'from: "2026-12-01 09:00 UTC", until: 2027-01-31 UTC, hours: "Mon-Fri 08:00-18:00 UTC"'
    early = opening(text, "UTC", 2026, 11, 2, 9)
    assert early.opens == seconds("UTC", 2026, 12, 1, 9)
    assert early.words(early.opens) == "on 1 December 2026 at 09:00 UTC"
    late = opening(text, "UTC", 2027, 1, 29, 18)
    assert (late.is_open, late.opens) == (False, None)
    last = opening('until: "2026-11-30 17:00 UTC", hours: "Mon 08:00-18:00 UTC"', "UTC", 2026, 11, 30, 9)
    assert last.closing
    assert (last.closing.reason, last.closing.at) == ("until", seconds("UTC", 2026, 11, 30, 17))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'hours: "Mon-Fri 08:00-18:00 UTC"',
            "this account is closed now: it opens on Monday at 08:00 UTC; ask us",
        ),
        ("until: 2026-11-27 UTC", "this account is closed: its time ended today at 00:00 UTC; ask us"),
        (
            'until: 2026-11-29 UTC, hours: "Mon 08:00-09:00 UTC"',
            "this account is closed: no hour of access.hours is left; ask us",
        ),
    ],
)
def test_a_closed_account_is_refused_in_words(text: str, said: str) -> None:
    of = policy(f"access: {{{text}, message: ask us}}")
    assert of.access.times is not None
    with pytest.raises(Refusal) as caught:
        hours.observe(of, as_of(of.access.times, seconds("UTC", 2026, 11, 28)))
    assert str(caught.value) == said
    of.access.login = False
    assert not hours.observe(of, as_of(of.access.times, seconds("UTC", 2026, 11, 28))).is_open


def test_a_host_without_the_zone_admits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    of = policy('access: {hours: "daily 00:00-24:00 Europe/Berlin"}')
    assert of.access.times is not None
    monkeypatch.setattr(hours, "ZONES", "/nowhere")
    with pytest.raises(SessionError, match="cannot tell the time of Europe/Berlin: /nowhere"):
        hours.observe(of, of.access.times)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('hours: "Mon-Fri"', 'found "Mon-Fri"'),
        ('hours: "Mon-Fri 08:00"', '"08:00" has no end'),
        ('hours: "Mon-Fri 08:00-"', '"08:00-" has no end'),
        ('hours: "Mon-Fri 08:00-25:00"', "is no span of time"),
        ('hours: "Mon-Fri 08:60-09:00"', "is no span of time"),
        ('hours: "Mon-Fri 08:00-08:00"', "is empty"),
        ('hours: "Mo-Fr 08:00-18:00"', "names no days"),
        ('hours: "Mon-Fri 08:00-18:00 Europe/Berlln"', 'the zone "Europe/Berlln" is unknown'),
        ('hours: "Mon-Fri 08:00-18:00 ../../etc/passwd"', "is unknown"),
        ('hours: "Mon-Fri 08:00-18:00 posix/Europe/Berlin"', "is unknown"),
        ("hours: []", "an empty list"),
        ("from: 2027-02-30", "there is no day 2027-02-30"),
        ("from: 2026-13-01", "there is no day 2026-13-01"),
        ("from: tomorrow", 'found "tomorrow"'),
        ('until: "2027-01-31 25:00"', "has no time of day"),
        ('until: "2027-01-31 12:00 Mars/Base"', 'the zone "Mars/Base" is unknown'),
    ],
)
def test_what_no_clock_shows_is_an_error_with_its_place(text: str, found: str) -> None:
    (problem,) = problems(f"access: {{{text}}}")
    assert found in problem.message
    assert problem.allowed
    assert problem.line == 1


def test_a_month_has_its_days() -> None:
    for year in (1970, 1999, 2000, 2027, 2028, 2100, 2200):
        for month in range(1, 13):
            last = calendar.monthrange(year, month)[1]
            assert problems(f"access: {{from: {year}-{month:02}-{last}}}") == []
            assert problems(f"access: {{from: {year}-{month:02}-{last + 1}}}") != []


def test_a_near_name_is_proposed() -> None:
    (problem,) = problems('access: {hours: "daily 08:00-18:00 Europe/Berlln"}')
    assert "Europe/Berlin" in problem.hint


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "Mon-Fri 08:00-18:00 Europe/Berlin"),
        ("mon,tue,WED 08:00-12:00,13:00-18:00", "Mon-Wed 08:00-12:00,13:00-18:00"),
        ("Fri-Mon 22:00-06:00:30", "Mon,Fri-Sun 22:00-06:00:30"),
        ("Mon-Sun 00:00-24:00", "daily 00:00-24:00"),
        ("Sat,Sun 09:00-10:00", "Sat,Sun 09:00-10:00"),
    ],
)
def test_hours_are_shown_as_they_are_written(written: str, shown: str) -> None:
    from ssh2container.admin.policy.types.hours import Hours
    from ssh2container.policy.hours import spell_hours

    value = policy(f'access: {{hours: "{written}"}}').values["access.hours"]
    assert [spell_hours(entry) for entry in value] == [shown]
    again = policy(f"access: {{hours: {Hours().write(value)}}}").values["access.hours"]
    assert again == value


def test_a_policy_without_hours_has_no_times() -> None:
    assert policy("image: host").access.times is None
    assert policy("access: {hours: any, from: none, until: none}").access.times is None


class Held(Closing):
    """An end that the test brings nearer."""

    def __init__(self, left: float) -> None:
        super().__init__(1e9, "access.hours", "at 18:00 CET", "today at 18:00 CET")
        self.rest = left

    def left(self) -> float:
        return self.rest


def limited(left: float, longest: float | None = None) -> tuple[Deadlines, Held]:
    held = Held(left)
    return Deadlines(hours.Timed(Sessions(None, None, longest, 60), held), 0.0, terminal=True), held


def test_a_session_is_warned_and_ended_with_the_hours() -> None:
    limits, held = limited(600)
    assert limits.look(0, 0) is None
    held.rest = 60
    warning = limits.look(540, 540)
    assert warning
    assert (warning.final, warning.reason) == (False, "hours")
    assert warning.text == "this session ends in 1 minute: this account closes at 18:00 CET"
    held.rest = 30.001
    assert limits.look(570, 570) is None
    held.rest = 0
    end = limits.look(600, 600)
    assert end
    assert (end.final, end.reason) == (True, "hours")
    assert limits.due == NEVER


def test_the_earlier_of_hours_and_duration_ends_it() -> None:
    limits, _ = limited(600, longest=300)
    end = limits.look(300, 300)
    assert end
    assert (end.final, end.reason) == (True, "max_duration")


def test_a_clock_that_is_set_is_noticed() -> None:
    limits, held = limited(36_000)
    assert limits.look(0, 0) is None
    assert limits.due <= Closing.AGAIN_S
    held.rest = -5
    end = limits.look(limits.due, 0)
    assert end
    assert end.final


def test_hours_that_end_while_the_session_starts_end_it() -> None:
    limits, _ = limited(-0.5)
    assert limits.due == 0
    end = limits.look(0, 0)
    assert end
    assert end.final


def test_times_of_another_moment_are_the_same_times() -> None:
    times = Times(None, None, None)
    assert as_of(times, 5.0).moment == 5.0
    assert as_of(times, 0).moment is None
    assert times.as_of(None) is None

"""When sessions are warned and ended: pure arithmetic on a clock that the tests hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ssh2container.policy.policy import Sessions
from ssh2container.run.deadlines import NEVER, Deadlines


def deadlines(
    idle: float | None, longest: float | None, warn: float = 60, *, terminal: bool = True
) -> Deadlines:
    return Deadlines(Sessions(None, idle, longest, warn), 0.0, terminal=terminal)


def test_warned_then_ended() -> None:
    limits = deadlines(None, 600)
    assert limits.due == 540
    assert limits.look(539, 0) is None
    warning = limits.look(540, 0)
    assert warning
    assert (warning.final, warning.reason) == (False, "max_duration")
    assert warning.text == "this session ends in 1 minute: a session may last 10 minutes"
    assert limits.due == 600
    assert limits.look(570, 0) is None
    end = limits.look(600, 0)
    assert end
    assert (end.final, end.reason) == (True, "max_duration")
    assert limits.due == NEVER


def test_activity_moves_the_end_of_an_idle_session() -> None:
    limits = deadlines(900, None)
    assert limits.due == 840
    assert limits.look(840, active=500) is None
    assert limits.due == 500 + 840
    warning = limits.look(1340, active=500)
    assert warning
    assert "nothing was typed or shown for 14 minutes; press any key to keep it open" in warning.text
    assert limits.look(1350, active=1345) is None
    again = limits.look(1345 + 840, active=1345)
    assert again
    assert not again.final, "it is warned anew"
    end = limits.look(1345 + 900, active=1345)
    assert end
    assert end.final


def test_without_a_terminal_only_the_duration_counts() -> None:
    assert deadlines(10, None, terminal=False).due == NEVER
    limits = deadlines(10, 100, terminal=False)
    notice = limits.look(100, 0)
    assert notice
    assert notice.reason == "max_duration"


def test_a_warning_comes_at_half_the_limit_at_the_earliest() -> None:
    assert deadlines(30, None, warn=60).due == 15


def test_no_warning_where_none_is_wanted() -> None:
    limits = deadlines(None, 100, warn=0)
    assert limits.look(99, 0) is None
    end = limits.look(100, 0)
    assert end
    assert end.final


times = st.floats(0.5, 1e6)


@given(st.none() | times, times, st.floats(0, 3600), st.lists(st.floats(0, 1e6), max_size=20))
def test_a_session_never_lasts_longer(
    idle: float | None, longest: float, warn: float, moments: list[float]
) -> None:
    """Whatever happens when: it ends at the first look after either limit, and not before."""
    limits = deadlines(idle, longest, warn)
    active = 0.0
    for now in sorted(moments):
        due = min(longest, NEVER if idle is None else active + idle)
        notice = limits.look(now, active)
        assert bool(notice and notice.final) == (now >= due)
        if notice and notice.final:
            return
        assert now < limits.due <= due
        active = now


@given(times, st.floats(0.5, 3600))
def test_looking_only_when_due_finds_everything(longest: float, warn: float) -> None:
    limits = deadlines(None, longest, warn)
    told = []
    while limits.due < NEVER:
        notice = limits.look(limits.due, 0)
        if notice:
            told.append(notice.final)
    assert told == [False, True]

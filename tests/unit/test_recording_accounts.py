"""How long the collector of recordings believes what it was told of a uid, on a clock that the tests hold."""

from __future__ import annotations

import contextlib
import select
import signal
from collections.abc import Iterator

import pytest

from ssh2container.admin.recordings import accounts
from ssh2container.admin.recordings.accounts import Account, Lookups


class Clock:
    """A monotonic clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(("refusal", "seconds"), [("", 1.0), ("there is no policy", 5.0)])
def test_an_answer_counts_for_a_moment(clock: Clock, refusal: str, seconds: float) -> None:
    """A refusal counts longer: whoever floods has it looked up as often."""
    account = Account(1000, clock)
    assert not account.known
    account.ask()
    account.learn("u", refusal, None)
    clock.now += seconds - 0.1
    assert account.known
    clock.now += 0.2
    assert not account.known


def test_files_are_counted_anew_each_minute(clock: Clock) -> None:
    account = Account(1000, clock)
    assert account.ask(), "nobody has counted yet"
    account.learn("u", "", (3, 500))
    account.add(70)
    clock.now += 59
    assert not account.ask()
    account.learn("u", "", None)
    assert (account.files, account.used) == (3, 570)
    clock.now += 2
    assert account.ask()
    account.add(30)  # is written while a child counts
    account.learn("u", "", (4, 600))
    assert (account.files, account.used) == (4, 630)


@pytest.fixture
def lookups(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Lookups, select.epoll]]:
    """Lookups whose name service never answers; each child is ended by the test itself."""
    monkeypatch.setattr(accounts, "_judged", lambda _: signal.pause())
    with contextlib.closing(select.epoll()) as poll:
        yield Lookups("/nowhere", poll, clock), poll


def test_a_name_service_that_hangs_is_given_up(
    clock: Clock, lookups: tuple[Lookups, select.epoll], capfd: pytest.CaptureFixture[str]
) -> None:
    looking, poll = lookups
    account = looking.account(4242)
    assert account is looking.account(4242)
    looking.ask(account)
    clock.now += 19
    looking.give_up()
    assert poll.poll(0) == []
    assert looking.busy
    clock.now += 2
    looking.give_up()
    ((descriptor, _),) = poll.poll()
    assert looking.owns(descriptor)
    assert looking.hear(descriptor) is account
    assert not looking.busy
    assert account.refusal == "the name service or the policies gave no answer"
    assert account.known
    assert "turning away uid 4242" in capfd.readouterr().err

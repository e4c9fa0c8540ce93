"""A short run of the fuzz target: the same inputs every time."""

from __future__ import annotations

from unit import policy_fuzz


def test_two_thousand_inputs() -> None:
    count, valid = policy_fuzz.run(seed=1, seconds=float("inf"), most=2000)
    assert count == 2000
    assert 200 < valid < 1800, "the mutations should reach both sides"

"""What of a policy's hours leaves nobody in: for ``check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.errors import SessionError
from ssh2container.plan import hours
from ssh2container.policy.hours import spell_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.policy.lint import Lint
    from ssh2container.policy.policy import Policy


def contradictions(policy: Policy) -> Iterator[Lint]:
    """Yield what closes the account for good: the key, what was found, what is allowed."""
    times = policy.access.times
    if times is None or times.end is None:
        return
    try:
        end = hours.moment_of(times.end, last=True)
        start = 0 if times.start is None else hours.moment_of(times.start)
        if end <= start and times.start is not None:
            found = f"access.until is not after access.from, {spell_moment(times.start)}"
            yield "access.until", found, "a later moment"
        elif start and times.hours is not None:
            first = hours.Opening(times, start)
            if not first.is_open and first.opens is None:
                found = "no hour of access.hours lies between access.from and access.until"
                yield "access.hours", found, "hours of a day between them, or any"
    except SessionError:
        return  # the doctor tells which zone is missing


def of_policy(policy: Policy) -> Iterator[Lint]:
    """Yield what has come to its end: the key, what was found, a hint."""
    times = policy.access.times
    if times is None or times.end is None or list(contradictions(policy)):
        return
    try:
        found = hours.Opening(times)
    except SessionError:
        return
    if not found.is_open and found.opens is None:
        yield "access.until", "the account has closed: every login is refused", "access: {until: DATE}"

"""What a probe is: one attempt to get out, with the answer that the container must give."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssh2container.admin.verify.verdicts import Escaped, Weak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ssh2container.admin.verify.surroundings import Surroundings


def _never(_: Surroundings) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt.

    name: stable and unique. group: as in the report. source: the CVE or manual page behind it.
    attempt: makes it, in a process of its own; returns what was seen when the wall holds.
    excuse: the policy key that allows it to succeed under this policy, "" for none.
    calls: system calls that it makes; a policy that allows one of them has opened that door itself.
    works: the probe shows that something still works, so a death by the filter is no pass.
    """

    name: str
    group: str
    source: str
    attempt: Callable[[Surroundings], str]
    excuse: Callable[[Surroundings], str] = _never
    calls: tuple[str, ...] = ()
    works: bool = False


@dataclass(slots=True)
class Group:
    """The probes of one group, in the order of the report."""

    title: str
    probes: list[Probe] = field(default_factory=list)

    def refused(
        self,
        name: str,
        source: str,
        attempt: Callable[[Surroundings], object],
        *expected: int,
        weak: Iterable[int] = (),
        excuse: Callable[[Surroundings], str] = _never,
        calls: tuple[str, ...] = (),
    ) -> None:
        """Add an attempt that has to raise OSError with one of ``expected`` (``weak``: a weak pass)."""

        def judged(surroundings: Surroundings) -> str:
            return refusal(lambda: attempt(surroundings), expected, weak)

        self.probes.append(Probe(name, self.title, source, judged, excuse, calls))

    def check(
        self,
        name: str,
        source: str,
        *,
        excuse: Callable[[Surroundings], str] = _never,
        calls: tuple[str, ...] = (),
        works: bool = False,
    ) -> Callable[[Callable[[Surroundings], str]], Callable[[Surroundings], str]]:
        """Add the decorated function: it returns what it saw, or raises one of the verdicts."""

        def add(attempt: Callable[[Surroundings], str]) -> Callable[[Surroundings], str]:
            self.probes.append(Probe(name, self.title, source, attempt, excuse, calls, works))
            return attempt

        return add


def refusal(attempt: Callable[[], object], expected: Iterable[int], weak: Iterable[int] = ()) -> str:
    """Make ``attempt`` and return the name of the errno that refused it.

    Raises Escaped when it succeeded or failed for another reason than the wall: EFAULT, EBADF or
    EINVAL from a call that a filter should have stopped mean that the kernel looked at its arguments.
    """
    try:
        result = attempt()
    except OSError as error:
        number = error.errno or 0
        name = errno.errorcode.get(number, str(number))
        if number in tuple(expected):
            return name
        if number in tuple(weak):
            raise Weak(name) from None
        wanted = " or ".join(errno.errorcode.get(one, str(one)) for one in expected)
        raise Escaped(f"answered {name}, must be {wanted}") from None
    raise Escaped(f"succeeded ({result!r})" if result not in (None, 0) else "succeeded")


def require(condition: object, hole: str) -> None:
    """Raise Escaped with ``hole`` unless ``condition`` holds."""
    if not condition:
        raise Escaped(hole)

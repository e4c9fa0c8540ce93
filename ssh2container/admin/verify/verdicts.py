"""What a probe may come to: the five results, and the exceptions by which an attempt says so."""

from __future__ import annotations

PASS, WEAK, EXPECTED, SKIPPED, FAIL = "pass", "weak pass", "expected-by-policy", "skipped", "fail"
RESULTS = (PASS, WEAK, EXPECTED, SKIPPED, FAIL)
"""From good to bad.

pass: the attempt was refused, or what has to hold does. weak pass: it was refused because this
kernel or image lacks the thing attacked. expected-by-policy: it succeeded because the policy says
so. skipped: it could not be made here, the detail says why. fail: the wall has a hole.
"""


class Escaped(Exception):
    """The attempt succeeded; the text says how.

    excusable: whether a policy that allows it makes the result an expected one.
    """

    def __init__(self, how: str, *, excusable: bool = True) -> None:
        super().__init__(how)
        self.excusable = excusable


class Weak(Exception):
    """The attempt failed, but only because there is nothing to attack here."""


class Skipped(Exception):
    """The attempt cannot be made here."""

"""Specifications of devices: readable for logins, and root's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin import cdi
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import OK, WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator


@check.of_host("specifications of devices", place=85)
def of_specifications() -> Iterator[Finding]:
    """Yield the specifications of the Container Device Interface that no login can use."""
    fit = 0
    for path, problem in cdi.problems():
        if problem is None:
            fit += 1
        else:
            yield Finding(
                WARNING,
                "devices.specifications",
                path,
                f"names of devices in policies get no meaning from it: {problem.why}",
                "have it made anew, root's and readable for everybody",
            )
    if fit:
        yield Finding(OK, "devices.specifications", "", f"{fit} can be used")

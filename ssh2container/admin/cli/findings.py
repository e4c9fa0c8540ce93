"""Showing findings, for ``doctor`` and ``sshd-config --user``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from ssh2container.admin.cli import output
from ssh2container.admin.doctor.finding import (
    EXIT_STATUS,
    LEVELS,
    NOTE,
    OK,
    PROBLEM,
    WARNING,
    Finding,
    gravest,
)
from ssh2container.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLOURS = {OK: "green", NOTE: "blue", WARNING: "yellow", PROBLEM: "bold red"}


def show(found: Sequence[Finding], *, as_json: bool, everything: bool = False) -> int:
    """Print ``found``, the gravest last, and return the exit status that it gives.

    everything: what is in order too.
    """
    worst = gravest(found)
    if as_json:
        output.print_json({"worst": worst, "findings": [finding.to_dict() for finding in found]})
        return EXIT_STATUS[worst]
    console = output.console()
    for finding in sorted(found, key=lambda finding: LEVELS.index(finding.level)):
        if finding.level == OK and not everything:
            continue
        subject = f"{escape(printable(finding.subject))}: " if finding.subject else ""
        colour = _COLOURS[finding.level]
        console.print(f"[{colour}]{finding.level:7}[/] {subject}{escape(printable(finding.text))}")
        if finding.remedy:
            console.print(f"        {escape(printable(finding.remedy))}")
    counts = [f"{sum(one.level == level for one in found)} {level}" for level in LEVELS]
    console.print(", ".join(counts))
    return EXIT_STATUS[worst]

"""Showing findings, for ``doctor`` and ``sshd-config --user``: each cause once, with what follows from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_COLOURS = {OK: "green", NOTE: "blue", WARNING: "yellow", PROBLEM: "bold red"}
_MOST_SUBJECTS = 5
_FOR_SEVERAL = re.compile(r"ssh2containerctl (enable|disable)( --[a-z-]+)* \0")
"""Remedies that take all users at once."""


@dataclass(slots=True)
class Cause:
    """One thing to mend: the same finding about one or more subjects, and what follows from it."""

    finding: Finding
    subjects: list[str] = field(default_factory=list)
    follows: list[str] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """Return who or what it is about."""
        shown = ", ".join(self.subjects[:_MOST_SUBJECTS])
        more = len(self.subjects) - _MOST_SUBJECTS
        return f"{shown} and {more} more" if more > 0 else shown

    @property
    def text(self) -> str:
        """Return what is so."""
        return self.finding.text

    @property
    def remedy(self) -> str:
        """Return what to do, for all subjects."""
        first = self.finding.remedy
        if len(self.subjects) < 2:  # noqa: PLR2004
            return first
        general = _general(first, self.subjects[0])
        if "\0" not in general:
            return first
        if _FOR_SEVERAL.match(general):
            return general.replace("\0", " ".join(self.subjects))
        return f"{first} (and so on for each)"


def causes(found: Iterable[Finding]) -> list[Cause]:
    """Return ``found`` by cause, each cause before what follows from it; the same about several is one."""
    kept: dict[tuple[str, str, str, str], Cause] = {}
    known: dict[str, Cause] = {}
    following = []
    for finding in found:
        if finding.because:
            following.append(finding)
            continue
        subject = finding.subject
        key = (
            finding.level,
            finding.check,
            _general(finding.text, subject),
            _general(finding.remedy, subject),
        )
        cause = kept.setdefault(key, Cause(finding))
        if subject and subject not in cause.subjects:
            cause.subjects.append(subject)
        known[finding.identity] = cause
    for finding in following:
        above = known.get(finding.because)
        if above is None:
            known[finding.identity] = kept.setdefault(
                (finding.level, finding.check, finding.text, finding.subject),
                Cause(finding, [finding.subject]),
            )
        elif finding.text not in above.follows:
            above.follows.append(finding.text)
    return list(kept.values())


def show(found: Sequence[Finding], *, as_json: bool, everything: bool = False, zero: bool = False) -> int:
    """Print ``found``, the gravest last, and return the exit status that it gives.

    everything: what is in order too. zero: whether findings leave the status at 0, for programs that take
    another for a check that failed.
    """
    worst = gravest(found)
    status = 0 if zero else EXIT_STATUS[worst]
    if as_json:
        output.print_report({"worst": worst, "findings": [finding.to_dict() for finding in found]})
        return status
    out = output.Paper()
    shown = causes(found)
    for cause in sorted(shown, key=lambda cause: LEVELS.index(cause.finding.level)):
        level = cause.finding.level
        if level == OK and not everything:
            continue
        subject = f"{cause.subject}: " if cause.subject else ""
        out.print((f"{level:7}", _COLOURS[level]), f" {subject}{cause.text}")
        for text in cause.follows:
            out.print(f"        so: {text}")
        if cause.remedy:
            out.print(f"        do: {cause.remedy}")
    counts = [f"{sum(one.finding.level == level for one in shown)} {level}" for level in LEVELS]
    out.print(", ".join(counts))
    return status


def _general(text: str, subject: str) -> str:
    """Return ``text`` with its subject taken out, so that the same about another is the same text."""
    if not subject:
        return text
    return re.sub(rf"(?<![\w.-]){re.escape(subject)}(?![\w.-])", "\0", text)

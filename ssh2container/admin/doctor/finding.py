"""One thing that a check found, for people and for machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ssh2container.admin import statuses
from ssh2container.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"
LEVELS = (OK, NOTE, WARNING, PROBLEM)
"""From harmless to grave. A note is a fact to know, a warning weakens a promise, a problem breaks one."""

EXIT_STATUS = {
    OK: statuses.DONE,
    NOTE: statuses.DONE,
    WARNING: statuses.AMISS,
    PROBLEM: statuses.PROBLEM,
}
"""The exit status that the gravest finding gives."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw.

    level: one of :data:`LEVELS`.
    check: stable dotted name of the check, e.g. ``"sshd.internal-sftp"``.
    subject: the user, file or unit that it is about; "" for the host as a whole.
    text: what is so, in words.
    remedy: what to do about it; "" when nothing has to be done.
    detail: facts for ``--json``.
    because: "CHECK SUBJECT" of the finding that this one follows from, and goes away with; "" for a cause.
    """

    level: str
    check: str
    subject: str
    text: str
    remedy: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    because: str = ""

    def __str__(self) -> str:
        """Return the finding on one line."""
        line = f"{self.subject}: {self.text}" if self.subject else self.text
        return printable(f"{line}; {self.remedy}" if self.remedy else line)

    @property
    def identity(self) -> str:
        """What :attr:`because` of another finding names."""
        return f"{self.check} {self.subject}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values for JSON."""
        return {
            "level": self.level,
            "check": self.check,
            "subject": self.subject,
            "text": self.text,
            "remedy": self.remedy,
            "detail": self.detail,
            "because": self.because,
        }


def gravest(findings: Iterable[Finding]) -> str:
    """Return the gravest level among ``findings``, :data:`OK` when there are none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=OK)

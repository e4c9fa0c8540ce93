"""Where sessions of users leave notes for each other whom nobody has enabled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.accounts import meeting
from ssh2container.admin.doctor import check
from ssh2container.admin.doctor.finding import WARNING, Finding
from ssh2container.record.registry import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator


@check.of_host("directories", place=100)
def examine() -> Iterator[Finding]:
    """Yield whether users whom nobody enabled have a place to make their directory."""
    if not meeting.is_laid():
        yield Finding(
            WARNING,
            "host.runtime",
            SHARED,
            "is not mounted: users whom a group's policy admits cannot share containers or have sessions.max,"
            " unless they are enabled here",
            "ssh2containerctl enable --runtime",
        )

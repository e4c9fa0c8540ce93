"""What of a policy's jobs never runs, or runs unheard: for ``check``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ssh2container import paths
from ssh2container.admin.policy.yaml.problems import quoted
from ssh2container.admin.schedule import host
from ssh2container.errors import Refusal
from ssh2container.policy import commands, schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssh2container.admin.policy.lint import Lint
    from ssh2container.policy.policy import Policy


def contradictions(policy: Policy) -> Iterator[Lint]:
    """Yield the jobs that the policy itself refuses: the key, what was found, what is allowed."""
    for job in schedule.of(policy.values):
        if policy.access.terminal == "required":
            found = "access.terminal: required refuses every job: a job has no terminal"
            yield job.key, found, "access: {terminal: optional}"
            return
        try:
            commands.decide(paths.fsencode(job.command), policy.access)
        except Refusal:
            found = f"access.commands refuses the job {quoted(job.command)}"
            yield job.key, found, "a command that access.commands allows"


def unmailed(policy: Policy) -> Iterator[Lint]:
    """Yield the jobs whose output this host cannot mail: the key, what was found, a hint."""
    if not os.access(host.SENDMAIL, os.X_OK):
        for job in schedule.of(policy.values):
            if job.output == schedule.MAIL:
                found = f"output: mail needs {host.SENDMAIL}, which is not here"
                yield job.key, found, "install a mail server, or write output: log"


def unscheduled(policy: Policy) -> Iterator[Lint]:
    """Yield the key, what was found and a hint where nothing on this host runs jobs."""
    if schedule.of(policy.values) and not host.means():
        yield "schedule", f"no job runs here: {host.NOBODY}", "install cron"

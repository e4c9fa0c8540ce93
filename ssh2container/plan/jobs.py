"""A login that is a job of the policy's (``schedule``): what it runs. Imported only for one."""

from __future__ import annotations

import pwd

from ssh2container import paths
from ssh2container.errors import Refusal
from ssh2container.policy import schedule

from .request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

    from .account import Account


def number_of(request: Request) -> str:
    """Return the job's number in the policy, as the record has it."""
    return request.job.partition(":")[0]


def of_policy(request: Request, account: Account, policy: Policy) -> Request:
    """Return what the job asks for.

    Raises Refusal where the policy has no such job any more, and where a login of the user would not come
    here either: systemd and cron do not ask for the login shell.
    """
    what = f"cannot run job {number_of(request)}"
    shell = pwd.getpwuid(account.uid).pw_shell
    if shell != paths.LOGIN_SHELL:
        raise Refusal(
            what,
            f"the login shell of {account.name} is {shell or '/bin/sh'}",
            f"the administrator runs: ssh2containerctl enable {account.name}",
            "request",
        )
    for job in schedule.of(policy.values):
        if job.mark == request.job:
            return Request("command", paths.fsencode(job.command), job=request.job)
    raise Refusal(
        what,
        f"the policy of {account.name} has been changed since, and has no such job",
        "the administrator runs: ssh2containerctl compile",
        "policy",
    )

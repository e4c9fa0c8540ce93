"""The jobs of a policy in words, with when they run next by the host's clock."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ssh2container.admin.schedule import fields
from ssh2container.policy import schedule

if TYPE_CHECKING:
    from typing import Any

    from ssh2container.policy.policy import Policy


def described(policy: Policy, now: datetime | None = None) -> list[dict[str, Any]]:
    """Return of each job: number, at, command, output, when it is next, words, key and the key's place.

    now: what the host's clock shows, None to look.
    """
    now = now or datetime.now()  # noqa: DTZ005 - of the host's zone, as cron and systemd take the fields
    found = []
    for job in schedule.of(policy.values):
        following = fields.parse(job.at).following(now)
        next_ = "" if following is None else following.strftime("%Y-%m-%d %H:%M")
        output = "mailed to the user" if job.output == schedule.MAIL else "logged"
        origin = policy.origin(job.key)
        found.append(
            {
                "number": job.number,
                "at": job.at,
                "command": job.command,
                "output": job.output,
                "next": next_,
                "describe": f"job {job.number}, next at {next_}: {job.command} (output is {output})",
                "key": "schedule",
                "origin": None if origin is None else str(origin),
            }
        )
    return found

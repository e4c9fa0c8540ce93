"""The jobs that a policy has run at times (``schedule``), for the logins that are one."""

from __future__ import annotations

from _blake2 import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .policy import Values

LOG, MAIL = "log", "mail"
OUTPUTS = (LOG, MAIL)
"""Where what a job writes goes, the default first."""


class Job:
    """One job.

    number: its place in the list, from 1. at: when, as cron writes it. command: what a client would ask for.
    output: of :data:`OUTPUTS`.
    """

    __slots__ = ("at", "command", "number", "output")

    def __init__(self, number: int, at: str, command: str, output: str) -> None:
        self.number = number
        self.at = at
        self.command = command
        self.output = output

    @property
    def key(self) -> str:
        """The item of the policy that it is."""
        return f"schedule.{self.at} {self.command}"

    @property
    def mark(self) -> str:
        """What the login is given to know the job by, and whether it is still the one that was meant."""
        text = f"{self.at}\0{self.command}\0{self.output}"
        return f"{self.number}:{blake2b(text.encode(), digest_size=8).hexdigest()}"


def of(values: Values) -> tuple[Job, ...]:
    """Return the jobs of a policy."""
    return tuple(Job(number, *item) for number, item in enumerate(values["schedule"].values(), 1))

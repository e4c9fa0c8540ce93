"""Many users at once: progress while it goes on, a table of what became of each, or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ssh2container.admin.cli import enrolment, output
from ssh2container.errors import SessionError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ssh2container.admin.change import Change

    Tell = Callable[[str, Change], None]

_COLUMNS = ("user", "result", "steps", "")
UNCHANGED = "unchanged"
"""The word for a user with whom it was so already."""


class Bulk:
    """What becomes of each of many users.

    users: for JSON, as ``enable`` has them. status: the verb's exit status so far.
    """

    def __init__(self, doing: str, done: str) -> None:
        """doing: what stands beside the bar; done: the word for a user with whom it went well."""
        self.doing = doing
        self.word = done
        self.users: list[dict[str, Any]] = []
        self.status = 0

    def carry_out(self, names: Sequence[str], work: Callable[[str, Tell], Sequence[str]]) -> list[str]:
        """Do ``work`` for each of ``names``, and return for whom it went well; the others are told of.

        work: is given a name and whom to tell, and returns what else there is to know.
        """
        well = []
        with output.progress(self.doing, len(names)) as advance:
            for name in names:
                if self._one(name, work):
                    well.append(name)
                advance(name)
        return well

    def _one(self, name: str, work: Callable[[str, Tell], Sequence[str]]) -> bool:
        told: list[dict[str, str]] = []
        states: set[str] = set()
        user: dict[str, Any] = {"user": name, "result": "failed", "changes": told}
        self.users.append(user)

        def tell(state: str, change: Change) -> None:
            told.append({"state": state, "change": change.describe()})
            if not change.finds_out:
                states.add(state)

        try:
            user["notes"] = list(work(name, tell))
            if "would" in states:
                user["result"] = f"would be {self.word}"
            else:
                user["result"] = self.word if "done" in states else UNCHANGED
        except (SessionError, OSError) as error:
            found = (
                error if isinstance(error, SessionError) else SessionError(f"cannot do {name}", str(error))
            )
            user["error"] = str(found)
            self.status = max(self.status, enrolment.status_of(found))
            return False
        return True

    def show(self) -> None:
        """Print the table, and how many went well where not all did."""
        rows = []
        for user in self.users:
            steps = sum(change["state"] in ("done", "would") for change in user["changes"])
            rows.append(
                (
                    user["user"],
                    user["result"],
                    str(steps),
                    "; ".join(user.get("notes", [user.get("error", "")])),
                )
            )
        output.table(_COLUMNS, rows)
        missed = [user["user"] for user in self.users if "error" in user]
        if missed:
            done = len(self.users) - len(missed)
            click.echo(
                printable(f"{done} of {len(self.users)} users done; not: {', '.join(missed)}"), err=True
            )

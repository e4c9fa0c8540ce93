"""What ``enable`` and ``disable`` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ssh2container.admin.cli import output
from ssh2container.admin.enrol import account, enrol
from ssh2container.admin.enrol.change import Change, carry_out
from ssh2container.errors import EXIT_REFUSED, Refusal, SessionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_WORDS = {"done": "done", "already": "already so", "would": "would", "undone": "undone"}


def status_of(error: SessionError) -> int:
    """Return the verb's exit status for an error."""
    return EXIT_REFUSED if isinstance(error, Refusal) else 1


class Report:
    """Lines for people as the changes happen, or one JSON document at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.users: list[dict[str, Any]] = []

    def carry_out(self, name: str, changes: Sequence[Change], *, dry_run: bool) -> None:
        """Carry out a user's changes and tell each."""
        told: list[dict[str, str]] = []
        self.users.append({"user": name, "changes": told})
        if not self.as_json:
            click.echo(f"{name}:")

        def tell(state: str, change: Change) -> None:
            told.append({"state": state, "change": change.describe()})
            if not self.as_json:
                click.echo(f"  {_WORDS[state]}: {change.describe()}")

        carry_out(changes, tell, dry_run=dry_run)

    def after_enabling(self, name: str, *, dry_run: bool) -> None:
        """Tell what a new user's administrator wants to know."""
        if self.as_json:
            return
        found = account.find(name)
        outside = enrol.processes_of(found)
        if outside:
            click.echo(f"  note: {len(outside)} processes of {name} run outside a container until they end")
        if not dry_run:
            click.echo(
                f"  {name} is enabled; see what holds: ssh2containerctl show {name}; examine: doctor {name}"
            )

    def end(self) -> None:
        """Print the JSON document, if that was asked for."""
        if self.as_json:
            output.print_json({"users": self.users})

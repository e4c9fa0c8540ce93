"""``enable`` and ``disable`` of a group: who is meant, and what becomes of each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ssh2container.admin.adopt import choosing
from ssh2container.admin.change import carry_out
from ssh2container.admin.cli import bulk, completing, enrolment, output
from ssh2container.errors import SessionError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ssh2container.admin.change import Change

option = click.option(
    "--group",
    default="",
    metavar="GROUP",
    shell_complete=completing.groups,
    help="All members of a group.",
)
"""The option of the verbs that take a group in place of names."""


def of_group(group: str, doing: str, done: str, *, as_json: bool, spared: str = "") -> Members:
    """Return :class:`Members`; where there is no such group, the verb ends as for no such user."""
    try:
        return Members(group, doing, done, as_json=as_json, spared=spared)
    except SessionError as error:
        output.failure(error)
        sys.exit(enrolment.status_of(error))


class Members(bulk.Bulk):
    """What becomes of each member of a group; one with whom it fails keeps no other.

    left: (name, why) of whom the group does not mean. warnings: what holds for all of them.
    """

    def __init__(self, group: str, doing: str, done: str, *, as_json: bool, spared: str = "") -> None:
        """doing, done: words as of :class:`bulk.Bulk`. spared: who is left alone.

        Raises SessionError where there is no such group.
        """
        super().__init__(doing, done)
        self.group = group
        self.as_json = as_json
        self.names, self.left = choosing.people_of(group, spared=spared)
        self.warnings: list[str] = []

    def each(
        self,
        changes: Callable[[str], Sequence[Change]],
        notes: Callable[[str], Sequence[str]],
        *,
        dry_run: bool,
    ) -> None:
        """Carry out each one's changes, and show the table.

        changes: raises SessionError for whom it cannot be. notes: what else there is to know of one.
        """

        def one(name: str, tell: bulk.Tell) -> Sequence[str]:
            carry_out(changes(name), tell, dry_run=dry_run)
            return notes(name)

        self.carry_out(self.names, one)
        if self.as_json:
            return
        if self.names:
            self.show()
        for name, why in self.left:
            click.echo(printable(f"left alone: {name} {why}"))
        if not self.names:
            click.echo(f"nobody is meant: the group {self.group} has no {'other ' * bool(self.left)}members")

    def reload(self, *, wanted: bool) -> None:
        """Let sshd read the drop-in as for one user, and tell which servers it does not reach."""
        try:
            enrolment.offer_reload(wanted=wanted, quiet=self.as_json)
        except (SessionError, OSError) as error:
            output.failure(
                error if isinstance(error, SessionError) else SessionError("cannot reload sshd", str(error))
            )
            self.status = max(self.status, 1)
        self.warnings = enrolment.servers_without_drop_in()
        if not self.as_json:
            for sentence in self.warnings:
                click.echo(f"warning: {sentence}", err=True)

    def end(self) -> int:
        """Print the JSON document, if that was asked for, and return the verb's exit status."""
        if self.as_json:
            left = [{"user": name, "why": why} for name, why in self.left]
            output.print_report({"users": self.users, "left_alone": left, "warnings": self.warnings})
        return self.status

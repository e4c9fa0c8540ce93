"""What ``enable`` and ``disable`` print, and what they share with ``compile``."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from ssh2container.admin import account, writable
from ssh2container.admin.accounts import enable
from ssh2container.admin.change import Change, carry_out
from ssh2container.admin.cli import output
from ssh2container.admin.doctor import outside
from ssh2container.admin.policy import keeping
from ssh2container.admin.sessions.live import Listing
from ssh2container.admin.sshd import DROP_IN, running
from ssh2container.errors import EXIT_REFUSED, Refusal, SessionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

reload_sshd = click.option(
    "--reload-sshd", is_flag=True, help="Make a running sshd read the drop-in, if it has not done so."
)
"""The option of the verbs that write the drop-in on the way."""
_WORDS = {
    "done": "done",
    "already": "already so",
    "would": "would",
    "undone": "undone",
    "left": "COULD NOT BE UNDONE",
}


def status_of(error: SessionError) -> int:
    """Return the verb's exit status for an error."""
    return EXIT_REFUSED if isinstance(error, Refusal) else 1


def offer_reload(*, wanted: bool, quiet: bool = False) -> None:
    """Make the running sshd read its files if that is wanted or, on a terminal, agreed to; else say how.

    quiet: neither ask nor say anything. Raises SessionError when it does not come about.
    """
    stale = running.stale()
    if not stale:
        return
    if not wanted and not quiet and sys.stdin.isatty() and sys.stderr.isatty():
        wanted = _agreed()
    if wanted:
        carry_out(
            [running.Reload()],
            lambda state, change: None if quiet else click.echo(f"{state}: {change.describe()}"),
        )
        return
    for server in stale:
        if not quiet:
            click.echo(
                f"sshd (pid {server.pid}) has not read its files as they are now, and still uses the "
                f"earlier ones: {server.reload}"
            )


def _agreed() -> bool:
    """Ask on the terminal; who gives no answer has not agreed, and nothing of what was done is in doubt."""
    try:
        return click.confirm(
            "The running sshd has not read its files as they are now. Reload it? "
            "Existing connections are kept.",
            default=True,
            err=True,
        )
    except click.Abort:
        click.echo(err=True)
        return False


def servers_without_drop_in() -> list[str]:
    """Return a sentence for each SSH server that runs here and that the drop-in does not reach."""
    return [
        f"sshd (pid {server.pid}) runs with {server.config}, which does not include {DROP_IN}: what it"
        " forwards, and its internal-sftp, get around the container;"
        f" make this its first line: Include {DROP_IN}"
        for server in running.without_drop_in()
    ] + [
        f"{program} (pid {pid}) runs, and no drop-in of sshd holds for it: what it forwards gets around the"
        f" container; keep contained users out of it, or stop it: kill {pid}"
        for pid, program in running.others()
    ]


def notes_on_enabled(name: str) -> list[str]:
    """Return what the administrator of a user who was enabled wants to know, a sentence each."""
    found = account.find(name)
    policy = enable.policy_if_valid(found)
    lost = None if policy is None else keeping.loss(policy)
    return [
        *([f"warning: {lost[0]}; {lost[1]}"] if lost is not None else []),
        *(f"note: runs outside a container until it ends: {process}" for process in outside.strangers(found)),
        *(
            f"note: the host honours set-ID bits in {place.path}: {writable.remedy(place)}"
            for place in enable.honouring_set_id(found)
        ),
    ]


def running_sessions(name: str) -> list[str]:
    """Return the ids of the sessions and containers that a user has."""
    listing = Listing([name])
    try:
        return [live.id for live in (*listing.sessions, *listing.containers)]
    finally:
        listing.close()


def note_on_running(name: str, running: Sequence[str]) -> str:
    """Return what to say of a disabled user's sessions."""
    return (
        f"note: {len(running)} of {name}'s sessions still run ({', '.join(running)}); end them:"
        f" ssh2containerctl kill --user {shlex.quote(name)}, or disable --kill"
    )


class Report:
    """Lines for people as the changes happen, or one JSON document at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.users: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.status = 0

    def warn_of_servers(self) -> None:
        """Tell which SSH servers of this host leave the users' ways around the container open."""
        self.warnings = servers_without_drop_in()
        if not self.as_json:
            for sentence in self.warnings:
                click.echo(f"warning: {sentence}", err=True)

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

    def failed(self, name: str, error: SessionError | OSError) -> None:
        """Tell what kept a user from being done; the others go on."""
        told = (
            error
            if isinstance(error, SessionError)
            else SessionError(f"cannot continue with {name}", str(error))
        )
        if not self.users or self.users[-1]["user"] != name:
            self.users.append({"user": name, "changes": []})
        self.users[-1]["error"] = str(told)
        self.status = max(self.status, status_of(told))
        output.failure(told)

    def after_enabling(self, name: str, *, dry_run: bool) -> None:
        """Tell what a new user's administrator wants to know."""
        if self.as_json:
            return
        for note in notes_on_enabled(name):
            click.echo(f"  {note}")
        if not dry_run:
            click.echo(
                f"  {name} is enabled; the policy: ssh2containerctl show {shlex.quote(name)}; "
                f"a check of the host: ssh2containerctl doctor {shlex.quote(name)}"
            )

    def after_disabling(self, name: str) -> None:
        """Tell what still runs, in a container or beside it."""
        running = running_sessions(name)
        self.users[-1]["running"] = running
        if running and not self.as_json:
            click.echo(f"  {note_on_running(name, running)}")

    def end(self) -> None:
        """Print the JSON document, if that was asked for, or who was not done where there were several."""
        missed = [user["user"] for user in self.users if "error" in user]
        if missed and len(self.users) > 1:
            done = len(self.users) - len(missed)
            click.echo(f"{done} of {len(self.users)} users done; not: {', '.join(missed)}", err=True)
        if self.as_json:
            output.print_report({"users": self.users, "warnings": self.warnings})

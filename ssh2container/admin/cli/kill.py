"""``ssh2containerctl kill``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ssh2container.admin.cli import completing, output
from ssh2container.admin.sessions import ending, telling
from ssh2container.admin.sessions.live import Listing, find
from ssh2container.errors import SessionError, printable
from ssh2container.run import words

if TYPE_CHECKING:
    from ssh2container.admin.sessions.live import Live

SECTION = "Sessions"

_GRACE_S = 10.0


def _one_line(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    if len(text) > words.LONGEST:
        raise click.BadParameter(f"{len(text)} characters; at most {words.LONGEST}")
    return printable(text)


def _tell(listing: Listing, chosen: list[Live], message: str) -> None:
    """Show the message in each session, those of a chosen container included."""
    for live in listing.sessions:
        if live not in chosen and live.container not in chosen:
            continue
        if not telling.tell(live, f"this session is ended by the administrator: {message}"):
            click.echo(f"{live.id}: the message could not be shown", err=True)


@click.command("kill", short_help="End sessions.")
@click.argument("names", nargs=-1, metavar="[ID]...", shell_complete=completing.sessions_and_containers)
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="USER",
    shell_complete=completing.users,
    help="All sessions of USER; may be repeated.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 600),
    default=_GRACE_S,
    show_default=True,
    metavar="SECONDS",
    help="How long a session may take to end before it is killed.",
)
@click.option(
    "--message",
    default="",
    metavar="TEXT",
    callback=_one_line,
    help="First show TEXT to the user of the session.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    names: tuple[str, ...], *, users: tuple[str, ...], grace: float, message: str, as_json: bool
) -> None:
    """End the session or the shared container ID: ask it (TERM, HUP), wait, then kill it.

    ID may be a unique prefix of an id, or the name of a user with one session;
    --user ends all of a user's sessions.

    The client ends as after any program that was ended by a signal: ssh with status 255.

    Exit status: 0 all are gone, 1 one remains, 125 there is no such session.
    """
    if not names and not users:
        raise click.UsageError("name at least one ID, or a user with --user")
    listing = Listing()
    try:
        chosen = {id(live): live for live in (find(listing, name) for name in names)}
        for live in (*listing.sessions, *listing.containers):
            if live.who.name in users:
                chosen[id(live)] = live
        if not chosen:
            raise SessionError(f"{', '.join(users)} has no session")
        if message:
            _tell(listing, list(chosen.values()), message)
        results = ending.end(list(chosen.values()), grace)
    finally:
        listing.close()
    if as_json:
        output.print_report(
            {"sessions": [{"id": name, "result": result} for name, result in results.items()]}
        )
    else:
        for name, result in results.items():
            click.echo(f"{name}: {result}")
    sys.exit("stays" in results.values())

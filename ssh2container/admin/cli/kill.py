"""``ssh2containerctl kill``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin.cli import completing, output
from ssh2container.admin.sessions import ending
from ssh2container.admin.sessions.live import Listing, find
from ssh2container.errors import SessionError

_GRACE_S = 10.0


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
    help="The time between the request to end and the kill.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(names: tuple[str, ...], *, users: tuple[str, ...], grace: float, as_json: bool) -> None:
    """End the session or the shared container ID: ask it (TERM, HUP), wait, kill it.

    Exit status: 0 all are gone, 1 one stays, 125 there is no such session.
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
        results = ending.end(list(chosen.values()), grace)
    finally:
        listing.close()
    if as_json:
        output.print_json({"sessions": [{"id": name, "result": result} for name, result in results.items()]})
    else:
        for name, result in results.items():
            click.echo(f"{name}: {result}")
    sys.exit("stays" in results.values())

"""``ssh2containerctl watch``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin.cli import completing
from ssh2container.admin.sessions import watch

SECTION = "Sessions"


@click.command("watch", short_help="Watch a session's terminal.")
@click.argument("session", metavar="SESSION", shell_complete=completing.sessions)
def command(session: str) -> None:
    """Show what the terminal of SESSION shows, as it happens. q or ^C ends it; nothing reaches the session.

    SESSION is an id, a unique prefix of one, or the name of a user with one session.

    Only drawing sequences reach your terminal. The audit trail records who watched.

    Exit status: 0 watched, 125 there is no such session, or it has no terminal.
    """
    watch.watch(session)
    if sys.stderr.isatty():
        click.echo("ssh2containerctl: the view ends here", err=True)

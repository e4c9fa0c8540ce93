"""``ssh2containerctl watch``."""

from __future__ import annotations

import re
import sys

import click

from ssh2container.admin.cli import completing
from ssh2container.admin.replay import watching


@click.command("watch", short_help="Watch a session's terminal.")
@click.argument("session", metavar="SESSION", shell_complete=completing.sessions)
def command(session: str) -> None:
    """Show what the terminal of SESSION shows, as it happens. q or ^C ends it; nothing reaches the session.

    Only what draws reaches your terminal. The audit trail says who watched. Exit status: 0 watched, 125
    there is no such session, or it has no terminal.
    """
    if not re.fullmatch("[0-9a-f]{10}", session):
        raise click.BadParameter(f"{session!r} is no id of a session; ssh2containerctl sessions lists them")
    watching.watch(session)
    if sys.stderr.isatty():
        click.echo("ssh2containerctl: the view ends here", err=True)

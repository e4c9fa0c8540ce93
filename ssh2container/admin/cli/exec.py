"""``ssh2containerctl exec``."""

from __future__ import annotations

import os
import sys

import click

from ssh2container.admin.cli import completing
from ssh2container.admin.sessions import ending, entering
from ssh2container.admin.sessions.live import Listing, find
from ssh2container.kernel import process

SECTION = "Sessions"


@click.command("exec", short_help="Run a command in a running session.")
@click.argument("name", metavar="ID", shell_complete=completing.sessions_and_containers)
@click.argument("words", nargs=-1, metavar="[-- CMD...]", type=click.UNPROCESSED)
@click.option(
    "--terminal/--no-terminal",
    default=None,
    help="Give CMD a terminal (default: if standard input and output are one).",
)
def command(name: str, words: tuple[str, ...], *, terminal: bool | None) -> None:
    """Run CMD, or a shell, in the session or shared container ID, with its user, environment and limits.

    ID may be a unique prefix of an id, or the name of a user with one session.
    CMD is looked up on the PATH inside and is not interpreted by a shell. It ends with its session.
    Your terminal is never handed over, and shows only drawing sequences.
    The audit trail records who ran what.

    Exit status: CMD's own (including death by a signal); 125 there is no such session, 126 refused, 127
    CMD was not found inside.
    """
    if terminal is None:
        terminal = os.isatty(0) and os.isatty(1)
    elif terminal and not os.isatty(0):
        raise click.UsageError("--terminal needs a terminal on standard input")
    listing = Listing()
    try:
        live = find(listing, name)
        ending.record(live, "exec", command=" ".join(words))
        status = entering.run(live, words, interactive=terminal)
    finally:
        listing.close()
    sys.stdout.flush()
    if os.WIFSIGNALED(status):
        process.die_by_signal(os.WTERMSIG(status))
        sys.exit(128 + os.WTERMSIG(status))
    sys.exit(os.WEXITSTATUS(status))

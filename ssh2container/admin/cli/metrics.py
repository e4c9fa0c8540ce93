"""``ssh2containerctl metrics``."""

from __future__ import annotations

import os
from collections import Counter

import click

from ssh2container.admin import atomic, durable
from ssh2container.admin.metrics import counters, exposition, state
from ssh2container.admin.sessions.live import Listing
from ssh2container.errors import SessionError, printable

SECTION = "The host"


@click.command("metrics", short_help="Write metrics for Prometheus.")
@click.option(
    "--output", "path", type=click.Path(dir_okay=False), metavar="FILE",
    help=f"Replace FILE in one step: on Debian node_exporter reads {exposition.COLLECTED}.",
)  # fmt: skip
def command(path: str | None) -> None:
    """Print metrics in Prometheus' text format: which sessions run, and counters of the audit trail.

    Counters begin with 0 when this is called first, and grow with every record since: how far it has counted
    is kept in /var/lib/ssh2container, whatever becomes of the log.

    Exit status: 0 written, 125 the sessions or the log could not be examined, or FILE not written.
    """
    listing = Listing()
    try:
        kinds = [live.hint.fields.get("kind", "") for live in listing.sessions]
        containers = len(listing.containers)
    finally:
        listing.close()
    running = Counter(kind if kind in counters.KINDS else counters.OTHER for kind in kinds)
    try:
        with durable.locked(os.path.dirname(state.PATH)):
            known = state.load()
            if known.why:
                click.echo(f"ssh2containerctl: {known.why}; counting begins with 0 and from now on", err=True)
            known.catch_up()
            # Before anybody sees them: what was shown once has been counted.
            known.save()
            text = exposition.text(known, running, containers)
            if path is not None:
                atomic.write(path, text)
    except OSError as error:
        place = error.filename or path or state.PATH
        raise SessionError(
            f"cannot write {printable(str(place))}", error.strerror or str(error), "run it as root", "metrics"
        ) from None
    if path is None:
        click.echo(text, nl=False)

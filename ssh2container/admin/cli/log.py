"""``ssh2containerctl log``."""

from __future__ import annotations

from collections import deque

import click

from ssh2container.admin import trail
from ssh2container.admin.cli import completing, output


@click.command("log", short_help="Show why sessions were refused, and how they ended.")
@click.argument("who", required=False, metavar="[USER|SESSION]", shell_complete=completing.users)
@click.option("--refused", is_flag=True, help="Only what was refused or failed.")
@click.option("--since", default="", metavar="TIME", help="Start here, e.g. yesterday or 2026-01-31.")
@click.option("--file", "path", type=click.Path(exists=True, dir_okay=False), help="Read this syslog file.")
@click.option(
    "-n", "--lines", type=click.IntRange(1), default=50, show_default=True, help="The last records."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every field.")
def command(
    who: str | None, since: str, path: str | None, lines: int, *, refused: bool, as_json: bool
) -> None:
    """Show the audit trail, of USER or of one SESSION: what was asked, why it was refused, how it ended.

    Exit status: 0 shown, 125 no log can be read.
    """
    found = deque(
        (
            record
            for record in trail.records((path,) if path else (), since)
            if (not who or record.concerns(who))
            and (not refused or record.fields["event"] in ("refused", "failed"))
        ),
        lines,
    )
    if as_json:
        entries = [{"time": r.when, "forged_by_uid": r.forged or None, **r.fields} for r in found]
        output.print_json({"records": entries})
        return
    rows = []
    for record in found:
        fields = record.fields
        event = f"FORGED by uid {record.forged}: {fields['event']}" if record.forged else fields["event"]
        user = fields.get("user") or fields.get("uid", "")
        rows.append((record.when, fields.get("session", ""), user, event, record.summary()))
    if not rows:
        click.echo("no records", err=True)
        return
    output.table(("TIME", "SESSION", "USER", "EVENT", "WHAT"), rows)

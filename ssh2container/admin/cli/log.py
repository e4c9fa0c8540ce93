"""``ssh2containerctl log``."""

from __future__ import annotations

from collections import deque

import click

from ssh2container.admin.auditlog import read
from ssh2container.admin.auditlog.killed import why
from ssh2container.admin.cli import completing, output
from ssh2container.admin.sessions import account
from ssh2container.errors import SessionError

SECTION = "Sessions"


@click.command("log", short_help="Show why sessions were refused, and how they ended.")
@click.argument("who", required=False, metavar="[USER|SESSION]", shell_complete=completing.subjects)
@click.option("--refused", is_flag=True, help="Only what was refused or failed.")
@click.option("--killed", is_flag=True, help="Only who was killed or met a limit, and for what.")
@click.option("--since", default="", metavar="TIME", help="Start here, e.g. yesterday or 2026-01-31.")
@click.option("--file", "path", type=click.Path(exists=True, dir_okay=False), help="Read this syslog file.")
@click.option(
    "-n", "--lines", type=click.IntRange(1), default=50, show_default=True, help="The last records."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every field.")
def command(
    who: str | None, since: str, path: str | None, lines: int, *, refused: bool, killed: bool, as_json: bool
) -> None:
    """Show the audit trail, of USER or of one SESSION: what was asked for, why it was refused, how it ended.

    With --killed: memory, processes and time that a limit ended, and sessions that an administrator ended.

    Exit status: 0 shown, 125 no log can be read, or WHO is neither a user nor in the log.
    """
    found: deque[read.Record] = deque(maxlen=lines)
    known = not who
    for record in read.records((path,) if path else (), since):
        if who and not record.concerns(who):
            continue
        known = True
        shown = record.fields["event"] in ("refused", "failed") if refused else not killed
        if shown or (killed and why(record.fields)):
            found.append(record)
    if not known and not account.exists(who or ""):
        raise SessionError(f"cannot find {who} in the log", "no user has this name, no record this session")
    if as_json:
        entries = [
            {"time": r.when, "forged_by_uid": r.forged or None, **r.fields}
            | ({"killed": why(r.fields)} if killed else {})
            for r in found
        ]
        output.print_report({"records": entries})
        return
    rows = []
    for record in found:
        fields = record.fields
        event = f"FORGED by uid {record.forged}: {fields['event']}" if record.forged else fields["event"]
        user = fields.get("user") or fields.get("uid", "")
        what = (why(fields) if killed else "") or record.summary()
        rows.append((record.when, fields.get("session", ""), user, event, what))
    if not rows:
        click.echo("no records", err=True)
        return
    output.table(("TIME", "SESSION", "USER", "EVENT", "WHAT"), rows)

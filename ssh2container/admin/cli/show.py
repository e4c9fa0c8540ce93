"""``ssh2containerctl show``."""

from __future__ import annotations

import click
from rich.markup import escape

from ssh2container.admin.cli import completing, output
from ssh2container.admin.language import provenance
from ssh2container.errors import printable
from ssh2container.policy import store


@click.command("show", short_help="Show a user's effective policy and where each value was written.")
@click.argument("user", shell_complete=completing.users)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP",
    help="Show it as for a member of GROUP (repeatable), in place of the user's own groups.",
)
@click.option("--changed", is_flag=True, help="Leave out built-in defaults.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(user: str, groups: tuple[str, ...], *, changed: bool, as_json: bool) -> None:
    """Show the effective policy of USER as YAML, with the file and line that decided each value.

    Exit status: 0 shown, 126 the user has no valid policy.
    """
    policy = store.load(user, groups or provenance.groups_of(user))
    rows = provenance.rows(policy)
    if changed:
        rows = provenance.without_defaults(rows)
    if as_json:
        values = {row.key: {"yaml": row.value(), "origin": row.origin} for row in rows if row.origin}
        output.print_json({"user": user, "digest": policy.digest, "values": values})
        return
    width = min(max((len(row.line()) for row in rows), default=0), 60)
    out = output.console()
    for row in rows:
        line = escape(printable(row.line()))
        pad = " " * max(0, width - len(row.line()))
        out.print(f"{line}{pad}  [dim]# {escape(printable(row.origin))}[/]" if row.origin else line)

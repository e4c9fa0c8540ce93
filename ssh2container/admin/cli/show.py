"""``ssh2containerctl show``."""

from __future__ import annotations

import click
from rich.text import Text

from ssh2container.admin.account import advised
from ssh2container.admin.cli import completing, output
from ssh2container.admin.login import verdict
from ssh2container.admin.policy import origins
from ssh2container.errors import Refusal, printable
from ssh2container.policy import store

SECTION = "Policies"


@click.command("show", short_help="Show a user's effective policy and where each value was written.")
@click.argument("user", shell_complete=completing.users)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP",
    help="Show it as for a member of GROUP (repeatable), instead of the user's own groups.",
)
@click.option("--changed", is_flag=True, help="Leave out built-in defaults.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(user: str, groups: tuple[str, ...], *, changed: bool, as_json: bool) -> None:
    """Show the effective policy of USER as YAML, with the file and line that decided each value.

    If logins would be refused all the same, for example because the image is missing, a line on standard
    error says so.

    Exit status: 0 shown, 126 the user has no valid policy.
    """
    try:
        policy = store.load(user, groups or origins.groups_of(user))
    except Refusal as error:
        raise advised(error, user) from None
    rows = origins.rows(policy)
    if changed:
        rows = origins.without_defaults(rows)
    if as_json:
        values = {row.key: {"yaml": row.value(), "origin": row.origin} for row in rows if row.origin}
        output.print_report({"user": user, "digest": policy.digest, "values": values})
        return
    if not groups and verdict.can_ask(user):
        failed = verdict.of_user(user).failed
        if failed is not None:
            click.echo(f"ssh2containerctl: {failed} is refused: {failed.error}", err=True)
    out = output.console()
    for row, line in zip(rows, origins.lines(rows), strict=True):
        written = Text(line)
        if row.origin:
            written.stylize("dim", line.rindex("# " + printable(row.origin)))
        out.print(written)

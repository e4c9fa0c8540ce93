"""``ssh2containerctl show``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ssh2container.admin.account import advised
from ssh2container.admin.cli import completing, explain, output, public_key
from ssh2container.admin.login import in_short, jobs, verdict
from ssh2container.admin.policy import origins
from ssh2container.errors import Refusal, SessionError, printable
from ssh2container.policy import store

if TYPE_CHECKING:
    from ssh2container.policy.key_rules import Used

SECTION = "Policies"


@click.command("show", short_help="Show a user's effective policy and where each value was written.")
@click.argument("user", shell_complete=completing.users)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP",
    shell_complete=completing.groups,
    help="Show it as for a member of GROUP (repeatable), instead of the user's own groups.",
)
@click.option(
    "--key",
    type=public_key.PUBLIC_KEY,
    metavar="KEY",
    help="Show it as for a login with KEY: a fingerprint, or the file of a public key or certificate.",
)
@click.option("--changed", is_flag=True, help="Leave out built-in defaults.")
@click.option("--summary", is_flag=True, help="Say in a few lines what USER can do, as explain begins.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    user: str, groups: tuple[str, ...], *, key: Used | None, changed: bool, summary: bool, as_json: bool
) -> None:
    """Show the effective policy of USER as YAML, with the file and line that decided each value.

    If logins would be refused all the same, for example because the image is missing, a line on standard
    error says so.

    --summary says by what the user enters, what runs, what is seen, kept, reached, limited and recorded, and
    when logins are open. A login is rehearsed for it, so only root and the user can have it.

    Exit status: 0 shown, 126 the user has no valid policy; with --summary that of a login.
    """
    if summary:
        if groups or changed or key is not None:
            raise click.UsageError("--summary takes neither --group nor --changed; of a key: explain --key")
        _summarize(user, as_json=as_json)
        return
    try:
        policy = store.load(user, groups or origins.groups_of(user))
        if key is not None:
            policy = public_key.under(policy, key)
    except Refusal as error:
        raise advised(error, user) from None
    rows = origins.rows(policy)
    if changed:
        rows = origins.without_defaults(rows)
    if as_json:
        values = {row.key: {"yaml": row.value(), "origin": row.origin} for row in rows if row.origin}
        output.print_report(
            {"user": user, "digest": policy.digest, "values": values, "schedule": jobs.described(policy)}
        )
        return
    if not groups and verdict.can_ask(user):
        failed = verdict.of_user(user).failed
        if failed is not None:
            click.echo(f"ssh2containerctl: {failed} is refused: {failed.error}", err=True)
    out = output.Paper()
    for row, line in zip(rows, origins.lines(rows), strict=True):
        at = line.rindex("# " + printable(row.origin)) if row.origin else len(line)
        out.print(line[:at], (line[at:], "dim"))
    for job in jobs.described(policy):
        out.print((f"# {job['describe']}", "dim"))


def _summarize(user: str, *, as_json: bool) -> None:
    """Print what ``explain`` begins with, of the first kind of login that the policy allows."""
    try:
        answer, explained = in_short.of(user)
    except SessionError as error:
        raise advised(error, user) from None
    if as_json:
        output.print_report({"user": user, "summary": explained["summary"], "status": answer.status})
    else:
        explain.print_summary(output.Paper(), explained["summary"])
    if answer.error is not None:
        output.failure(advised(answer.error, user))
        sys.exit(answer.status)

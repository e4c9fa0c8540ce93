"""``ssh2containerctl diff``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin.cli import completing, output
from ssh2container.admin.policy import diff, origins
from ssh2container.errors import Refusal
from ssh2container.policy import store

SECTION = "Policies"


@click.command("diff", short_help="Compare a user's effective policy under two versions.")
@click.argument("user", shell_complete=completing.users)
@click.argument("old", type=click.Path(exists=True))
@click.argument("new", type=click.Path(exists=True), default=store.STANDARD.configuration)
@click.option("--group", "groups", multiple=True, metavar="GROUP", shell_complete=completing.groups,
              help="Compare as for a member of GROUP (repeatable), instead of the user's "
                   "own groups.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(user: str, old: str, new: str, groups: tuple[str, ...], *, as_json: bool) -> None:
    """Compare the effective policy of USER in OLD and NEW.

    OLD and NEW are configuration directories, such as two git work trees, or files that replace
    the user's own. NEW defaults to /etc/ssh2container.

    Exit status: 0 the same, 1 different, 126 one of them has no valid policy for the user.
    """
    names = groups or _groups(user)
    found = origins.differences(*(diff.policy_under(user, names, path) for path in (old, new)))
    if as_json:
        output.print_report({"user": user, "differences": [_as_dict(*entry) for entry in found]})
        sys.exit(1 if found else 0)
    out = output.Paper()
    for key, before, after in found:
        out.print((key, "bold"))
        for sign, colour, row in (("-", "red", before), ("+", "green", after)):
            if row is not None:
                out.print((f"{sign} {row.value()}  ", colour), (f"# {row.origin}", "dim"))
    sys.exit(1 if found else 0)


def _groups(user: str) -> tuple[str, ...]:
    try:
        return origins.groups_of(user)
    except Refusal:
        # A work tree may hold policies of users that this machine does not have.
        click.echo(f"{user} is not a user of this host; name groups with --group", err=True)
        return ()


def _as_dict(
    key: str, before: origins.Row | None, after: origins.Row | None
) -> dict[str, str | dict[str, str] | None]:
    def side(row: origins.Row | None) -> dict[str, str] | None:
        return {"yaml": row.value(), "origin": row.origin} if row else None

    return {"key": key, "old": side(before), "new": side(after)}

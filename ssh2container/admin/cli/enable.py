"""``ssh2containerctl enable``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin.cli import completing, enrolment, output
from ssh2container.admin.enrol import account, enrol
from ssh2container.errors import SessionError


@click.command("enable", short_help="Give a user the login shell.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.accounts)
@click.option(
    "--profile", default="", metavar="NAME", help="The profile that a new policy extends (default: shell)."
)
@click.option("--leave-groups", is_flag=True, help="Take the user out of groups like sudo, docker and adm.")
@click.option(
    "--runtime", is_flag=True, help="Only make what all users need below /run/ssh2container, as at boot."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    users: tuple[str, ...], *, profile: str, leave_groups: bool, runtime: bool, dry_run: bool, as_json: bool
) -> None:
    """Make USER's login shell ours, with a policy, a home and a runtime directory.

    The steps are taken in order, the login shell last; if one fails, those before it are undone. A second run
    changes nothing. Root and members of groups that are worth more than a container are refused.

    Exit status: 0 done, 1 could not be done, 126 refused.
    """
    if runtime:
        for sentence in enrol.make_runtime():
            click.echo(f"done: {sentence}")
        return
    if not users:
        raise click.UsageError("name at least one USER")
    status = 0
    report = enrolment.Report(as_json=as_json)
    for name in users:
        try:
            report.carry_out(
                name,
                enrol.enabling(account.find(name), profile=profile, leave_groups=leave_groups),
                dry_run=dry_run,
            )
        except SessionError as error:
            output.failure(error)
            status = max(status, enrolment.status_of(error))
            continue
        report.after_enabling(name, dry_run=dry_run)
    report.end()
    sys.exit(status)

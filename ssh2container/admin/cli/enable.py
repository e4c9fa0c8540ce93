"""``ssh2containerctl enable``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin import account
from ssh2container.admin.accounts import boot, enable
from ssh2container.admin.adopt import unconfirmed
from ssh2container.admin.cli import completing, enrolment
from ssh2container.errors import SessionError, printable

SECTION = "Users"


@click.command("enable", short_help="Give a user the login shell.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.accounts)
@click.option(
    "--profile",
    default="",
    metavar="NAME",
    shell_complete=completing.profiles,
    help="The profile that a new policy extends (default: shell).",
)
@click.option("--leave-groups", is_flag=True, help="Take the user out of groups like sudo, docker and adm.")
@click.option(
    "--runtime",
    is_flag=True,
    help="Only make what all users need below /run/ssh2container, and networks, as at boot.",
)
@enrolment.reload_sshd
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    users: tuple[str, ...],
    *,
    profile: str,
    leave_groups: bool,
    runtime: bool,
    reload_sshd: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give USER the login shell, with a policy, a home and what the policy needs.

    That is a runtime directory and, as far as the policy says so, limits, a quota, images, a range of ids,
    networks and a host key. Steps are taken in order, the login shell last; if one fails, the previous ones
    are undone. A second run changes nothing. Root is refused, and so are members of groups whose rights
    exceed those of a container.

    Exit status: 0 done, 1 it failed, 126 refused.
    """
    if runtime:
        failures: list[str] = []
        for sentence in boot.make_runtime(failures.append):
            click.echo(f"done: {sentence}")
        try:
            failures += unconfirmed.after_boot(click.echo)
        except (SessionError, OSError) as error:
            failures.append(str(error))
        for failure in failures:
            click.echo(f"failed: {printable(failure)}", err=True)
        sys.exit(1 if failures else 0)
    if not users:
        raise click.UsageError("name at least one USER")
    report = enrolment.Report(as_json=as_json)
    for name in users:
        try:
            report.carry_out(
                name,
                enable.enabling(account.find(name), profile=profile, leave_groups=leave_groups),
                dry_run=dry_run,
            )
        except (SessionError, OSError) as error:
            report.failed(name, error)
            continue
        report.after_enabling(name, dry_run=dry_run)
    if not dry_run:
        try:
            enrolment.offer_reload(wanted=reload_sshd, quiet=as_json)
        except (SessionError, OSError) as error:
            report.failed("sshd", error)
        report.warn_of_servers()
    report.end()
    sys.exit(report.status)

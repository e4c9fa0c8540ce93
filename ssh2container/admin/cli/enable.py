"""``ssh2containerctl enable``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ssh2container.admin import account
from ssh2container.admin.accounts import boot, enable
from ssh2container.admin.adopt import choosing, unconfirmed
from ssh2container.admin.cli import completing, enrolment, members
from ssh2container.errors import SessionError, printable

if TYPE_CHECKING:
    from ssh2container.admin.change import Change

SECTION = "Users"


@click.command("enable", short_help="Give a user the login shell.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.accounts)
@members.option
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
    group: str,
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

    --group enables all members of a group, also those whose first group it is, and prints a table of what
    became of each. Root, system accounts and yourself are left alone; whom it fails for keeps no other.

    Exit status: 0 done, 1 it failed for a user, 126 a user was refused.
    """
    if runtime:
        sys.exit(_at_boot())
    if bool(users) == bool(group):
        raise click.UsageError("name USERs, or --group")

    def changes(name: str) -> list[Change]:
        return enable.enabling(account.find(name), profile=profile, leave_groups=leave_groups)

    if group:
        done = members.of_group(group, "enabling", "enabled", as_json=as_json, spared=choosing.caller())
        done.each(changes, enrolment.notes_on_enabled, dry_run=dry_run)
        if not dry_run and done.names:
            done.reload(wanted=reload_sshd)
        sys.exit(done.end())
    report = enrolment.Report(as_json=as_json)
    for name in users:
        try:
            report.carry_out(name, changes(name), dry_run=dry_run)
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


def _at_boot() -> int:
    """Make what all users need, and return the exit status."""
    failures: list[str] = []
    for sentence in boot.make_runtime(failures.append):
        click.echo(f"done: {sentence}")
    try:
        failures += unconfirmed.after_boot(click.echo)
    except (SessionError, OSError) as error:
        failures.append(str(error))
    for failure in failures:
        click.echo(f"failed: {printable(failure)}", err=True)
    return 1 if failures else 0

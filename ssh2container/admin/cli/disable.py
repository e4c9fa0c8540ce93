"""``ssh2containerctl disable``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin import account
from ssh2container.admin.accounts import disable, leftovers
from ssh2container.admin.cli import completing, enrolment
from ssh2container.errors import SessionError

SECTION = "Users"


@click.command("disable", short_help="Take the login shell from a user.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.users)
@click.option(
    "--restore-shell", is_flag=True, help="Restore the previous login shell; otherwise set nologin."
)
@click.option("--kill", is_flag=True, help="End the user's running sessions.")
@click.option("--gone", is_flag=True, help="Remove what deleted accounts have left behind.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    users: tuple[str, ...], *, restore_shell: bool, kill: bool, gone: bool, dry_run: bool, as_json: bool
) -> None:
    """Set USER's login shell to /usr/sbin/nologin.

    The user stays in the group ssh2container: sshd still gives a user with nologin port forwarding and
    internal-sftp, and the drop-in closes both for the group. The policy and the home stay, limits,
    quota and networks are taken back. Running sessions continue, and are listed; --kill ends them (asks,
    waits 10 s, kills).

    --gone removes what deleted accounts have left: runtime directories, tmpfiles.d entries, records, limits,
    quotas, networks and host keys; their kept homes are given to root.

    Exit status: 0 done, 1 it failed, 126 refused.
    """
    if not users and not gone:
        raise click.UsageError("name at least one USER, or --gone")
    report = enrolment.Report(as_json=as_json)
    for name in users:
        try:
            changes = disable.disabling(account.find(name), restore_shell=restore_shell, kill=kill)
            report.carry_out(name, changes, dry_run=dry_run)
            report.after_disabling(name)
        except (SessionError, OSError) as error:
            report.failed(name, error)
    if gone:
        try:
            report.carry_out("accounts that are gone", leftovers.leftovers(), dry_run=dry_run)
        except (SessionError, OSError) as error:
            report.failed("accounts that are gone", error)
    report.end()
    sys.exit(report.status)

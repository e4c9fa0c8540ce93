"""``ssh2containerctl disable``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin.cli import completing, enrolment, output
from ssh2container.admin.enrol import account, enrol
from ssh2container.errors import SessionError


@click.command("disable", short_help="Take the login shell from a user.")
@click.argument("users", nargs=-1, required=True, metavar="USER...", shell_complete=completing.users)
@click.option("--restore-shell", is_flag=True, help="Give back the login shell of before; otherwise nologin.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(users: tuple[str, ...], *, restore_shell: bool, dry_run: bool, as_json: bool) -> None:
    """Set USER's login shell to /usr/sbin/nologin.

    The user stays in the group ssh2container: sshd gives a user with nologin port forwarding and
    internal-sftp all the same, and the drop-in closes both for the group. The policy and the home
    stay, and so do running sessions (end them with: ssh2containerctl kill).

    Exit status: 0 done, 1 could not be done, 126 refused.
    """
    status = 0
    report = enrolment.Report(as_json=as_json)
    for name in users:
        try:
            changes = enrol.disabling(account.find(name), restore_shell=restore_shell)
            report.carry_out(name, changes, dry_run=dry_run)
        except SessionError as error:
            output.failure(error)
            status = max(status, enrolment.status_of(error))
    report.end()
    sys.exit(status)

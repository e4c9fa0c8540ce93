"""``ssh2containerctl disable``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ssh2container.admin import account
from ssh2container.admin.accounts import disable, leftovers
from ssh2container.admin.cli import completing, enrolment, members
from ssh2container.errors import SessionError

if TYPE_CHECKING:
    from ssh2container.admin.change import Change

SECTION = "Users"


@click.command("disable", short_help="Take the login shell from a user.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.users)
@members.option
@click.option(
    "--restore-shell", is_flag=True, help="Restore the previous login shell; otherwise set nologin."
)
@click.option("--kill", is_flag=True, help="End the user's running sessions.")
@click.option("--gone", is_flag=True, help="Remove what deleted accounts have left behind.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    users: tuple[str, ...],
    *,
    group: str,
    restore_shell: bool,
    kill: bool,
    gone: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set USER's login shell to /usr/sbin/nologin.

    The user stays in the group ssh2container: sshd still gives a user with nologin port forwarding and
    internal-sftp, and the drop-in closes both for the group. The policy and the home stay; limits, quota,
    networks and jobs are taken back. Running sessions continue, and are listed; --kill ends them (asks,
    waits 10 s, kills).

    --group disables all members of a group, also those whose first group it is, and prints a table of what
    became of each. Root and system accounts are left alone; whom it fails for keeps no other.

    --gone removes what deleted accounts have left: runtime directories, tmpfiles.d entries, records, limits,
    jobs, quotas, networks and host keys; their kept homes are given to root.

    Exit status: 0 done, 1 it failed for a user, 126 a user was refused.
    """
    if group:
        if users or gone:
            raise click.UsageError("name USERs and --gone, or --group")
        sys.exit(_of_group(group, restore_shell=restore_shell, kill=kill, dry_run=dry_run, as_json=as_json))
    if not users and not gone:
        raise click.UsageError("name at least one USER, or --group, or --gone")
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


def _of_group(group: str, *, restore_shell: bool, kill: bool, dry_run: bool, as_json: bool) -> int:
    """Disable who is meant with a group, and return the exit status."""
    others: dict[str, str] = {}

    def changes(name: str) -> list[Change]:
        found = account.find(name)
        if disable.never_ours(found):
            others[name] = f"is not contained: the login shell is {found.shell or '/bin/sh'}"
            return []
        return disable.disabling(found, restore_shell=restore_shell, kill=kill)

    def notes(name: str) -> list[str]:
        if name in others:
            return [others[name]]
        running = enrolment.running_sessions(name)
        return [enrolment.note_on_running(name, running)] if running else []

    done = members.of_group(group, "disabling", "disabled", as_json=as_json)
    done.each(changes, notes, dry_run=dry_run)
    return done.end()

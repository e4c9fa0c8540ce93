"""``ssh2containerctl sshd-config``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin.cli import findings, output
from ssh2container.admin.enrol import account, enrol
from ssh2container.admin.enrol.change import Change, WriteFile, carry_out
from ssh2container.admin.sshd import DROP_IN, place
from ssh2container.admin.sshd.effective import binary, effective
from ssh2container.admin.sshd.judge import judge
from ssh2container.errors import SessionError


@click.command("sshd-config", short_help="Write the part of sshd_config that belongs to the policies.")
@click.option("--write", is_flag=True, help=f"Put it at {DROP_IN}; kept only if sshd -t accepts it.")
@click.option("--reload", is_flag=True, help="With --write: make a running sshd read it.")
@click.option("--force", is_flag=True, help="With --write: replace a file that was changed by hand.")
@click.option(
    "--with-force-command/--without-force-command",
    "force_command",
    default=None,
    help="ForceCommand, or none (then sftp has to be external). Default: as in the file in place.",
)
@click.option("--user", metavar="USER", help="Instead: judge what sshd makes of its configuration for USER.")
@click.option("--address", default="127.0.0.1", metavar="IP", help="With --user: where the user comes from.")
@click.option("--json", "as_json", is_flag=True, help="With --user: print JSON.")
def command(
    *,
    write: bool,
    reload: bool,
    force: bool,
    force_command: bool | None,
    user: str | None,
    address: str,
    as_json: bool,
) -> None:
    """Print the sshd_config drop-in that the policies need.

    Exit status: 0 done; 1 could not be done; with --user 1 for warnings, 2 for an open way around the shell.
    """
    if user:
        found = account.find(user)
        policy = enrol.policy_of(found)
        agent = policy is not None and bool(policy.allow_agent_forwarding)
        sys.exit(findings.show(list(judge(effective(user, address), agent_allowed=agent)), as_json=as_json))
    text = enrol.rendered(force_command=force_command)
    if not write:
        click.echo(text, nl=False)
        return
    try:
        _write(text, reload=reload, force=force)
    except SessionError as error:
        output.failure(error)
        sys.exit(1)


def _write(text: str, *, reload: bool, force: bool) -> None:
    """Put the drop-in in place and say what happened."""
    if binary() is None:
        raise SessionError(
            "cannot place the drop-in", "no sshd is installed here", "install openssh-server", "sshd"
        )
    drop_in: Change = place.PlaceDropIn(text)
    if not force and place.exists() and not place.is_ours():
        drop_in = WriteFile(DROP_IN + ".new", text)
        click.echo(f"{DROP_IN} was changed by hand and stays; ours is {DROP_IN}.new (--force replaces it)")
    needed = carry_out([drop_in], lambda state, change: click.echo(f"{state}: {change.describe()}"))
    if not place.is_read():
        click.echo(
            "warning: sshd_config does not include it; first line: Include /etc/ssh/sshd_config.d/*.conf",
            err=True,
        )
    unit = place.running_unit()
    if needed and reload and unit:
        carry_out([place.ReloadSshd(unit)], lambda state, change: click.echo(f"{state}: {change.describe()}"))
    elif needed:
        click.echo(f"sshd reads it at its next start, or: {place.reload_hint(unit)}")

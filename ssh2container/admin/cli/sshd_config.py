"""``ssh2containerctl sshd-config``."""

from __future__ import annotations

import sys

import click

from ssh2container.admin import account
from ssh2container.admin.accounts import drop_in, enable
from ssh2container.admin.change import Change, WriteFile, carry_out
from ssh2container.admin.cli import completing, enrolment, findings, output
from ssh2container.admin.doctor.sshd import judge
from ssh2container.admin.policy.at_rest import until_read
from ssh2container.admin.sshd import DROP_IN
from ssh2container.admin.sshd.effective import binary, effective
from ssh2container.errors import SessionError
from ssh2container.policy import images

SECTION = "The host"


@click.command("sshd-config", short_help="Write the part of sshd_config that belongs to the policies.")
@click.option("--write", is_flag=True, help=f"Put it at {DROP_IN}; it is kept only if sshd -t accepts it.")
@click.option("--refresh", is_flag=True, help="Like --write, if it is installed and was not changed by hand.")
@click.option("--reload", is_flag=True, help="With --write or --refresh: make a running sshd read it.")
@click.option("--force", is_flag=True, help="With --write: replace a file that was changed by hand.")
@click.option(
    "--with-force-command/--without-force-command",
    "force_command",
    default=None,
    help="ForceCommand, or none (then sftp has to be external). Default: as in the installed file.",
)
@click.option(
    "--user",
    metavar="USER",
    shell_complete=completing.users,
    help="Instead, evaluate sshd's configuration for USER.",
)
@click.option("--address", default="127.0.0.1", metavar="IP", help="With --user: where the user comes from.")
@click.option("--json", "as_json", is_flag=True, help="With --user: print JSON.")
def command(
    *,
    write: bool,
    refresh: bool,
    reload: bool,
    force: bool,
    force_command: bool | None,
    user: str | None,
    address: str,
    as_json: bool,
) -> None:
    """Print the sshd_config drop-in that the policies need.

    Exit status: 0 done, 1 it failed, or there are warnings for --user, 2 a way around the shell is open to
    --user, 125 there is no such user.
    """
    if user:
        found = account.find(user)
        policy = enable.policy_of(found)
        agent = policy is not None and bool(policy.allow_agent_forwarding)
        several = policy is not None and len(images.of(policy)) > 1
        judged = judge(effective(user, address), agent_allowed=agent, images_to_choose=several)
        sys.exit(findings.show(list(judged), as_json=as_json))
    if refresh and not write and (binary() is None or not drop_in.exists() or not drop_in.is_ours()):
        return
    if not write and not refresh:
        click.echo(enable.rendered(force_command=force_command), nl=False)
        return

    try:
        _, at_rest = until_read(lambda: _write(enable.rendered(force_command=force_command), force=force))
        enrolment.offer_reload(wanted=reload)
    except SessionError as error:
        output.failure(error)
        sys.exit(1)
    if not at_rest:
        click.echo("ssh2containerctl: the policies' files change all the time: it may be older", err=True)
        sys.exit(1)


def _write(text: str, *, force: bool) -> None:
    """Put the drop-in in place and say what happened."""
    if binary() is None:
        raise SessionError(
            "cannot install the drop-in", "no sshd is installed here", "install openssh-server", "sshd"
        )
    change: Change = drop_in.PlaceDropIn(text)
    if not force and drop_in.exists() and not drop_in.is_ours():
        change = WriteFile(DROP_IN + ".new", text)
        click.echo(f"{DROP_IN} was changed by hand and stays; ours is {DROP_IN}.new (--force replaces it)")
    carry_out([change], lambda state, change: click.echo(f"{state}: {change.describe()}"))
    if not drop_in.is_read():
        click.echo(
            "warning: sshd_config does not include it; add as its first line: Include "
            "/etc/ssh/sshd_config.d/*.conf",
            err=True,
        )

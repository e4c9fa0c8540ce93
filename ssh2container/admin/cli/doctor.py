"""``ssh2containerctl doctor``."""

from __future__ import annotations

import os
import sys

import click

from ssh2container.admin.cli import completing, findings, output
from ssh2container.admin.doctor.examine import examine

SECTION = "The host"


@click.command("doctor", short_help="Find every way around the login shell on this host.")
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completing.users)
@click.option("--host", "host_only", is_flag=True, help="Examine the host, no users.")
@click.option("--all", "everything", is_flag=True, help="Also show what is in order.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--exit-zero", is_flag=True, help="Exit with 0 whatever is found, for programs that collect reports."
)
def command(
    users: tuple[str, ...], *, host_only: bool, everything: bool, as_json: bool, exit_zero: bool
) -> None:
    """Check this host: whether a container can be made, who could change the program, what gets around it.

    A complete trial container is made as the user nobody; if that fails, the step, the error and
    the remedy are named. Without USER, everybody who has the login shell is checked.

    Each cause is reported once, with its consequences ("so:") and what to do ("do:").

    Exit status: 0 only notes, or --exit-zero was given; 1 warnings, 2 problems, 125 there is no such
    user.
    """
    if os.geteuid() != 0:
        raise click.UsageError("the doctor has to look into root's files: run it as root")
    if users and host_only:
        raise click.UsageError("--host examines no USER")
    with output.progress("examining") as advance:
        found = list(examine(users, host_only=host_only, advance=advance))
    sys.exit(findings.show(found, as_json=as_json, everything=everything, zero=exit_zero))

"""``ssh2containerctl deploy``."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from ssh2container.admin import deploy
from ssh2container.admin.change import Change
from ssh2container.admin.cli import output
from ssh2container.admin.policy.yaml.problems import ERROR
from ssh2container.errors import SessionError

SECTION = "Policies"


@click.command("deploy", short_help="Put a directory of policies into force in one step.")
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--back", is_flag=True, help="Put the policies from before the last deploy back into force.")
@click.option("--dry-run", is_flag=True, help="Only check, and say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(directory: str | None, *, back: bool, dry_run: bool, as_json: bool) -> None:
    """Put the policies in DIRECTORY into force on this host, all in one step.

    They are copied beside /etc/ssh2container, owned by root and readable by every login, and checked, as are
    the logins of every user of this host; then the two directories are exchanged and the policies compiled.
    Logins continue: each gets either the old policies or the new ones, never a mixture. If a step fails,
    everything is put back. The previous policies stay in /etc/ssh2container.last; --back restores them.

    DIRECTORY has to be complete: what it lacks of config.yaml, defaults.yaml, enforced.yaml, groups, users,
    profiles, seccomp and tests is gone afterwards. Other files in /etc/ssh2container stay.

    Exit status: 0 done, 1 there are errors or a step failed and nothing was changed, 125 only root may.
    """
    if back == (directory is not None):
        raise click.UsageError("give a DIRECTORY, or --back")
    if os.geteuid() != 0:
        raise SessionError("cannot deploy policies", "only root may", "run it with sudo", "deploy")
    told: list[dict[str, str]] = []

    def tell(state: str, change: Change) -> None:
        told.append({"state": state, "change": change.describe()})
        if not as_json:
            click.echo(f"{state}: {change.describe()}")

    try:
        with (
            output.progress("checking") as advance,
            deploy.Deployment(directory or "", tell, advance) as new,
        ):
            problems = new.problems()
            errors = any(problem.severity == ERROR for problem in problems)
            if not errors and not dry_run:
                new.put_in_place()
    except SessionError as error:
        output.failure(error)
        sys.exit(1)
    except (OSError, subprocess.CalledProcessError) as error:
        output.failure(
            SessionError("cannot deploy the policies", str(error), "nothing was changed", "deploy")
        )
        sys.exit(1)
    if as_json:
        output.print_json({"problems": [problem.as_dict() for problem in problems], "changes": told})
    else:
        output.problems(problems)
        if errors or dry_run:
            click.echo("nothing was changed")
    sys.exit(1 if errors else 0)
